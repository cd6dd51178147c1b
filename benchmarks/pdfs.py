"""Every PDF below some folders through the parser: what becomes of each, and how many of its words are kept.

    python benchmarks/pdfs.py DIR... [--timeout 60]

Each is read as indexing reads it, in a process with a limit of time and memory. The words of a second reader (pypdf
where it is installed, else PDFium's plain text) are counted against those of the parser: running headers and page
numbers, which the parser drops, count as lost.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from corpus import machine

from ragstone.errors import DocumentError
from ragstone.models import Document
from ragstone.parsing.isolated import ParserPool
from ragstone.settings import ParsingSettings

SECOND_READER = "pypdf" if find_spec("pypdf") else "PDFium's plain text"
SHOWN = 6  # lost words of a file

_DIVIDED = re.compile(r"[-\u00ad\u2010\ufffe]\s*\n\s*(?=[^\W\d_])|\ufffe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A file's document or error, the seconds that took, and what a second reader finds in it."""

    file: str
    result: Document | DocumentError
    seconds: float
    words: Counter[str]

    @property
    def lost(self) -> Counter[str]:
        return self.words - counted(self.result.text) if isinstance(self.result, Document) else Counter()


def counted(text: str) -> Counter[str]:
    """Its words, hyphens at line ends taken out."""
    return Counter(re.findall(r"\w+", _DIVIDED.sub("", unicodedata.normalize("NFKC", text)).casefold()))


async def read(pool: ParserPool, path: Path, name: str, timeout: float) -> Outcome:
    since = time.perf_counter()
    result: Document | DocumentError
    try:
        result = await pool.parse(await asyncio.to_thread(path.read_bytes), path.name)
    except DocumentError as error:
        result = error
    seconds = time.perf_counter() - since
    words = await asyncio.to_thread(second_reading, path, timeout) if isinstance(result, Document) else Counter[str]()
    return Outcome(file=name, result=result, seconds=seconds, words=words)


def second_reading(path: Path, timeout: float) -> Counter[str]:
    """In a process of its own too; nothing where the second reader fails."""
    command = [sys.executable, __file__, "--second-reading", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Counter()
    return counted(done.stdout.decode(errors="replace"))


def second_text(path: Path) -> str:
    if find_spec("pypdf"):
        return "\n".join(page.extract_text() for page in import_module("pypdf").PdfReader(path).pages)
    import pypdfium2

    return "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(path))


def row(outcome: Outcome) -> str:
    result = outcome.result
    if isinstance(result, DocumentError):
        told = f"{result.code}: {result}" + (f" ({result.hint})" if result.hint else "")
        return f"{outcome.file:<44} {outcome.seconds:7.2f}  {told}"
    tables = sum(block.kind == "table" for block in result.blocks)
    titled = sum(section.level > 0 for section in result.sections)
    lost = ", ".join(f"{word} {count}" for word, count in outcome.lost.most_common(SHOWN))
    numbers = f"{len(result.page_starts):6} {len(result.text):9,} {titled:9} {tables:7} {share(outcome):>6}"
    return f"{outcome.file:<44} {outcome.seconds:7.2f}  {numbers}  {lost}"


def share(*outcomes: Outcome) -> str:
    total = sum(outcome.words.total() for outcome in outcomes)
    return f"{1 - sum(outcome.lost.total() for outcome in outcomes) / total:.3f}" if total else "-"


def summary(outcomes: Sequence[Outcome]) -> str:
    ends = Counter("ok" if isinstance(o.result, Document) else o.result.code for o in outcomes)
    pages = sum(len(o.result.page_starts) for o in outcomes if isinstance(o.result, Document))
    seconds = sum(outcome.seconds for outcome in outcomes)
    told = ", ".join(f"{code} {count}" for code, count in ends.most_common())
    return f"\n{len(outcomes)} files: {told}\n{pages} pages in {seconds:.1f} s; words kept {share(*outcomes)}"


async def run(folders: Sequence[Path], timeout: float) -> None:
    print(machine())
    print(f"second reader: {SECOND_READER}\n")
    print(f"{'file':<44} {'seconds':>7}  {'pages':>6} {'chars':>9} {'sections':>9} {'tables':>7} {'kept':>6}  lost")
    pool = ParserPool(ParsingSettings(timeout=timeout), 1)
    outcomes: list[Outcome] = []
    try:
        for folder in folders:
            for path in sorted(folder.rglob("*.pdf")):
                outcomes.append(await read(pool, path, str(path.relative_to(folder))[-44:], timeout))
                print(row(outcomes[-1]), flush=True)
    finally:
        await pool.aclose()
    print(summary(outcomes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--second-reading", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.second_reading:
        sys.stdout.buffer.write(second_text(arguments.folders[0]).encode(errors="replace"))
    else:
        asyncio.run(run(arguments.folders, arguments.timeout))


if __name__ == "__main__":
    main()
