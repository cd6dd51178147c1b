"""The BEIR layout is read whole or refused with the line at fault; what is embedded is title and text, unchanged."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import DocumentTooLarge, SettingsError
from ragstone.evaluation.datasets import Corpus, Dataset, Entry, collection, read, splits
from ragstone.models import Document, Item
from ragstone.parsing.parse import parse
from ragstone.settings import ChunkingSettings, RetrievalSettings, Settings

CORPUS: list[dict[str, object]] = [
    {"_id": "1", "title": "Rock", "text": "Ragstone is a hard limestone."},
    {"_id": "a/b é", "title": "", "text": "Walls were built of it."},
    {"_id": 3, "text": "An integer id, and no title at all."},
]
QUERIES = [{"_id": "q1", "text": "What is ragstone?"}, {"_id": "q2", "text": "What for?"}]
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "stones"
    folder.mkdir()
    write(folder / "corpus.jsonl", lines(CORPUS))
    write(folder / "queries.jsonl", lines(QUERIES))
    write(folder / "qrels.test.tsv", HEADER + "q1\t1\t2\nq1\ta/b é\t0\n")
    return folder


def lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n\n"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())


def one(title: str, text: str, key: str = "1") -> Corpus:
    corpus = {key: Entry(title=title, text=text)}
    return Corpus(Dataset(name="set", split="test", corpus=corpus, questions={}, judgements={}))


async def listed(corpus: Corpus) -> list[Item]:
    return [item async for item in corpus.items() if isinstance(item, Item)]


async def parsed(corpus: Corpus) -> Document:
    (item,) = await listed(corpus)
    fetched = await corpus.fetch(item, 2**20)
    assert fetched is not None
    return parse(fetched.data, item.name)


# --- reading ----------------------------------------------------------------------------------------------------


def test_the_whole_layout(folder: Path) -> None:
    dataset = read(folder)
    assert (dataset.name, dataset.split, dataset.absent) == ("stones", "test", 0)
    assert dataset.corpus["1"] == Entry(title="Rock", text="Ragstone is a hard limestone.")
    assert list(dataset.corpus) == ["1", "a/b é", "3"]
    assert dataset.questions == {"q1": "What is ragstone?"}  # q2 has no judgement in this split
    assert dataset.judgements == {"q1": {"1": 2, "a/b é": 0}}


@pytest.mark.parametrize("name", ["qrels/dev.tsv", "qrels.dev.tsv", "qrels-dev.tsv", "qrels/dev.tsv.gz"])
def test_every_way_to_name_a_split(folder: Path, name: str) -> None:
    write(folder / name, "q2\t3\t1\n")  # no header
    assert read(folder).split == "test"
    assert read(folder, "dev").judgements == {"q2": {"3": 1}}


@pytest.mark.parametrize(("name", "split"), [("qrels.tsv", "all"), ("qrels/train.tsv", "train")])
def test_the_only_split_needs_no_name(folder: Path, name: str, split: str) -> None:
    (folder / "qrels.test.tsv").unlink()
    write(folder / name, HEADER + "q2\t3\t1\n")
    assert read(folder).split == split
    assert list(splits(folder)) == [split]


def test_compressed_files_read_the_same(folder: Path) -> None:
    plain = read(folder)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.test.tsv"):
        write(folder / f"{name}.gz", (folder / name).read_text())
        (folder / name).unlink()
    assert read(folder) == plain


def test_relevant_documents_that_the_corpus_lacks_are_counted(folder: Path) -> None:
    write(folder / "qrels.test.tsv", "q1\t1\t1\nq1\tgone\t1\nq2\tgone\t0\n")
    assert read(folder).absent == 1


# --- refusing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("corpus.jsonl", '{"_id": "1", "text": "x"}\nnot json\n', r"corpus\.jsonl:2: not JSON"),
        ("corpus.jsonl", '{"_id": "1", "title": "x"}\n', r"corpus\.jsonl:1: expected an object"),
        ("corpus.jsonl", '["1", "x"]\n', r"corpus\.jsonl:1: expected an object"),
        ("corpus.jsonl", '{"_id": "1", "text": "x"}\n{"_id": 1, "text": "y"}', r"corpus\.jsonl:2: the _id '1'"),
        ("queries.jsonl", '{"text": "x"}\n', r"queries\.jsonl:1: expected an object"),
        ("qrels.test.tsv", "q1\t1\t1\nq1 2 1\n", r"qrels\.test\.tsv:2: expected query-id"),
        ("qrels.test.tsv", "q1\t1\tyes\n", r"qrels\.test\.tsv:1: expected query-id"),
        ("qrels.test.tsv", "q1\t1\t1\nq9\t1\t1\n", r"qrels\.test\.tsv:2: queries\.jsonl has no query 'q9'"),
        ("qrels.test.tsv", HEADER, "no document relevant"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, name: str, text: str, message: str) -> None:
    write(folder / name, text)
    with pytest.raises(SettingsError, match=message):
        read(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.test.tsv"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SettingsError, match=name.split(".")[0]) as refused:
        read(folder)
    assert "corpus.jsonl" in refused.value.hint


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "queries.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"queries\.jsonl:1: cannot be read"):
        read(folder)
    (folder / "queries.jsonl").rename(folder / "queries.jsonl.gz")
    with pytest.raises(SettingsError, match=r"queries\.jsonl\.gz:1: cannot be read"):
        read(folder)


def test_an_unknown_split_lists_those_there_are(folder: Path) -> None:
    write(folder / "qrels.train.tsv", "q2\t3\t1\n")
    with pytest.raises(SettingsError, match="no split 'dev'") as refused:
        read(folder, "dev")
    assert refused.value.hint == "choose by --split: test, train"


def test_which_of_several_splits_is_not_guessed(folder: Path) -> None:
    (folder / "qrels.test.tsv").rename(folder / "qrels.dev.tsv")
    write(folder / "qrels.train.tsv", "q2\t3\t1\n")
    with pytest.raises(SettingsError, match="no split 'test'"):
        read(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not a folder"):
        read(tmp_path / "none")


# --- the corpus as a source -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "title", ['Say "no": # 1', "TNF-α / IL-6: a *study*", "--- 'quotes' \\ and {braces}", "yes", "42", "[x]", "a.pdf"]
)
@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "---\nrule\n---\nmore",
        "# not a title\n\n* a\n* b",
        "<html><body>x</body></html>",
        "    four\n\tx",
    ],
)
async def test_title_and_text_come_back_from_the_parser(title: str, text: str) -> None:
    document = await parsed(one(title, text))
    assert (document.title, document.text) == (title, text)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" \n"), min_size=1))
async def test_any_text_comes_back_from_the_parser(text: str) -> None:
    if text.strip():
        document = await parsed(one("A title", text))
        assert (document.title, document.text) == ("A title", text)


async def test_an_entry_without_a_title_is_embedded_without_one() -> None:
    document = await parsed(one("", "# A text of its own.\n\nMore."))
    assert (document.title, document.text) == ("", "# A text of its own.\n\nMore.")


async def test_an_entry_with_a_title_alone_is_its_title() -> None:
    assert (await parsed(one("Only a title", " "))).text == "Only a title "


async def test_ids_survive_their_uri() -> None:
    for key in ("1", "a/b é", "%2F", "x?y#z", ".."):
        corpus = one("t", "x", key)
        (item,) = await listed(corpus)
        assert item.uri.startswith(corpus.prefix)
        assert item.uri.isascii()
        assert corpus.key(item.uri) == key


async def test_a_revision_follows_title_and_text() -> None:
    texts = [("a", "b"), ("a", "c"), ("ab", ""), ("", "ab")]
    revisions = [(await listed(one(title, text)))[0].revision for title, text in texts]
    assert len(set(revisions)) == len(texts)
    assert (await listed(one("a", "b")))[0].revision == revisions[0]


async def test_a_document_over_the_limit_is_refused() -> None:
    corpus = one("t", "x" * 100)
    (item,) = await listed(corpus)
    with pytest.raises(DocumentTooLarge):
        await corpus.fetch(item, 50)


def test_each_way_to_index_has_its_own_collection() -> None:
    dataset = one("t", "x").dataset
    usual = collection(dataset, Settings())
    assert usual.startswith("eval-set-")
    assert collection(dataset, Settings(retrieval=RetrievalSettings(top_k=3))) == usual
    assert collection(dataset, Settings(chunking=ChunkingSettings(max_tokens=100))) != usual
