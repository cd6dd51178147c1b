"""Ragstone: point it at documents, get cited answers from them, or an honest refusal."""

__version__ = "0.1.0"
