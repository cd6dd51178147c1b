"""A document → chunks small enough for the embedding model."""
