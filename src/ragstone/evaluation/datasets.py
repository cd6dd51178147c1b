"""Data sets in the layout of BEIR (Thakur et al., NeurIPS 2021): documents, questions, and which answer which."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ragstone.errors import DocumentTooLarge, SettingsError
from ragstone.models import Fetched, Item, Skip
from ragstone.parsing.parse import PARSER_VERSION
from ragstone.settings import Settings

LAYOUT = "it takes corpus.jsonl, queries.jsonl and qrels.<split>.tsv (or qrels/<split>.tsv), each .gz or not"
ONLY_SPLIT = "all"
"""What the split of a plain qrels.tsv is called."""

_QRELS = ("qrels*.tsv", "qrels*.tsv.gz", "qrels/*.tsv", "qrels/*.tsv.gz")
_EMBEDDING = {"provider", "model", "precision", "base_url", "dimensions", "max_tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One document of a corpus."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A corpus, and one split of its questions: those for which at least one document is judged relevant."""

    name: str
    split: str
    corpus: Mapping[str, Entry]
    questions: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]  # question → document → relevance; above 0 is relevant

    def first(self, count: int) -> Dataset:
        """The same with its first questions alone."""
        judgements = dict(islice(self.judgements.items(), count))
        return replace(self, questions={key: self.questions[key] for key in judgements}, judgements=judgements)

    @property
    def absent(self) -> int:
        """Relevant documents that the corpus does not have: nothing can find them."""
        relevant = (key for grades in self.judgements.values() for key, grade in grades.items() if grade > 0)
        return sum(key not in self.corpus for key in relevant)


def read(folder: Path, split: str | None = None) -> Dataset:
    """The data set in a folder. Without a split, `test` is read if it is there, else the only one there is.

    Raises SettingsError for a file or split that is missing, and for a line that is not what it should be.
    """
    name, judged = _judgement_file(folder, split)
    corpus = {
        key: Entry(title=str(row.get("title") or ""), text=row["text"]) for key, row in _rows(folder, "corpus.jsonl")
    }
    queries = {key: row["text"] for key, row in _rows(folder, "queries.jsonl")}
    judgements = _judgements(judged, queries)
    if not judgements:
        raise SettingsError(f"{judged} judges no document relevant: there is nothing to measure")
    return Dataset(
        name=folder.resolve().name,
        split=name,
        corpus=corpus,
        questions={key: queries[key] for key in judgements},
        judgements=judgements,
    )


def splits(folder: Path) -> dict[str, Path]:
    """The judgement files in a folder, by the name of their split."""
    found = {}
    for file in sorted(file for pattern in _QRELS for file in folder.glob(pattern)):
        stem = file.name.removesuffix(".gz").removesuffix(".tsv")
        own = stem if file.parent.name == "qrels" and file.parent != folder else stem.removeprefix("qrels").strip(".-_")
        found[own or ONLY_SPLIT] = file
    return found


def _judgement_file(folder: Path, split: str | None) -> tuple[str, Path]:
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder", hint=LAYOUT)
    found = splits(folder)
    if not found:
        raise SettingsError(f"there are no judgements (qrels) in {folder}", hint=LAYOUT)
    name = split or ("test" if "test" in found or len(found) > 1 else next(iter(found)))
    if name not in found:
        raise SettingsError(f"{folder} has no split {name!r}", hint=f"choose by --split: {', '.join(found)}")
    return name, found[name]


def _rows(folder: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a JSON lines file by their `_id`. Raises SettingsError for one without `_id` or `text`."""
    seen = set()
    for place, line in _lines(_existing(folder, name)):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SettingsError(f"{place}: not JSON: {error}") from None
        if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get("text"), str):
            raise SettingsError(f'{place}: expected an object like {{"_id": "…", "text": "…"}}')
        key = str(row["_id"])
        if key in seen:
            raise SettingsError(f"{place}: the _id {key!r} was used before")
        seen.add(key)
        yield key, row


def _judgements(file: Path, queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """By question, without questions that have no relevant document. Raises SettingsError for a line that is wrong."""
    judgements: dict[str, dict[str, int]] = {}
    for place, line in _lines(file):
        fields = [field.strip() for field in line.split("\t")]
        if fields[-1] == "score" and not judgements:
            continue
        if len(fields) != 3 or not fields[2].removeprefix("-").isdecimal():
            raise SettingsError(f"{place}: expected query-id, corpus-id and a whole number, with tabs between them")
        query, document, grade = fields
        if query not in queries:
            raise SettingsError(f"{place}: queries.jsonl has no query {query!r}")
        judgements.setdefault(query, {})[document] = int(grade)
    return {query: grades for query, grades in judgements.items() if max(grades.values()) > 0}


def _existing(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.exists():
            return file
    raise SettingsError(f"{folder} has no {name}", hint=LAYOUT)


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, after its place as `file:line`."""
    number = 0
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{file}:{number}", line
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}:{number + 1}: cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents of a data set as a source: one document an entry, at `beir:<data set>/<id>`."""

    dataset: Dataset

    @property
    def name(self) -> str:
        return self.prefix.removesuffix("/")

    @property
    def prefix(self) -> str:
        return f"beir:{quote(self.dataset.name, safe='')}/"

    def key(self, uri: str) -> str:
        """The entry that stands at a URI."""
        return unquote(uri.removeprefix(self.prefix))

    async def items(self) -> AsyncIterator[Item | Skip]:
        for key, entry in self.dataset.corpus.items():
            yield self._item(key, entry)

    async def look(self, uri: str) -> Item | Skip | None:
        entry = self.dataset.corpus.get(self.key(uri))
        return self._item(self.key(uri), entry) if entry else None

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        entry = self.dataset.corpus[self.key(item.uri)]
        data = _source_text(entry).encode(errors="replace")
        if len(data) > limit:
            raise DocumentTooLarge(f"{item.uri} has {len(data):,} bytes, the limit is {limit:,}")
        revision = _revision(entry)
        return None if revision == known else Fetched(data=data, revision=revision, charset="utf-8")

    def _item(self, key: str, entry: Entry) -> Item:
        titled = bool(entry.title.strip() and entry.text.strip())
        uri = self.prefix + quote(key, safe="")
        return Item(uri=uri, revision=_revision(entry), name=f"{key}.md" if titled else "")


def _revision(entry: Entry) -> str:
    return hashlib.sha256(f"{entry.title}\0{entry.text}".encode(errors="replace")).hexdigest()


def collection(dataset: Dataset, settings: Settings) -> str:
    """The name of the collection that holds the corpus as these settings index it.

    Each way to index has one of its own, so that settings can be compared without building anything twice.
    """
    way = settings.model_dump_json(include={"chunking": True, "embedding": _EMBEDDING})
    digest = hashlib.sha256(f"{PARSER_VERSION} {way}".encode()).hexdigest()
    return f"eval-{dataset.name[:80]}-{digest[:6]}"


def _source_text(entry: Entry) -> str:
    """What parses back to the entry: its title as front matter, and its text as it is.

    An entry with a title alone is its title. One without a title has no name either, which makes it plain text:
    its id is not a title, and would be embedded as one.
    """
    if not entry.title.strip() or not entry.text.strip():
        return entry.title + entry.text
    return f"---\ntitle: {json.dumps(entry.title, ensure_ascii=False)}\n---\n{entry.text}"
