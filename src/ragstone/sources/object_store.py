"""Objects in S3, Google Cloud Storage, Azure Blob Storage or under a local path, read by obstore."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from obstore.exceptions import (
    BaseError,
    NotModifiedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import from_url

from ragstone.errors import DocumentTooLarge, DocumentUnavailable, EmptyDocument, SourceError, UnreadableDocument
from ragstone.models import Fetched, Item, Skip
from ragstone.source_settings import ObjectStoreSource
from ragstone.sources.globs import Globs

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PAGE = 1000
"""Objects that are listed at a time."""

CLIENT: ClientConfig = {"connect_timeout": "10s", "timeout": "120s"}
RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}

NO_PERMISSION = "no permission: the key (or anonymous access) must be allowed to list and to read"
HINTS = {
    "403 Forbidden": NO_PERMISSION,
    "401 Unauthorized": NO_PERMISSION,
    "NoSuchBucket": "no such bucket: check the name in url, and endpoint and region",
    "ContainerNotFound": "no such container: check the name in url, and the account's name",
    "canonicalize": "there is no such folder",
    "error sending request": "the endpoint cannot be reached: check endpoint and the network",
    "InvalidPathError": "obstore reads no keys with empty or dot-only parts: narrow the url to a prefix without them",
}


class ObjectStorage:
    """Lists the objects under a prefix, page by page, as the store has them: in the order of their keys, mostly.

    An item's URI is the source's URL followed by the rest of the key; its revision is the ETag, or else size and time
    of modification.
    """

    def __init__(self, name: str, settings: ObjectStoreSource) -> None:
        self.name = name
        self._settings = settings
        self._include = Globs(settings.include)
        self._exclude = Globs(settings.exclude)

    @property
    def prefix(self) -> str:
        return self._settings.url.rstrip("/") + "/"

    async def items(self) -> AsyncIterator[Item | Skip]:
        """Raises SourceError when the settings are wrong, and when the store cannot be reached or refuses."""
        empty: list[ObjectMeta] = []
        folders: set[str] = set()
        async with aclosing(self._list()) as listing:
            async for meta in listing:
                folders.update(_folders(meta["path"]))
                if not self._meant(meta["path"]):
                    continue
                if meta["size"]:
                    yield self._item(meta)
                else:  # the rest has to tell whether it stands for a folder
                    empty.append(meta)
        for meta in empty:
            if meta["path"] not in folders:
                yield self._item(meta)

    async def look(self, uri: str) -> Item | Skip | None:
        path = self._path(uri)
        if not uri.startswith(self.prefix) or not self._meant(path):
            return None
        try:
            return self._item(await self._store.head_async(path))
        except FileNotFoundError:
            await self._check(self._open())
            return None
        except (BaseError, OSError, ValueError) as error:
            raise self._error(error) from error

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """Raises UnreadableDocument when the object is gone or refused."""
        try:
            return await self._get(self._path(item.uri), item.name, limit, known)
        except NotModifiedError:
            return None
        except FileNotFoundError:
            raise UnreadableDocument(f"{item.name}: the object is gone") from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise UnreadableDocument(f"{item.name}: {_reason(error)}", hint=_hint(error)) from error
        except (BaseError, OSError, SourceError) as error:
            raise DocumentUnavailable(f"{item.name}: {_reason(error)}", hint=_hint(error)) from error

    async def _list(self) -> AsyncGenerator[ObjectMeta, None]:
        try:
            async for page in self._open().list(chunk_size=PAGE):
                for meta in sorted(page, key=lambda meta: meta["path"]):
                    yield meta
        except (BaseError, OSError, ValueError) as error:
            raise self._error(error) from error

    async def _check(self, store: ObjectStore) -> None:
        """Raises SourceError when it is the bucket that is gone: stores say the same of an object in it."""
        try:
            async for _ in store.list(chunk_size=1):
                return
        except (BaseError, OSError) as error:
            raise self._error(error) from error

    async def _get(self, path: str, name: str, limit: int, known: str | None) -> Fetched | None:
        tag = known if known and known.startswith(('"', "W/")) else None
        got = await self._store.get_async(path, options={"if_none_match": tag} if tag else {})
        meta = got.meta
        if _revision(meta) == known:
            return None
        if meta["size"] > limit:
            raise DocumentTooLarge(
                f"{name} has {meta['size']:,} bytes, the limit is {limit:,}",
                hint="raise parsing.max_bytes, or exclude it",
            )
        data = bytes(await got.bytes_async())
        return Fetched(data=data, revision=_revision(meta), modified_at=meta["last_modified"])

    def _item(self, meta: ObjectMeta) -> Item | Skip:
        path = meta["path"]
        uri = self.prefix + quote(path, safe="/")
        if not meta["size"]:
            return Skip(uri=uri, code=EmptyDocument.code, reason=f"{path} is empty, or stands for a folder")
        return Item(uri=uri, revision=_revision(meta), name=path, modified_at=meta["last_modified"])

    def _path(self, uri: str) -> str:
        return unquote(uri.removeprefix(self.prefix))

    def _meant(self, path: str) -> bool:
        return not self._exclude.match(path) and (not self._include or self._include.match(path))

    @cached_property
    def _store(self) -> ObjectStore:
        return self._open()

    def _open(self) -> ObjectStore:
        url = self._settings.url
        try:
            if url.startswith("file:"):
                return from_url(url)
            client: ClientConfig = {**CLIENT, "allow_http": (self._settings.endpoint or "").startswith("http://")}
            return from_url(url, config=self._config(), client_options=client, retry_config=RETRIES)
        except (BaseError, ValueError) as error:
            raise self._error(error) from error

    def _config(self) -> Any:
        """Only what is set: the rest comes from the environment."""
        wanted = self._settings
        config = {
            "endpoint": wanted.endpoint,
            "region": wanted.region,
            "skip_signature": wanted.anonymous or None,
            "access_key_id": wanted.access_key_id and wanted.access_key_id.get_secret_value(),
            "secret_access_key": wanted.secret_access_key and wanted.secret_access_key.get_secret_value(),
        }
        config |= {name: value.get_secret_value() for name, value in wanted.options.items()}
        return {name: value for name, value in config.items() if value is not None}

    def _error(self, error: Exception) -> SourceError:
        return SourceError(f"source {self.name}: {_reason(error)}; nothing was changed", hint=_hint(error))


def _folders(path: str) -> Iterable[str]:
    """The folders that a path lies in: the store lists a key that ends with a slash as if it had none."""
    parts = path.split("/")[:-1]
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _revision(meta: ObjectMeta) -> str:
    return meta["e_tag"] or f"{meta['size']}-{meta['last_modified'].isoformat()}"


def _reason(error: Exception) -> str:
    """The first line of what obstore says, without the query of an address: a signature may stand in it."""
    line = str(error).partition("\n")[0].partition(": <?xml")[0]
    return re.sub(r"\?\S+", "", line).strip()


def _hint(error: Exception) -> str:
    match error:
        case PermissionDeniedError() | UnauthenticatedError():
            return NO_PERMISSION
        case UnknownConfigurationKeyError():
            return "options are named as obstore names them"
        case SourceError():
            return error.hint
        case _:
            return next((hint for sign, hint in HINTS.items() if sign in repr(error)), "")
