"""The settings of each kind of source: what a `[sources.NAME]` table may hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator


class Section(BaseModel):
    """A table of ragstone.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FolderSource(Section):
    """Files under a folder (or one file). Hidden ones, node_modules and __pycache__ are passed over."""

    kind: Literal["folder"] = "folder"
    path: Path
    include: tuple[str, ...] = Field(
        default=(), description="globs relative to the folder; empty takes every known kind"
    )
    exclude: tuple[str, ...] = Field(default=(), description="globs relative to the folder")
    watch: Literal["auto", "poll", "off"] = Field(
        default="auto",
        description="how changes are noticed: auto (the system tells), poll (for network file systems) or off",
    )
    debounce: float = Field(default=0.2, ge=0.01, le=60, description="seconds without a change that end a burst")
    poll: float = Field(
        default=10.0, gt=0, description="seconds between two looks for changes, where the system tells none"
    )


class SqlSource(Section):
    """Rows of a database table: one document a row."""

    kind: Literal["sql"] = "sql"
    url: SecretStr = Field(description="an SQLAlchemy URL, such as sqlite:///inventory.db")
    table: str
    key: str = Field(description="the column that identifies a row")
    title: str = Field(description="the column that names a row")
    text: tuple[str, ...] = Field(description="the columns that hold its text", min_length=1)
    metadata: tuple[str, ...] = Field(default=(), description="the columns kept beside it")
    version: str | None = Field(
        default=None, description="a column that changes with the row; without it all columns count"
    )
    poll: float = Field(default=30.0, ge=0, description="seconds between looks for changes; 0 looks only when asked")
    notify: bool = Field(
        default=False, description="PostgreSQL: be told of changes by a trigger on the table, instead of polling"
    )


class WebSource(Section):
    """Web pages: a list of addresses, sitemaps, or both."""

    kind: Literal["web"] = "web"
    urls: tuple[str, ...] = Field(default=(), description="addresses of pages")
    sitemaps: tuple[str, ...] = Field(default=(), description="addresses of sitemaps or of sitemap indexes")
    include: tuple[str, ...] = Field(
        default=(), description="globs over the paths of addresses in sitemaps; empty takes all"
    )
    exclude: tuple[str, ...] = Field(default=(), description="globs over the paths of addresses in sitemaps")
    delay: float = Field(
        default=0.5, ge=0, le=60, description="seconds between two requests to a host; its robots.txt may ask for more"
    )
    timeout: float = Field(default=30.0, gt=0, description="seconds for one request, its body included")
    allow_private: bool = Field(
        default=False, description="also connect to addresses that are not on the public internet"
    )

    @field_validator("urls", "sitemaps")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not re.match(r"https?://[^/?#@\s]+([/?#]|$)", url, re.IGNORECASE):
                raise ValueError(f"{url!r} is no http(s) address without a user name")
        return urls

    @model_validator(mode="after")
    def _lists_something(self) -> WebSource:
        if not self.urls and not self.sitemaps:
            raise ValueError("needs urls or sitemaps")
        if len({url.partition(":")[0].lower() for url in (*self.urls, *self.sitemaps)}) > 1:
            raise ValueError("lists http and https: give each a source of its own")
        return self


class ObjectStoreSource(Section):
    """Objects in S3, Google Cloud Storage, Azure Blob Storage or under a local path."""

    kind: Literal["object-store"] = "object-store"
    url: str = Field(description="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or a folder")
    include: tuple[str, ...] = Field(default=(), description="globs relative to the prefix; empty takes all")
    exclude: tuple[str, ...] = Field(default=(), description="globs relative to the prefix")
    endpoint: str | None = Field(default=None, description="address of an S3-compatible service; http:// is allowed")
    region: str | None = Field(default=None, description="S3: the bucket's region")
    anonymous: bool = Field(default=False, description="read a public bucket without signing requests")
    access_key_id: SecretStr | None = Field(
        default=None, description="S3: without keys, those of the environment or of the machine's role are used"
    )
    secret_access_key: SecretStr | None = Field(default=None, description="S3: belongs to access_key_id")
    options: dict[str, SecretStr] = Field(
        default={}, description="more settings by obstore's names, such as azure_storage_account_key"
    )

    @field_validator("url", "endpoint")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        """The address is part of every document's URI, and of messages."""
        if url and not url.startswith("file:") and re.match(r"[\w+.-]+://([^/]*@|.*[?#])", url):
            raise ValueError("no user name and no query may stand in it: keys have settings of their own")
        return url


class PushSource(Section):
    """Documents that are sent here. They are kept in the catalog, for there is nowhere to read them again."""

    kind: Literal["push"] = "push"


Source = Annotated[FolderSource | WebSource | ObjectStoreSource | SqlSource | PushSource, Field(discriminator="kind")]

KINDS = ", ".join(kind.model_fields["kind"].default for kind in get_args(get_args(Source)[0]))


def anchored(source: Source, folder: Path) -> Source:
    """With its paths made absolute: relative ones are meant from a folder."""
    match source:
        case FolderSource():
            return source.model_copy(update={"path": folder / source.path})
        case ObjectStoreSource() if "://" not in source.url:
            return source.model_copy(update={"url": (folder / source.url).absolute().as_uri()})
        case SqlSource():
            return source.model_copy(update={"url": SecretStr(_anchored_url(source.url.get_secret_value(), folder))})
        case _:
            return source


def _anchored_url(url: str, folder: Path) -> str:
    """The URL of a database, an SQLite file's relative path made absolute."""
    scheme, slashes, file = url.partition(":///")
    if not scheme.startswith("sqlite") or not slashes or file in {"", ":memory:"}:
        return url
    return f"{scheme}:///{folder / file}"
