"""Where the sentences of a text lie."""

from __future__ import annotations

from sentencex.sentencex import get_sentence_boundaries


def sentence_spans(text: str, language: str = "en") -> list[tuple[int, int]]:
    """`(start, end)` of every sentence, in order, without blanks around it; only blanks lie between them.

    The rules are sentencex's (abbreviations, initials, numbers, quotes and closing brackets are not ends); a blank line
    always is one. `language` is an ISO 639 code; English rules serve most languages with a full stop.
    """
    spans = []
    # To sentencex a backtick opens a quotation that the next apostrophe closes; in our texts it marks code.
    for boundary in get_sentence_boundaries(language, text.replace("`", "*")):
        start, end = boundary["start_index"], boundary["end_index"]
        sentence = text[start:end]
        if stripped := sentence.strip():
            start += sentence.index(stripped)
            spans.append((start, start + len(stripped)))
    return spans
