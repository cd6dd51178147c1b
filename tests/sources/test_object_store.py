from __future__ import annotations

import http.client
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from contracts.source import SourceContract, content, listed, skipped
from ragstone.errors import DocumentUnavailable, SettingsError, SourceError, UnreadableDocument
from ragstone.models import Item
from ragstone.settings import load
from ragstone.source_settings import ObjectStoreSource
from ragstone.sources.object_store import ObjectStorage

ODD = ["%20.md", "100%.md", "a b+c.md", "a#b?.md", "back\\slash.md", "deep/er/d.md", "~t[1]*{2}.md", "ü.md", "😀.md"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 API."""
    started = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def s3(server: str) -> Iterator[Any]:
    """A client of the other kind, and a bucket that holds two documents under docs/ and one beside it."""
    client = boto3.client(
        "s3", endpoint_url=server, aws_access_key_id="key", aws_secret_access_key="secret", region_name="eu-west-1"
    )
    client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for key in ("docs/a.md", "docs/b.txt", "docs-2/c.md"):
        client.put_object(Bucket="bucket", Key=key, Body=key.encode())
    yield client
    client.close()
    asked = http.client.HTTPConnection(server.removeprefix("http://"))
    asked.request("POST", "/moto-api/reset")
    asked.getresponse().read()
    asked.close()


def storage(server: str, /, **changes: Any) -> ObjectStorage:
    settings = ObjectStoreSource(
        url="s3://bucket/docs",
        endpoint=server,
        region="eu-west-1",
        access_key_id=SecretStr("key"),
        secret_access_key=SecretStr("secret"),
    )
    return ObjectStorage("files", settings.model_copy(update=changes))


def local(path: Path) -> ObjectStorage:
    return ObjectStorage("files", ObjectStoreSource(url=path.as_uri()))


class TestS3(SourceContract):
    @pytest.fixture
    def source(self, server: str, s3: Any) -> ObjectStorage:
        return storage(server)

    @pytest.fixture
    def change_one(self, s3: Any) -> Callable[[], None]:
        return lambda: s3.put_object(Bucket="bucket", Key="docs/a.md", Body=b"changed")

    @pytest.fixture
    def remove_one(self, s3: Any) -> Callable[[], None]:
        return lambda: s3.delete_object(Bucket="bucket", Key="docs/a.md")

    @pytest.fixture
    def spoil_one(self, s3: Any) -> Callable[[], None]:
        return lambda: s3.put_object(Bucket="bucket", Key="docs/empty.md", Body=b"")

    @pytest.fixture
    def remove_all(self, s3: Any) -> Callable[[], None]:
        def remove() -> None:
            for key in ("docs/a.md", "docs/b.txt", "docs-2/c.md"):
                s3.delete_object(Bucket="bucket", Key=key)
            s3.delete_bucket(Bucket="bucket")

        return remove


class TestLocalPath(SourceContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        folder = tmp_path / "odd ü#%"
        (folder / "sub").mkdir(parents=True)
        (folder / "a.md").write_text("First")
        (folder / "sub" / "b.md").write_text("Second")
        return folder

    @pytest.fixture
    def source(self, root: Path) -> ObjectStorage:
        return local(root)

    @pytest.fixture
    def change_one(self, root: Path) -> Callable[[], None]:
        return lambda: print((root / "a.md").write_text("Changed"))

    @pytest.fixture
    def remove_one(self, root: Path) -> Callable[[], None]:
        return (root / "a.md").unlink

    @pytest.fixture
    def spoil_one(self, root: Path) -> Callable[[], None]:
        return (root / "empty.md").touch

    @pytest.fixture
    def remove_all(self, root: Path) -> Callable[[], None]:
        return lambda: shutil.rmtree(root)


async def test_odd_keys_are_listed_looked_at_and_fetched(server: str, s3: Any) -> None:
    for key in ODD:
        s3.put_object(Bucket="bucket", Key=f"docs/{key}", Body=key.encode())
    source = storage(server)
    items = {item.name: item for item in await listed(source)}
    assert sorted(items) == sorted([*ODD, "a.md", "b.txt"])
    assert items["a#b?.md"].uri == "s3://bucket/docs/a%23b%3F.md"
    for key in ODD:
        assert await source.look(items[key].uri) == items[key]
        assert await content(source, items[key]) == key.encode()


async def test_keys_that_stand_for_folders_are_passed_over(server: str, s3: Any) -> None:
    for key in ("docs/dir/", "docs/dir/x.md", "docs/alone/"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x" if key.endswith("md") else b"")
    source = storage(server)
    assert [item.name for item in await listed(source)] == ["a.md", "b.txt", "dir/x.md"]
    assert [skip.reason for skip in await skipped(source)] == ["alone is empty, or stands for a folder"]
    assert await source.look("s3://bucket/docs/dir") is None


async def test_globs_choose(server: str, s3: Any) -> None:
    source = storage(server, url="s3://bucket/", include=("*.md",), exclude=("docs-2",))
    (item,) = await listed(source)
    assert item.uri == "s3://bucket/docs/a.md"
    assert await source.look("s3://bucket/docs/b.txt") is None
    assert await source.look("s3://bucket/docs-2/c.md") is None


async def test_listings_of_many_pages(server: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")  # of one page
    for number in range(10):
        s3.put_object(Bucket="bucket", Key=f"many/{number}.md", Body=b"x")
    assert len(s3.list_objects_v2(Bucket="bucket", Prefix="many/")["Contents"]) == 3
    items = await listed(storage(server, url="s3://bucket/many"))
    assert [item.name for item in items] == [f"{number}.md" for number in range(10)]


async def test_a_key_that_obstore_cannot_read_is_named(server: str, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="docs/a//b.md", Body=b"x")
    with pytest.raises(SourceError, match=r"docs/a//b\.md") as caught:
        await listed(storage(server))
    assert "narrow the url" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"url": "s3://nobodys/docs"}, "no such bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"options": {"endpoin": SecretStr("x")}}, "as obstore names them"),
    ],
)
async def test_mistakes_are_told_with_a_way_out(server: str, s3: Any, changes: dict[str, Any], hint: str) -> None:
    source = storage(server, **changes)
    with pytest.raises(SourceError, match="nothing was changed") as caught:
        await listed(source)
    assert hint in caught.value.hint
    with pytest.raises(SourceError):
        await source.look(source.prefix + "a.md")


async def test_without_permission(server: str, s3: Any) -> None:
    item = (await listed(storage(server)))[0]
    asked = http.client.HTTPConnection(server.removeprefix("http://"))
    asked.request("POST", "/moto-api/reset-auth", body=b"0")
    asked.getresponse().read()
    try:
        source = storage(server, access_key_id=SecretStr("stranger"))
        with pytest.raises(SourceError) as caught:
            await listed(source)
        assert "no permission" in caught.value.hint
        with pytest.raises(UnreadableDocument) as refused:
            await source.fetch(item, 1000)
        assert "no permission" in refused.value.hint
    finally:
        asked.request("POST", "/moto-api/reset-auth", body=b"inf")
        asked.getresponse().read()
        asked.close()


async def test_an_endpoint_that_is_down_may_come_back(server: str, s3: Any) -> None:
    item = (await listed(storage(server)))[0]
    with pytest.raises(DocumentUnavailable, match=r"a\.md"):
        await storage("http://127.0.0.1:9").fetch(item, 1000)


async def test_secrets_are_in_no_message() -> None:
    settings = ObjectStoreSource(
        url="s3://b", secret_access_key=SecretStr("hidden"), options={"x": SecretStr("hidden")}
    )
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    "given",
    [
        {"url": "s3://key:hidden@bucket/docs"},
        {"url": "az://container/docs?sig=hidden"},
        {"url": "s3://bucket", "endpoint": "https://key:hidden@s3.example.com"},
    ],
)
def test_addresses_hold_no_secrets(tmp_path: Path, given: dict[str, str]) -> None:
    lines = [f'{name} = "{value}"' for name, value in given.items()]
    (tmp_path / "ragstone.toml").write_text("\n".join(["[sources.x]", 'kind = "object-store"', *lines]))
    with pytest.raises(SettingsError, match="keys have settings of their own") as caught:
        load(tmp_path / "ragstone.toml")
    assert "hidden" not in str(caught.value)


async def test_a_listing_holds_a_page_at_a_time(server: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "1")
    monkeypatch.setattr("ragstone.sources.object_store.PAGE", 1)
    items = storage(server).items()
    assert (await anext(items)).uri == "s3://bucket/docs/a.md"
    s3.put_object(Bucket="bucket", Key="docs/late.md", Body=b"x")
    assert [found.uri async for found in items][-1] == "s3://bucket/docs/late.md"


def test_a_plain_path_is_meant_from_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "ragstone.toml").write_text('[sources.x]\nkind = "object-store"\nurl = "my exports"\n')
    found = load(tmp_path / "ragstone.toml").sources["x"]
    assert isinstance(found, ObjectStoreSource)
    assert found.url == (tmp_path / "my exports").as_uri()


async def test_revisions_of_changed_content_differ_though_the_size_does_not(server: str, s3: Any) -> None:
    before = (await listed(storage(server)))[0]
    s3.put_object(Bucket="bucket", Key="docs/a.md", Body=b"docs/A.MD")
    after = (await listed(storage(server)))[0]
    assert isinstance(after, Item)
    assert after.revision != before.revision
