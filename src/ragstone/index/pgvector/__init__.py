"""The index in the catalog's own PostgreSQL, by pgvector: a document can be found at the commit that publishes it."""

from ragstone.index.pgvector.engine import PgvectorIndex as PgvectorIndex
