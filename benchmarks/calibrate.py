"""Find the channel ranges of a local model and write them where the package ships them.

    python benchmarks/calibrate.py [MODEL]

The texts are pieces of Python's own language reference (`pydoc_data.topics`: prose, code, tables), which every
Python has; ranges found on them serve other texts as well (benchmarks/embedding.py shows by how much).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

import ragstone.embedding
from ragstone.embedding import bert
from ragstone.embedding.encoder import load_tokenizer, open_session
from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.model_list import LocalModel, local_model

WORDS, TEXTS, SEED = 130, 120, 1


def texts() -> list[str]:
    """Pieces of as many words as a chunk has, the same in every run."""
    words = " ".join(topics[name] for name in sorted(topics)).split()
    pieces = [" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)]
    return random.Random(SEED).sample(pieces, TEXTS)


def ranges(model: LocalModel, folder: Path) -> list[bert.FloatArray]:
    """For the input of each projection, the largest magnitude in each channel."""
    tokenizer = load_tokenizer(folder)
    graph, names = bert.build_observed(folder, model.pooling)
    session = open_session(graph)
    largest: list[bert.FloatArray] = []
    for text in texts():
        ids = np.array(tokenizer.encode(text).ids[: model.max_tokens], np.int32)
        found = [np.abs(values).max(0) for values in session.run(names, {"input_ids": ids})]
        largest = [np.maximum(*pair) for pair in zip(largest or found, found, strict=True)]
    return largest


def main() -> None:
    model = local_model(sys.argv[1] if len(sys.argv) > 1 else "all-MiniLM-L6-v2")
    if model is None:
        raise SystemExit("not a name of `ragstone models list`")
    folder = pull(model.files_from, cache_folder(None))
    target = Path(ragstone.embedding.__path__[0]) / "ranges" / f"{model.name}.npz"
    target.parent.mkdir(exist_ok=True)
    np.savez(target, *[values.astype(np.float16) for values in ranges(model, folder)])
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
