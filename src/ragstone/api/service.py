"""The HTTP service: search, answers as JSON or server-sent events, health, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.sse import format_sse_event
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from ragstone import __version__
from ragstone.answering import Done, Event, Sources, Token
from ragstone.api.metrics import Metrics
from ragstone.api.problems import declared, handle_errors, problem_of
from ragstone.api.schemas import (
    AnswerBody,
    AnswerRequest,
    CitationBody,
    Health,
    PassageBody,
    SearchBody,
    SearchRequest,
    StageBody,
)
from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import NothingIndexed, RagstoneError
from ragstone.settings import RetrievalSettings, Settings


def create_service(settings: Settings) -> FastAPI:
    """The application; PostgreSQL, the index process and the models start with it and are let go with it.

    It does not start on an index that was made with another model: what `open_ragstone` and `serving` raise.
    """

    @asynccontextmanager
    async def lifespan(service: FastAPI) -> AsyncIterator[None]:
        async with open_ragstone(settings, watched=True) as ragstone:
            service.state.ragstone = ragstone
            service.state.metrics = Metrics(ragstone)
            with suppress(NothingIndexed):
                await ragstone.serving()
            yield

    service = FastAPI(
        title="Ragstone",
        version=__version__,
        summary="Answers from your documents, with citations, or an honest refusal.",
        lifespan=lifespan,
    )
    handle_errors(service)
    service.add_api_route("/v1/search", search, methods=["POST"], response_model=SearchBody, responses=PROBLEMS)
    service.add_api_route("/v1/answers", answers, methods=["POST"], response_model=AnswerBody, responses=ANSWERS)
    service.add_api_route("/healthz", health, methods=["GET"], response_model=Health, responses=declared(500, 503))
    service.add_api_route("/metrics", metrics, methods=["GET"], response_class=PlainTextResponse)
    return service


PROBLEMS = declared(409, 422, 500, 502, 503)
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One JSON body; with `stream`, server-sent events: `retrieval`, `token` …, `citation` …, "
        "`timing`, `done`; or `error` when something fails after the first of them.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **PROBLEMS,
}


def _ragstone(request: Request) -> Ragstone:
    ragstone: Ragstone = request.app.state.ragstone
    return ragstone


Service = Annotated[Ragstone, Depends(_ragstone)]


async def search(body: SearchRequest, ragstone: Service, response: Response) -> SearchBody:
    """Passages for a question, best first."""
    found = await ragstone.search(body.question, _retrieval(body, ragstone), body.filter())
    response.headers["Server-Timing"] = found.trace.server_timing()
    return SearchBody(
        passages=[PassageBody.of(passage) for passage in found.passages], stages=StageBody.all_of(found.trace)
    )


async def answers(body: AnswerRequest, request: Request, ragstone: Service) -> Response:
    """An answer from the indexed documents with citations, or a refusal."""
    events = ragstone.answer(body.question, _retrieval(body, ragstone), body.filter())
    return await _while_connected(request, _streamed(events) if body.stream else _whole(events))


async def _whole(events: AsyncGenerator[Event, None]) -> Response:
    async with aclosing(events):
        first, *_, done = [event async for event in events]
    assert isinstance(first, Sources)
    assert isinstance(done, Done)
    whole = AnswerBody.of(done, first.passages)
    return JSONResponse(whole.model_dump(mode="json"), headers={"Server-Timing": done.trace.server_timing()})


async def _streamed(events: AsyncGenerator[Event, None]) -> Response:
    first = await anext(events)  # what can fail before there is anything to say fails with a status of its own
    return StreamingResponse(_stream(first, events), media_type="text/event-stream", headers=NO_BUFFERING)


CLIENT_CLOSED_REQUEST = 499  # nobody is there to read it
NO_BUFFERING = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def health(ragstone: Service) -> Health:
    """Fails with 503 when the catalog or the index cannot be reached."""
    documents, lag = await ragstone.documents(), await ragstone.lag()
    return Health(status="ok", version=__version__, documents=documents, index_lag=lag)


async def metrics(request: Request) -> Response:
    """Recall and the index's lag, in the text format of Prometheus."""
    told: Metrics = request.app.state.metrics
    return Response(await told.text(), media_type=CONTENT_TYPE_LATEST)


def _retrieval(body: SearchRequest, ragstone: Ragstone) -> RetrievalSettings:
    wanted = body.model_dump(include={"top_k", "mode"}, exclude_none=True)
    return ragstone.settings.retrieval.model_copy(update=wanted)


async def _while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """What the work gives; it is cancelled when the caller goes away first."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=CLIENT_CLOSED_REQUEST)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(first: Event, events: AsyncGenerator[Event, None]) -> AsyncIterator[bytes]:
    """Closing it, as happens when the caller goes away, cancels what is under way."""
    async with aclosing(events):
        for wire in _wire(first):
            yield wire
        try:
            async for event in events:
                for wire in _wire(event):
                    yield wire
        except RagstoneError as error:
            yield _sse("error", problem_of(error))


def _wire(event: Event) -> list[bytes]:
    """An event of ours as one or more server-sent events."""
    match event:
        case Sources(passages=passages):
            return [_sse("retrieval", {"passages": [PassageBody.of(p).model_dump(mode="json") for p in passages]})]
        case Token(text=text):
            return [_sse("token", {"text": text})]
        case Done():
            whole = AnswerBody.of(event, ()).model_dump(mode="json", exclude={"passages", "citations", "stages"})
            return [
                *(_sse("citation", CitationBody.of(citation)) for citation in event.citations),
                _sse("timing", {"stages": [stage.model_dump() for stage in StageBody.all_of(event.trace)]}),
                _sse("done", whole),
            ]


def _sse(name: str, data: BaseModel | dict[str, object]) -> bytes:
    text = data.model_dump_json() if isinstance(data, BaseModel) else json.dumps(data, ensure_ascii=False)
    return format_sse_event(event=name, data_str=text)
