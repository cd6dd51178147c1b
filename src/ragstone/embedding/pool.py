"""Texts of concurrent callers, gathered into full batches for one embedder.

Document texts wait in two lanes, live before backfill. A batch is sent when it is full or its first text has waited
for `linger`; while the allowed batches are under way, others gather. Equal texts are embedded once. Questions do not
wait here at all: they go straight to the embedder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.embedding.base import Embedder, Lane, Usage
from ragstone.errors import ProviderError, RefusedText, TextsRefused
from ragstone.models import Fingerprint, Vectors

CLOSED = "the embedder was closed"

Outcome: TypeAlias = npt.NDArray[np.float32] | Exception


@dataclass(slots=True, eq=False)
class _Wanted:
    """A text that somebody waits for."""

    text: str
    callers: int = 0
    future: asyncio.Future[npt.NDArray[np.float32]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Pooled:
    """An embedder that shares its batches among callers of one event loop.

    A document text that the embedder refuses raises RefusedText for those who asked for it, and for nobody else;
    any other failure reaches all who share the batch. A caller that is cancelled takes along what has not been sent.
    """

    def __init__(self, embedder: Embedder, *, batch: int = 64, parallel: int = 2, linger: float = 0.005) -> None:
        self._embedder = embedder
        self._batch = batch
        self._parallel = parallel
        self._linger = linger
        self._waiting: dict[Lane, dict[str, _Wanted]] = {"live": {}, "backfill": {}}
        self._sent: dict[str, _Wanted] = {}
        self._runs: set[asyncio.Task[list[Outcome]]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        return self._embedder.fingerprint

    @property
    def max_tokens(self) -> int:
        return self._embedder.max_tokens

    @property
    def price(self) -> float:
        return self._embedder.price

    @property
    def usage(self) -> Usage:
        return self._embedder.usage

    def count(self, text: str) -> int:
        return self._embedder.count(text)

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """As the contract says, but a document text that is refused raises RefusedText."""
        if lane == "query" or not texts:
            return await self._embedder.embed(texts, lane)
        wanted = {text: self._want(text, lane) for text in dict.fromkeys(texts)}
        self._gather()
        try:
            await asyncio.wait([each.future for each in wanted.values()], return_when=asyncio.FIRST_EXCEPTION)
            rows = {text: each.future.result() for text, each in wanted.items() if each.future.done()}
            return np.stack([rows[text] for text in texts])
        finally:
            for each in wanted.values():
                self._let_go(each)

    async def aclose(self) -> None:
        """Drop what has not been sent, stop what has, and close the embedder."""
        if self._timer:
            self._timer.cancel()
        for waiting in self._waiting.values():
            _settle(waiting.values(), repeat(ProviderError(CLOSED)))
            waiting.clear()
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await self._embedder.aclose()

    def _want(self, text: str, lane: Lane) -> _Wanted:
        live, backfill = self._waiting["live"], self._waiting["backfill"]
        if lane == "live" and text in backfill:
            live[text] = backfill.pop(text)
        each = self._sent.get(text) or live.get(text) or backfill.get(text)
        if each is None:
            each = self._waiting[lane][text] = _Wanted(text)
        each.callers += 1
        return each

    def _let_go(self, each: _Wanted) -> None:
        each.callers -= 1
        if not each.callers:
            for lane in self._waiting.values():
                if lane.get(each.text) is each:
                    del lane[each.text]

    def _gather(self) -> None:
        """Send what makes full batches; the rest when the first of it has waited long enough."""
        self._dispatch(least=self._batch)
        if self._timer is None and any(self._waiting.values()):
            self._timer = asyncio.get_running_loop().call_later(self._linger, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._dispatch(least=1)

    def _dispatch(self, least: int) -> None:
        while len(self._runs) < self._parallel and sum(map(len, self._waiting.values())) >= least:
            lane: Lane = "live" if self._waiting["live"] else "backfill"
            batch = list(islice(chain(*(waiting.values() for waiting in self._waiting.values())), self._batch))
            for each in batch:
                self._waiting["live"].pop(each.text, None)
                self._waiting["backfill"].pop(each.text, None)
                self._sent[each.text] = each
            batch.sort(key=lambda each: len(each.text))
            run = asyncio.create_task(self._outcomes([each.text for each in batch], lane))
            self._runs.add(run)
            run.add_done_callback(partial(self._ended, batch))

    def _ended(self, batch: list[_Wanted], run: asyncio.Task[list[Outcome]]) -> None:
        self._runs.discard(run)
        for each in batch:
            del self._sent[each.text]
        _settle(batch, repeat(ProviderError(CLOSED)) if run.cancelled() else run.result())
        self._dispatch(least=1)

    async def _outcomes(self, texts: list[str], lane: Lane) -> list[Outcome]:
        try:
            return list(await self._embedder.embed(texts, lane))
        except TextsRefused as error:
            return [
                RefusedText(error.refused[place], hint=error.hint) if place in error.refused else vector
                for place, vector in enumerate(error.vectors)
            ]
        except Exception as error:  # noqa: BLE001  whatever it is, it is the callers' to know
            return [error] * len(texts)


def _settle(texts: Iterable[_Wanted], outcomes: Iterable[Outcome]) -> None:
    for each, outcome in zip(texts, outcomes, strict=False):  # one outcome may be for all
        if isinstance(outcome, Exception):
            each.future.set_exception(outcome)
            each.future.exception()  # it counts as seen: of several that fail, a caller looks at one
        else:
            each.future.set_result(outcome)
