"""Write src/ragstone/words.txt, on which `ragstone.tokens.overestimate` rests.

    python benchmarks/common_words.py

Kept are the words that tokenizers of different makers all take whole: with a space before them, in lower case and
capitalised. Needs the extra `openai`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bpe_openai._bindings import supported_encodings, tokenizer_for_encoding

import ragstone
from ragstone.embedding.choosing import origin_of
from ragstone.embedding.encoder import load_tokenizer
from ragstone.embedding.files import cache_folder, pull


def main() -> None:
    wordpiece = load_tokenizer(pull(origin_of("all-MiniLM-L6-v2"), cache_folder(None)))
    encodings = [tokenizer_for_encoding(name) for name in supported_encodings()]
    counters: list[Callable[[str], int]] = [encoding.count for encoding in encodings]
    vocabulary = wordpiece.get_vocab()
    kept = [
        word
        for word in sorted(vocabulary)
        if re.fullmatch("[a-z]{2,}", word)
        and all(count(f" {form}") == 1 for form in (word, word.capitalize()) for count in counters)
    ]
    target = Path(ragstone.__path__[0]) / "words.txt"
    target.write_text("\n".join(kept) + "\n", encoding="ascii")
    print(f"{target}: {len(kept)} words")


if __name__ == "__main__":
    main()
