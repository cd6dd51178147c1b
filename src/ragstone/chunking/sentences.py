"""Where the sentences of a text lie."""

from __future__ import annotations

from sentencex.sentencex import get_sentence_boundaries

# What sentencex must not see. A backtick opens a quotation to it that the next apostrophe closes; in our texts it marks
# code. A blank of several bytes after an initial makes it panic (1.0.32), and a panic is not an Exception.
_PLAIN = str.maketrans({"`": "*", **dict.fromkeys((c for c in map(chr, range(0x80, 0x3001)) if c.isspace()), " ")})


def sentence_spans(text: str, language: str = "en") -> list[tuple[int, int]]:
    """`(start, end)` of every sentence, in order, without blanks around it; only blanks lie between them.

    The rules are sentencex's (abbreviations, initials, numbers, quotes and closing brackets are not ends); a blank line
    always is one. `language` is an ISO 639 code; English rules serve most languages with a full stop.
    """
    spans = []
    for boundary in get_sentence_boundaries(language, text.translate(_PLAIN)):
        start, end = boundary["start_index"], boundary["end_index"]
        sentence = text[start:end]
        if stripped := sentence.strip():
            start += sentence.index(stripped)
            spans.append((start, start + len(stripped)))
    return spans
