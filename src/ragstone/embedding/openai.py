"""Embeddings from any endpoint that speaks OpenAI's embeddings API: OpenAI itself, TEI, vLLM, Ollama, llama.cpp."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ragstone.embedding import fingerprint
from ragstone.embedding.base import Lane, Usage
from ragstone.embedding.limit import Outcome, fit, gathered, well_formed
from ragstone.embedding.limiter import Limiter
from ragstone.embedding.model_list import remote_model
from ragstone.errors import ProviderError, ProviderUnavailable, SettingsError
from ragstone.models import Fingerprint, Vectors
from ragstone.openai_endpoint import OpenAIEndpoint, RequestRefused
from ragstone.tokens import TokenCounter, byte_pairs, overestimate

REQUEST_TOKENS = 250_000
"""Tokens in one request at most; OpenAI refuses more than 300,000."""

PATIENCE = 60.0
"""Seconds to wait for an endpoint at most: who is asked to wait longer is told so, and may do other work."""

_FIRST_WAIT = 0.5  # seconds, doubled with each try, where the endpoint does not say


class OpenAIEmbedder:
    """A model behind an endpoint. Made at no cost: nothing is sent, nor the client imported, before it is needed.

    A listed model needs its name alone, and `dimensions` may ask it for shorter vectors. Of any other model
    `dimensions` and `max_tokens` say what it has, and tokens are overestimated. `revision` names its version, which
    the endpoint does not tell. `price` is for a million tokens. Raises SettingsError.

    Some servers give a text a slightly other vector when it shares a request; `batch_size` 1 avoids that.
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str = "",
        query_prefix: str = "",
        document_prefix: str = "",
        dimensions: int | None = None,
        max_tokens: int | None = None,
        price: float | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        batch_size: int = 64,
        limiter: Limiter | None = None,
        retries: int = 4,
        timeout: float = 60.0,
    ) -> None:
        self._listed = remote_model(model)
        self._model = model
        self._revision = revision
        self._prefixes: dict[Lane, str] = {"query": query_prefix, "live": document_prefix, "backfill": document_prefix}
        self._dimensions = dimensions or (self._listed.dimensions if self._listed else 0)
        self._limit = max_tokens or (self._listed.max_tokens if self._listed else 0)
        if not (self._dimensions and self._limit):
            raise SettingsError(
                f"the embedding model {model} is not a listed one, so its vector size and token limit must be given",
                hint="set embedding.dimensions and embedding.max_tokens",
            )
        listed_price = self._listed.price if self._listed and not base_url else 0.0
        self.price = listed_price if price is None else price
        self.usage = Usage()
        self._batch_size = batch_size
        self._limiter = limiter or Limiter(0, 0)
        self._retries = retries
        self._endpoint = OpenAIEndpoint(
            "embedding", model=model, base_url=base_url, api_key=api_key, timeout=timeout, retries=0
        )

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Without the address, which may change while the model stays; the probes tell whether it did."""
        spec = {
            "provider": "openai",
            "model": self._model,
            "revision": self._revision,
            "dimensions": self._dimensions,
            "normalised": True,
            "query_prefix": self._prefixes["query"],
            "document_prefix": self._prefixes["live"],
        }
        return fingerprint.make(spec, self._dimensions)

    @cached_property
    def max_tokens(self) -> int:
        return self._limit - max(self.count(prefix) for prefix in self._prefixes.values())

    def count(self, text: str) -> int:
        return self._counter(well_formed(text))

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """As the contract says. A longer question is cut with a warning, a longer document text is refused.

        A request that the endpoint refuses is halved until the text is found that it does not take.
        """
        outcomes: dict[int, Outcome] = {}
        fitting: list[tuple[int, str]] = []
        for place, text in enumerate(texts):
            try:
                fitting.append((place, self._ready(text, lane)))
            except ProviderError as error:
                outcomes[place] = error
        for batch in self._batches(fitting):
            places, sent = zip(*batch, strict=True)
            outcomes.update(zip(places, await self._taken(list(sent), lane), strict=True))
        return gathered([outcomes[place] for place in range(len(texts))], self._dimensions)

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    @cached_property
    def _counter(self) -> TokenCounter:
        return byte_pairs("cl100k_base") if self._listed else overestimate

    def _ready(self, text: str, lane: Lane) -> str:
        """What is sent for the text. Raises ProviderError when nothing can be."""
        fitting = fit(text, lane, self.max_tokens, self.count)
        if not fitting.strip():
            raise ProviderError("a text is blank, which endpoints refuse")
        return self._prefixes[lane] + fitting

    def _batches(self, texts: Sequence[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
        batch: list[tuple[int, str]] = []
        tokens = 0
        for place, text in texts:
            size = self.count(text)
            if batch and (len(batch) == self._batch_size or tokens + size > REQUEST_TOKENS):
                yield batch
                batch, tokens = [], 0
            batch.append((place, text))
            tokens += size
        if batch:
            yield batch

    async def _taken(self, texts: list[str], lane: Lane) -> list[Outcome]:
        """Raises ProviderError when none of several texts is taken: then the texts are not at fault."""
        outcomes = await self._halving(texts, lane)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, ProviderError)]
        if len(texts) > 1 and len(refusals) == len(texts):
            raise refusals[0]
        return outcomes

    async def _halving(self, texts: list[str], lane: Lane) -> list[Outcome]:
        try:
            return list(await self._patient(texts, lane))
        except RequestRefused as error:
            if len(texts) == 1:
                return [error]
        middle = len(texts) // 2
        return [*await self._halving(texts[:middle], lane), *await self._halving(texts[middle:], lane)]

    async def _patient(self, texts: list[str], lane: Lane) -> Vectors:
        """One request, sent again after failures that may pass: when the endpoint says, else ever later."""
        tokens = sum(map(self.count, texts))
        for left in range(self._retries, -1, -1):
            await self._limiter.take(tokens, lane)
            try:
                return await self._request(texts, tokens)
            except ProviderUnavailable as error:
                backoff = _FIRST_WAIT * 2 ** (self._retries - left) * random.uniform(0.75, 1)  # noqa: S311
                wait = backoff if error.retry_after is None else error.retry_after
                if not left or wait > PATIENCE:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError  # the last round returned or raised

    async def _request(self, texts: list[str], tokens: int) -> Vectors:
        from openai import omit

        shortened = self._listed is not None and self._listed.dimensions != self._dimensions
        with self._endpoint.translated("an embeddings response"):
            response = await self._endpoint.client.embeddings.create(
                model=self._model,
                input=texts,
                dimensions=self._dimensions if shortened else omit,
                encoding_format="float",  # the default, base64, is not known everywhere
            )
            rows = sorted(response.data, key=lambda row: row.index)
            vectors = np.array([row.embedding for row in rows], np.float32)
        billed = response.usage.prompt_tokens if response.usage else 0
        self._account(len(texts), billed or tokens)
        return self._checked(vectors, len(texts))

    def _account(self, texts: int, tokens: int) -> None:
        used = self.usage
        self.usage = replace(
            used,
            texts=used.texts + texts,
            tokens=used.tokens + tokens,
            requests=used.requests + 1,
            money=used.money + tokens * self.price / 1e6,
        )

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        """Of unit length. Raises ProviderError when the endpoint sent something else than was asked for."""
        expected = count, self._dimensions
        if vectors.shape != expected:
            raise ProviderError(
                f"{self._endpoint.name} sent vectors as {vectors.shape} numbers, where {expected} were expected",
                hint="set embedding.dimensions to the size of the model's vectors",
            )
        lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all((lengths > 0) & np.isfinite(lengths)):
            raise ProviderError(f"{self._endpoint.name} sent a vector without a direction (all zeros, or not numbers)")
        vectors /= lengths
        return vectors
