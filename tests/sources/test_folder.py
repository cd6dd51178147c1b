from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.source import SourceContract, listed, skipped
from ragstone.errors import SourceError, UnreadableDocument
from ragstone.models import Skip
from ragstone.settings import FolderSource
from ragstone.sources.folder import Folder
from ragstone.sources.globs import Globs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "guides" / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("# A")
    (folder / "guides" / "b.txt").write_text("Second")
    (folder / "guides" / "deep" / "c.html").write_text("<p>Third")
    return folder


def folder(root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Folder:
    return Folder("docs", FolderSource(path=root, include=include, exclude=exclude))


async def names(source: Folder) -> list[str]:
    return [item.name for item in await listed(source)]


class TestFolder(SourceContract):
    @pytest.fixture
    def source(self, root: Path) -> Folder:
        return folder(root)

    @pytest.fixture
    def change_one(self, root: Path) -> Callable[[], None]:
        return lambda: void((root / "a.md").write_text("# Changed"))

    @pytest.fixture
    def remove_one(self, root: Path) -> Callable[[], None]:
        return (root / "a.md").unlink

    @pytest.fixture
    def spoil_one(self, root: Path) -> Callable[[], None]:
        return lambda: (root / "link.md").symlink_to("missing.md")

    @pytest.fixture
    def remove_all(self, root: Path) -> Callable[[], None]:
        return lambda: shutil.rmtree(root)


def void(_: object) -> None: ...


async def test_names_are_paths_and_addresses_are_percent_encoded(root: Path) -> None:
    (root / "100 % müßig?.md").write_text("x")
    item = (await listed(folder(root)))[0]
    assert item.name == "100 % müßig?.md"
    assert item.uri == (root.resolve() / "100 % müßig?.md").as_uri()
    assert await folder(root).fetch(item, 10) == b"x"
    assert item.modified_at is not None
    assert item.modified_at.timestamp() == pytest.approx((root / "100 % müßig?.md").stat().st_mtime)


async def test_names_need_not_be_utf8(root: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff.md")).write_text("x")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    item = (await listed(folder(root)))[1]
    assert item.uri.endswith("/%FF.md")
    item.name.encode()
    assert await folder(root).fetch(item, 10) == b"x"


async def test_a_folder_that_vanishes_is_named_in_words_whatever_its_name(root: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(root) + b"/\xff"))
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    found = folder(root).items()
    await anext(found)  # the folder itself is read by now
    odd.rmdir()
    (skip,) = [each async for each in found if isinstance(each, Skip)]
    assert (skip.uri[-5:], skip.reason) == ("/%FF/", "\ufffd: No such file or directory")


async def test_hidden_files_and_other_peoples_code_are_passed_over(root: Path) -> None:
    for path in (".env", ".git/config", ".venv/a.py", ".ragstone/x", "node_modules/p/readme.md", "guides/.hidden.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    assert await names(folder(root)) == ["a.md", "guides/b.txt", "guides/deep/c.html"]
    assert not await skipped(folder(root))


async def test_patterns_choose_files(root: Path) -> None:
    assert await names(folder(root, include=("*.md", "guides/deep/**"))) == ["a.md", "guides/deep/c.html"]
    assert await names(folder(root, exclude=("deep",))) == ["a.md", "guides/b.txt"]
    assert await names(folder(root, exclude=("guides/*.txt",))) == ["a.md", "guides/deep/c.html"]


async def test_files_without_text_are_listed_as_skipped_unless_asked_for(root: Path) -> None:
    (root / "logo.PNG").write_bytes(b"\x89PNG")
    (root / "unknown.xyz").write_bytes(b"\0\1\2")
    (skip,) = await skipped(folder(root))
    assert (skip.code, skip.reason) == ("unsupported", "logo.PNG is an image")
    assert "unknown.xyz" in await names(folder(root))
    assert await names(folder(root, include=("*.PNG",))) == ["logo.PNG"]


async def test_links_stay_inside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (root / "l1.md").symlink_to(tmp_path / "secret.md")
    (root / "l2").symlink_to(tmp_path)
    (root / "l3").symlink_to(root)
    (root / "l4.md").symlink_to(root / "l4.md")
    (root / "l5.md").symlink_to("missing.md")
    (root / "l6.md").symlink_to("guides/b.txt")
    assert await names(folder(root)) == ["a.md", "l6.md", "guides/b.txt", "guides/deep/c.html"]
    reasons = [skip.reason for skip in await skipped(folder(root))]
    assert [reason.split()[0].rstrip(":") for reason in reasons] == ["l1.md", "l2", "l3", "l4.md", "l5.md"]
    assert ["leads out" in reason for reason in reasons] == [True, True, False, False, False]


async def test_a_file_that_became_a_link_out_of_the_folder_is_not_read(root: Path, tmp_path: Path) -> None:
    item = (await listed(folder(root)))[0]
    (tmp_path / "secret.md").write_text("secret")
    (root / "a.md").unlink()
    (root / "a.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(UnreadableDocument):
        await folder(root).fetch(item, 100)


async def test_pipes_and_sockets_are_never_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = (await listed(folder(root)))[0]
    (root / "a.md").unlink()
    os.mkfifo(root / "a.md")
    monkeypatch.chdir(root)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.sock")
        assert [skip.reason for skip in await skipped(folder(root))] == [
            "a.md is a pipe, socket or device",
            "s.sock is a pipe, socket or device",
        ]
    with pytest.raises(UnreadableDocument, match="no regular file"):
        await folder(root).fetch(item, 100)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_said(root: Path) -> None:
    item = (await listed(folder(root)))[0]
    (root / "a.md").chmod(0)
    (root / "guides").chmod(0)
    (skip,) = await skipped(folder(root))
    assert skip.uri.endswith("/guides/")
    with pytest.raises(UnreadableDocument, match="Permission denied"):
        await folder(root).fetch(item, 100)
    (root / "guides").chmod(0o700)


async def test_one_file_is_a_source_too(root: Path) -> None:
    source = folder(root / "guides" / "b.txt")
    (item,) = await listed(source)
    assert (item.name, item.uri) == ("b.txt", source.prefix)
    assert await source.fetch(item, 100) == b"Second"


async def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        await listed(folder(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.md", "a/b.md", True),
        ("/*.md", "a/b.md", False),
        ("a/*.md", "a/b/c.md", False),
        ("a/**/c.md", "a/c.md", True),
        ("a/**", "a/b/c.md", True),
        ("a/", "a/b", True),
        ("a", "ab", False),
        ("[a-c]?.t[!x]t", "b1.txt", False),
        ("[a-c]?.t[!y]t", "b1.txt", True),
        ("a.b", "axb", False),
        ("[", "[", True),
        ("[[]", "[", True),
        ("[a--]", "-", False),
        ("[b-a]", "b", False),
        ("a[.-0]b", "a/b", False),
        ("a[!x]b", "a/b", False),
    ],
)
def test_globs(pattern: str, path: str, matches: bool) -> None:
    assert Globs([pattern]).match(path) is matches


@given(st.text(st.sampled_from("ab[]!*?/\\^-."), max_size=10), st.text(st.sampled_from("ab/."), max_size=8))
def test_any_pattern_is_a_pattern(pattern: str, path: str) -> None:
    Globs([pattern]).match(path)
