"""Weaviate as an index: a collection for each vector space, a tenant in it for each scope."""
