"""The bodies of requests and responses: a promise to callers, apart from the records inside."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from ragstone.answering import Done
from ragstone.index.filter_text import parse
from ragstone.index.filters import Filter, from_json
from ragstone.models import Citation, Passage
from ragstone.telemetry import Trace


def _encodable(text: str) -> str:
    """JSON can spell half a character; UnicodeEncodeError is a ValueError, so it becomes a 422."""
    text.encode()
    return text


Question = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
    AfterValidator(_encodable),
    Field(examples=["How many days of leave do I have?"]),
]


class SearchRequest(BaseModel):
    """A question, and how to search for it. What is left out is taken from the settings."""

    model_config = ConfigDict(extra="forbid")

    question: Question
    top_k: int | None = Field(default=None, ge=1, le=100, description="passages at most")
    mode: Literal["hybrid", "dense", "bm25"] | None = None
    where: str | dict[str, Any] | None = Field(
        default=None,
        description="only documents of which this holds: a filter as text or JSON, see docs/engines.md",
        examples=['tags in ("hr", "legal") and modified_at >= "2024-01-01"', {"field": "source", "eq": "handbook"}],
    )

    def filter(self) -> Filter | None:
        """Raises FilterError."""
        if isinstance(self.where, str):
            return parse(self.where)
        return None if self.where is None else from_json(self.where)


class AnswerRequest(SearchRequest):
    """A question to be answered."""

    stream: bool = Field(default=False, description="true: server-sent events instead of one JSON body")


class PassageBody(BaseModel):
    """A passage with the scores that brought it here: each says what it is."""

    number: int
    document_id: UUID
    chunk_ids: list[UUID]
    uri: str
    title: str
    path: list[str] = Field(description="the headings above it, from the top down")
    pages: tuple[int, int] | None = Field(description="first and last page, counted from 1")
    start: int = Field(description="offset of its first character in the document's text")
    end: int
    text: str
    modified_at: datetime | None
    cosine: float | None
    bm25: float | None
    fused: float

    @classmethod
    def of(cls, passage: Passage) -> PassageBody:
        return cls(
            number=passage.number,
            document_id=passage.document_id,
            chunk_ids=list(passage.chunk_ids),
            uri=passage.uri,
            title=passage.title,
            path=list(passage.path),
            pages=passage.pages,
            start=passage.start,
            end=passage.end,
            text=passage.text,
            modified_at=passage.modified_at,
            cosine=passage.cosine,
            bm25=passage.bm25,
            fused=passage.score,
        )


class StageBody(BaseModel):
    """What one stage did."""

    name: str
    ms: float
    taken: int | None
    given: int | None
    dropped: int

    @classmethod
    def all_of(cls, trace: Trace) -> list[StageBody]:
        return [
            cls(name=s.name, ms=round(s.seconds * 1e3, 3), taken=s.taken, given=s.given, dropped=len(s.drops))
            for s in trace.stages
        ]


class SearchBody(BaseModel):
    """What a search found."""

    passages: list[PassageBody]
    stages: list[StageBody]


class CitationBody(BaseModel):
    """`[number]` in the answer, and the document it stands for."""

    number: int
    uri: str
    title: str
    pages: tuple[int, int] | None
    quote: str | None = Field(description="the words taken from the passage, where they are known")

    @classmethod
    def of(cls, citation: Citation) -> CitationBody:
        passage = citation.passage
        return cls(
            number=citation.number, uri=passage.uri, title=passage.title, pages=passage.pages, quote=citation.quote
        )


class AnswerBody(BaseModel):
    """A whole answer."""

    id: UUID
    answer: str
    refused: bool = Field(description="true: the indexed documents do not hold the answer")
    citations: list[CitationBody]
    passages: list[PassageBody]
    generator: str
    stages: list[StageBody]

    @classmethod
    def of(cls, done: Done, passages: tuple[Passage, ...]) -> AnswerBody:
        return cls(
            id=done.id,
            answer=done.text,
            refused=done.refused,
            citations=[CitationBody.of(citation) for citation in done.citations],
            passages=[PassageBody.of(passage) for passage in passages],
            generator=done.generator,
            stages=StageBody.all_of(done.trace),
        )


class Health(BaseModel):
    """That the service can reach its catalog and its index."""

    status: Literal["ok"]
    version: str
    index_lag: int = Field(description="change-log entries that the index has not applied yet; 0: it holds everything")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="what to do about it, or what does not fit")
    code: str = Field(description="stable; for programs")
