"""Typed settings: defaults, then ragstone.toml, then RAGSTONE_* of the environment; unknown names are refused."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ragstone.errors import SettingsError
from ragstone.source_settings import KINDS, Section, Source, anchored

ENV_PREFIX = "RAGSTONE_"


def _without_secrets(url: str) -> str:
    """An address is shown, and kept with what was made by it; the key is not."""
    if "@" in urlsplit(url).netloc:
        raise ValueError("an address without user name and password is wanted; api_key is for secrets")
    return url


Address = Annotated[str, AfterValidator(_without_secrets)]


class DatabaseSettings(Section):
    """Where the catalog lives. Without a URL, an embedded PostgreSQL is started in the data folder."""

    url: SecretStr | None = Field(default=None, description="postgresql://user:password@host/name of a PostgreSQL ≥ 16")
    pool_size: int = Field(default=4, ge=1, le=100, description="connections this process keeps at most")


ENGINES = "edge, exact, pgvector, qdrant+http://host:6333 (or +https), weaviate+http://host:8080 (or +https)"


def _engine_url(url: str) -> str:
    """A word for an engine on this machine or in the catalog's PostgreSQL, an address for a server."""
    engine, _, address = url.partition("+")
    if engine in {"edge", "exact", "pgvector"} and not address:
        return url
    parts = urlsplit(address)
    if engine in {"qdrant", "weaviate"} and parts.scheme in {"http", "https"} and parts.hostname:
        _ = parts.port  # raises ValueError for what is none
        return _without_secrets(url)
    raise ValueError(f"no such index engine; it is one of: {ENGINES}")


class IndexSettings(Section):
    """Which engine searches; see docs/engines.md."""

    url: Annotated[str, AfterValidator(_engine_url)] = Field(default="edge", description=ENGINES)
    api_key: SecretStr | None = Field(default=None, description="qdrant, weaviate: the server's key")
    ef: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="HNSW search breadth: higher finds more and is slower; unset: what `ragstone tune` found, else 128",
    )
    linger: float = Field(default=60.0, ge=0, description="edge: seconds its process stays after its last caller")
    shards: int = Field(default=1, ge=1, le=1000, description="qdrant: shards of a new collection")
    replicas: int = Field(default=1, ge=1, le=20, description="qdrant, weaviate: copies of each shard")
    write_consistency: int = Field(
        default=1, ge=1, le=20, description="qdrant, weaviate: copies that must have a write before it counts"
    )
    quantization: Literal["none", "scalar", "binary"] = Field(
        default="scalar", description="qdrant: what is kept in memory of each vector; hits are rescored with all of it"
    )
    audit_hours: float = Field(default=24.0, ge=0, description="hours between a worker's audits of the index; 0: never")
    recall_sample: float = Field(
        default=0.01, ge=0, le=1, description="share of searches that `serve` repeats exactly, to measure recall"
    )
    recall_alert: float = Field(default=0.9, ge=0, le=1, description="mean recall below which a warning is logged")

    @property
    def engine(self) -> str:
        return self.url.partition("+")[0]

    @property
    def address(self) -> str:
        """Of a server; empty for other engines."""
        return self.url.partition("+")[2]


class EmbeddingSettings(Section):
    """Which model turns text into vectors. A change needs a new generation."""

    provider: Literal["local", "openai"] = Field(default="local", description="local (ONNX Runtime) or openai (HTTP)")
    model: str = Field(
        default="all-MiniLM-L6-v2",
        description="a name of `ragstone models list`, owner/name of a hub, a ./folder; openai: the endpoint's name",
    )
    revision: str = Field(
        default="",
        description="local: commit, tag or branch of the hub's model; "
        "openai: name of the model's version; change it when the endpoint's model changed under its name",
    )
    query_prefix: str | None = Field(default=None, description="put before each question; unset: as the model has it")
    document_prefix: str | None = Field(
        default=None, description="put before each document text; unset: as the model has it"
    )
    precision: Literal["auto", "int8", "int7", "fp32"] = Field(
        default="auto",
        description="local models: int8 needs VNNI to be exact; auto picks int8 or int7 for this CPU where the model "
        "has calibration ranges, else fp32",
    )
    threads: int = Field(default=0, ge=0, description="local models: threads for bulk embedding; 0 is one a core")
    base_url: Address | None = Field(default=None, description="openai: the endpoint's address, …/v1")
    api_key: SecretStr | None = Field(
        default=None, description="openai: the key; OPENAI_API_KEY is read, and sent, only without a base_url"
    )
    dimensions: int | None = Field(default=None, ge=1, description="openai: vector size; needed for unlisted models")
    max_tokens: int | None = Field(
        default=None, ge=16, description="openai: token limit of a text; needed for unlisted models"
    )
    batch_size: int = Field(default=64, ge=1, le=2048, description="openai: texts a request")
    requests_per_minute: int = Field(default=0, ge=0, description="openai: limit of each process; 0 is none")
    tokens_per_minute: int = Field(default=0, ge=0, description="openai: limit of each process; 0 is none")
    price: float | None = Field(
        default=None, ge=0, description="openai: money for a million tokens; unset: the listed price, or none"
    )


class ChunkingSettings(Section):
    """How documents are cut. A change needs a new generation."""

    strategy: Literal["structure", "fixed", "sentence", "recursive", "semantic"] = Field(
        default="structure", description="structure, fixed, sentence, recursive or semantic; see docs/chunking.md"
    )
    max_tokens: int = Field(default=200, ge=16, description="size limit of a chunk, its prefix included")
    overlap: float = Field(default=0.15, ge=0, lt=0.5, description="share of a chunk repeated in the next one")
    prefix: bool = Field(default=True, description="embed title and heading path in front of each chunk")
    percentile: float = Field(
        default=90, ge=0, le=100, description="semantic: cut where the distance is above this percentile of a document"
    )
    parent: Literal["none", "section", "window"] = Field(
        default="none", description="what a prompt gets in a chunk's place: its section, a window around it, or itself"
    )
    parent_tokens: int = Field(default=600, ge=16, description="size limit of a parent, by the embedding model's count")


class ParsingSettings(Section):
    """Limits on what is read."""

    max_bytes: int = Field(default=64 * 2**20, ge=1, description="a larger document is skipped, and listed")
    timeout: float = Field(default=60.0, gt=0, description="seconds after which reading a document is given up")
    max_memory: int = Field(default=1024, ge=128, description="MiB of memory that reading a document may take")
    workers: int = Field(
        default=2, ge=1, le=64, description="processes that read documents side by side; each starts when it is needed"
    )
    ocr: bool = Field(default=False, description="read scanned PDFs with the program tesseract: seconds a page")
    ocr_languages: str = Field(
        default="eng",
        pattern=r"^\w[\w/]*(\+\w[\w/]*)*$",
        description="ocr: what scans are written in, as tesseract has it, such as eng+deu",
    )


class IndexingSettings(Section):
    """How documents get from their sources into the catalog, and what is kept of the past."""

    concurrency: int = Field(default=8, ge=1, le=256, description="documents that a worker has under way at a time")
    every: float = Field(default=300.0, gt=0, description="seconds between whole passes over each source")
    attempts: int = Field(default=10, ge=1, description="tries of a document before a transient failure is put down")
    worker: bool = Field(default=True, description="`ragstone serve` runs a worker beside it, at low priority")
    history_hours: int = Field(default=168, ge=0, description="superseded versions (without text) are kept as long")
    tombstone_hours: int = Field(
        default=168, ge=1, description="a late event cannot bring back what is deleted as long"
    )
    standby_hours: int = Field(default=72, ge=0, description="a generation that was replaced is kept for a rollback")


class ReindexSettings(Section):
    """When `ragstone reindex` switches to the generation that it has built."""

    questions: int = Field(default=100, ge=1, description="questions that both generations are asked")
    k: int = Field(default=10, ge=1, le=100, description="documents compared for each question")
    min_overlap: float = Field(default=0.5, ge=0, le=1, description="least mean share of documents in common")
    max_loss: float = Field(
        default=0.02, ge=0, le=1, description="most nDCG that may be lost, where relevance is known"
    )


class DriftSettings(Section):
    """Whether the embedding model still makes the vectors that it once made."""

    every: float = Field(default=3600.0, gt=0, description="seconds between checks by `worker` and `serve`")
    queries: Literal["continue", "refuse"] = Field(
        default="refuse", description="what becomes of questions while a generation is in quarantine"
    )


class QuestionsSettings(Section):
    """The record of what was asked, on which generations are compared."""

    keep_hours: int = Field(default=720, ge=0, description="questions are kept as long; 0 records none")


class RetrievalSettings(Section):
    """From a question to passages."""

    top_k: int = Field(default=6, ge=1, le=100, description="passages for the prompt at most")
    candidates: int = Field(default=20, ge=1, le=1000, description="hits taken from each of dense and BM25 search")
    mode: Literal["hybrid", "dense", "bm25"] = Field(default="hybrid", description="which searches are used")
    fusion: Literal["weighted", "rrf"] = Field(default="weighted", description="how their scores are joined")
    dense_weight: float = Field(default=0.5, ge=0, le=1, description="weighted: the share of the cosine score")
    rrf_k: int = Field(default=10, ge=1, description="rrf: the constant k")
    min_cosine: float = Field(
        default=0.25, ge=-1, le=1, description="below it a candidate is dropped; see docs/tuning.md"
    )
    duplicate: float = Field(default=0.9, gt=0, le=1, description="shingle similarity from which texts are duplicates")


class PromptSettings(Section):
    """What goes to the model."""

    budget: int = Field(default=3000, ge=200, description="tokens for the whole prompt, answer reserve excluded")
    answer_reserve: int = Field(default=700, ge=1, description="tokens kept free for the answer")
    refusal: str = Field(
        default="I don't know: the indexed documents do not answer this.",
        description="said when nothing relevant is found",
    )


class GenerationSettings(Section):
    """Who writes the answer."""

    provider: Literal["extractive", "openai"] = Field(
        default="extractive", description="extractive quotes; openai asks a model"
    )
    model: str = Field(default="gpt-4.1-mini", description="openai: the model's name")
    base_url: Address | None = Field(default=None, description="openai: the endpoint's address, …/v1")
    api_key: SecretStr | None = Field(
        default=None, description="openai: the key; OPENAI_API_KEY is read, and sent, only without a base_url"
    )
    context_window: int = Field(default=8192, ge=512, description="openai: the model's window, in tokens")
    temperature: float = Field(default=0.0, ge=0, le=2, description="openai: 0 repeats itself best")
    timeout: float = Field(default=60.0, gt=0, description="openai: seconds until the first token")
    sentences: int = Field(default=3, ge=1, le=10, description="extractive: sentences quoted at most")


class ServerSettings(Section):
    """`ragstone serve`."""

    host: str = Field(default="127.0.0.1", description="loopback only until keys exist")
    port: int = Field(default=8321, ge=0, le=65535)


class Settings(BaseSettings):
    """All of ragstone.toml. Read with `load`, which turns every mistake into a SettingsError."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(default=Path(".ragstone"), description="the embedded PostgreSQL, the index and logs")
    cache_dir: Path | None = Field(default=None, description="pulled models; default: the user's cache folder")
    tenant: str = Field(default="default", min_length=1, max_length=100, description="who owns the data")
    collection: str = Field(
        default="default", min_length=1, max_length=100, description="the corpus that commands work on"
    )

    database: DatabaseSettings = DatabaseSettings()
    index: IndexSettings = IndexSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    parsing: ParsingSettings = ParsingSettings()
    indexing: IndexingSettings = IndexingSettings()
    reindex: ReindexSettings = ReindexSettings()
    drift: DriftSettings = DriftSettings()
    questions: QuestionsSettings = QuestionsSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    prompt: PromptSettings = PromptSettings()
    generation: GenerationSettings = GenerationSettings()
    server: ServerSettings = ServerSettings()
    sources: dict[str, Source] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which `load` passes as arguments."""
        return env_settings, init_settings


def load(path: Path | None = None) -> Settings:
    """Settings from a file and the environment. Without a path, ./ragstone.toml is read if it is there.

    Relative folders in the file are meant from the file's own folder. Raises SettingsError.
    """
    file = path or Path("ragstone.toml")
    if path is None and not file.exists():
        values: dict[str, Any] = {}
    else:
        values = _read(file)
    _refuse_unknown_variables()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, file), hint="docs/settings.md lists every setting") from None
    return _anchored(settings, file.resolve().parent)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}", hint="`ragstone init` writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from None


def _refuse_unknown_variables() -> None:
    """pydantic-settings passes over environment variables that match no setting; a typo must not be silent."""
    known = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and not variable.startswith(ENV_PREFIX + "TEST_"):
            name = variable.removeprefix(ENV_PREFIX)
            if name not in known and name.split("_")[0] not in known:
                raise SettingsError(
                    f"{variable} matches no setting", hint=f"tables are named like {ENV_PREFIX}INDEX_EF=200"
                )


_MEANING = {
    "extra_forbidden": "no such setting",
    "union_tag_not_found": f"kind is missing: it is one of {KINDS}",
    "union_tag_invalid": f"no such kind: it is one of {KINDS}",
}


def _explain(error: ValidationError, file: Path) -> str:
    lines = [
        ".".join(map(str, e["loc"])) + ": " + _MEANING.get(e["type"], e["msg"].removeprefix("Value error, "))
        for e in error.errors()
    ]
    return f"wrong settings ({file} and {ENV_PREFIX}*): " + "; ".join(lines)


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Paths made absolute, so that they mean the same wherever a process runs."""
    sources = {name: anchored(source, folder) for name, source in settings.sources.items()}
    folders = {
        "data_dir": (folder / settings.data_dir).absolute(),
        "cache_dir": settings.cache_dir and (folder / settings.cache_dir).absolute(),
    }
    embedding = settings.embedding.model_copy(update={"model": _anchored_model(settings.embedding, folder)})
    return settings.model_copy(update={**folders, "sources": sources, "embedding": embedding})


def _anchored_model(embedding: EmbeddingSettings, folder: Path) -> str:
    """A model folder starts with a dot, a slash or a tilde; all else is a name."""
    named = embedding.model
    if embedding.provider != "local" or not named.startswith((".", "/", "~")):
        return named
    return str((folder / Path(named).expanduser()).absolute())
