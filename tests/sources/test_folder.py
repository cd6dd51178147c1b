from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.source import SourceContract, WatchedContract, all_of, content, listed, skipped, told, watching
from ragstone.errors import DocumentUnavailable, SourceError, UnreadableDocument
from ragstone.models import Skip
from ragstone.source_settings import FolderSource
from ragstone.sources.folder import Folder
from ragstone.sources.globs import Globs
from ragstone.sources.notices import Notices


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


class TestFolder(SourceContract, WatchedContract):
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
    assert await content(folder(root), item) == b"x"
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
    assert await content(folder(root), item) == b"x"


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


async def test_too_many_open_files_pass(root: Path) -> None:
    item = (await listed(folder(root)))[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(DocumentUnavailable, match="Too many open files"):
            await folder(root).fetch(item, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert await content(folder(root), item) == b"# A"


async def test_one_file_is_a_source_too(root: Path) -> None:
    source = folder(root / "guides" / "b.txt")
    (item,) = await listed(source)
    assert (item.name, item.uri) == ("b.txt", source.prefix)
    assert await content(source, item) == b"Second"


async def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        await listed(folder(tmp_path / "missing"))


async def test_a_pipe_as_the_path_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"pipe \(it is neither a file nor a folder\): nothing was changed"):
        await listed(folder(tmp_path / "pipe"))


async def test_looking_sees_as_a_listing_does(root: Path, tmp_path: Path) -> None:
    (root / "logo.png").write_bytes(b"\x89PNG")
    (root / "link.md").symlink_to("guides/b.txt")
    (root / "folder").symlink_to("guides")
    (root / "loop").symlink_to("loop")
    (root / "out").symlink_to(tmp_path)
    source = folder(root, exclude=("deep",))
    found = [each async for each in source.items()]
    assert len(found) == 7
    assert [await source.look(each.uri) for each in found] == found
    for path in ("guides", "guides/deep/c.html", "folder/b.txt", "out/x.md", ".env", "a.md/b", "guides/../a.md", ""):
        assert await source.look(source.prefix + path) is None
    assert await source.look(source.prefix.rstrip("/")) is None
    assert await folder(root, include=("*.txt",)).look(source.prefix + "a.md") is None


async def test_looking_at_a_single_file(root: Path) -> None:
    source = folder(root / "a.md")
    assert [await source.look(source.prefix)] == await listed(source)
    assert await source.look(source.prefix.replace("a.md", "guides/b.txt")) is None


@asynccontextmanager
async def hints(source: Folder) -> AsyncIterator[AsyncIterator[frozenset[str]]]:
    """What is told once watching has begun."""
    async with watching(source) as changes:
        assert await anext(changes) == frozenset()
        yield changes


def addresses(root: Path, *paths: str) -> frozenset[str]:
    return frozenset((root / path).as_uri() for path in paths)


@pytest.fixture(params=["auto", "poll"])
def watched(root: Path, request: pytest.FixtureRequest) -> Folder:
    settings = FolderSource(path=root, exclude=("*.tmp",), watch=request.param, poll=0.05, debounce=0.05)
    return Folder("docs", settings)


async def test_files_that_are_made_changed_and_removed_are_told_of(root: Path, watched: Folder) -> None:
    async with hints(watched) as changes:
        (root / "guides" / "new.md").write_text("new")
        assert await anext(changes) == addresses(root, "guides/new.md")
        (root / "a.md").write_text("# Changed")
        assert await anext(changes) == addresses(root, "a.md")
        (root / "guides" / "b.txt").unlink()
        assert await anext(changes) == addresses(root, "guides/b.txt")


async def test_a_moved_file_is_told_of_at_both_places(root: Path, watched: Folder) -> None:
    async with hints(watched) as changes:
        (root / "a.md").rename(root / "guides" / "a.md")
        told = await anext(changes)
        while told < addresses(root, "a.md", "guides/a.md"):  # a listing may come between
            told |= await anext(changes)
        assert told == addresses(root, "a.md", "guides/a.md")


@pytest.mark.parametrize("scratch", [".a.md.swp", "a.tmp", "node_modules"])
async def test_editors_that_write_beside_and_rename(root: Path, watched: Folder, scratch: str) -> None:
    async with hints(watched) as changes:
        (root / scratch).write_text("# Saved")
        (root / scratch).replace(root / "a.md")
        assert await anext(changes) == addresses(root, "a.md")


async def test_what_a_listing_passes_over_is_not_told_of(root: Path) -> None:
    (root / ".git").mkdir()
    source = Folder("docs", FolderSource(path=root, include=("*.md", "*.txt"), exclude=("b.*",), debounce=0.05))
    async with hints(source) as changes:
        for path in (".git/index.md", ".hidden.md", "b.md", "c.html", "last.md"):
            (root / path).write_text("x")
        assert await anext(changes) == addresses(root, "last.md")


async def test_new_and_lost_folders_ask_for_a_listing_and_are_followed(root: Path) -> None:
    source = Folder("docs", FolderSource(path=root, debounce=0.05))
    async with hints(source) as changes:
        (root / "new" / "below").mkdir(parents=True)
        (root / "new" / "below" / "d.md").write_text("x")
        assert await anext(changes) == frozenset()
        (root / "new" / "below" / "d.md").write_text("changed")
        assert await anext(changes) == addresses(root, "new/below/d.md")
        (root / "new").rename(root / "moved")
        assert await anext(changes) == frozenset()
        (root / "moved" / "below" / "d.md").write_text("changed again")
        assert await anext(changes) == addresses(root, "moved/below/d.md")
        shutil.rmtree(root / "moved")
        assert await anext(changes) == frozenset()


async def test_a_folder_that_is_made_while_watching_begins_is_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(folders: frozenset[Path]) -> Notices:
        (root / "late").mkdir(exist_ok=True)  # after the folders were listed
        return Notices(folders)

    monkeypatch.setattr("ragstone.sources.folder.Notices", late)
    async with watching(source := Folder("docs", FolderSource(path=root, debounce=0.05))) as changes:
        assert await anext(changes) == frozenset()
        (root / "late/new.md").write_text("New")
        await told(changes, f"{source.prefix}late/new.md")


async def test_a_burst_is_one_hint(root: Path) -> None:
    source = Folder("docs", FolderSource(path=root, debounce=0.5))
    async with hints(source) as changes:
        for number in range(200):
            (root / f"{number}.md").write_text("x")
        assert await anext(changes) == addresses(root, *(f"{number}.md" for number in range(200)))


async def test_too_many_changes_ask_for_a_listing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.sources.folder.MANY", 20)
    async with hints(Folder("docs", FolderSource(path=root, debounce=0.2))) as changes:
        for number in range(30):
            (root / f"{number}.md").write_text("x")
        assert await anext(changes) == frozenset()


async def test_a_single_file_is_watched_though_it_is_replaced(root: Path) -> None:
    source = Folder("docs", FolderSource(path=root / "a.md", debounce=0.05))
    async with hints(source) as changes:
        for number in range(3):
            (root / "beside.md").write_text("x" * number)
            (root / "next.md").write_text(f"# {number}")
            (root / "next.md").replace(root / "a.md")
            assert await anext(changes) == frozenset({source.prefix})


async def test_a_name_that_is_not_utf8_does_not_end_the_watching(root: Path) -> None:
    async with hints(Folder("docs", FolderSource(path=root, debounce=0.05))) as changes:
        try:
            Path(os.fsdecode(os.fsencode(root) + b"/\xff.md")).write_text("x")
        except OSError:
            pytest.skip("this file system takes only UTF-8")
        assert await anext(changes) == frozenset()
        (root / "a.md").write_text("# Changed")
        assert await anext(changes) == addresses(root, "a.md")


async def test_a_folder_that_is_taken_away_ends_the_watching(root: Path, watched: Folder) -> None:
    async with hints(watched) as changes:
        root.rename(root.with_name("elsewhere"))
        with pytest.raises(SourceError, match="nothing was changed"):
            await all_of(changes)


async def test_links_out_of_the_folder_are_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    async with hints(Folder("docs", FolderSource(path=root, debounce=0.05))) as changes:
        (tmp_path / "outside" / "x.md").write_text("x")
        (root / "a.md").write_text("# Changed")
        assert await anext(changes) == addresses(root, "a.md")


async def test_without_watches_the_folder_is_looked_at(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = Path(os.fsdecode(os.fsencode(root) + b"/\xff"))  # such a folder cannot be watched
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    async with hints(Folder("docs", FolderSource(path=root, poll=0.05))) as changes:
        assert "does not tell of changes" in caplog.text
        (odd / "a.md").write_text("x")
        (hint,) = await anext(changes)
        assert hint.endswith("/%FF/a.md")


async def test_nothing_is_told_when_watching_is_off(root: Path) -> None:
    async with watching(Folder("docs", FolderSource(path=root, watch="off"))) as changes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(changes)


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
