"""Bytes of any known kind → a `Document`: text with exact offsets for sections, blocks and pages."""

from ragstone.parsing.parse import PARSER_VERSION, parse

__all__ = ["PARSER_VERSION", "parse"]
