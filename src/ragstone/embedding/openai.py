"""Embeddings from any endpoint that speaks OpenAI's embeddings API: OpenAI itself, TEI, vLLM, Ollama, llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from ragstone.embedding import fingerprint
from ragstone.embedding.base import Lane
from ragstone.embedding.limit import fit, well_formed
from ragstone.embedding.model_list import remote_model
from ragstone.errors import ProviderError, SettingsError
from ragstone.models import Fingerprint, Vectors
from ragstone.openai_endpoint import OpenAIEndpoint
from ragstone.tokens import TokenCounter, byte_pairs, overestimate

REQUEST_TOKENS = 250_000
"""Tokens in one request at most; OpenAI refuses more than 300,000."""


class OpenAIEmbedder:
    """A model behind an endpoint. Made at no cost: nothing is sent, nor the client imported, before it is needed.

    A listed model needs its name alone, and `dimensions` may ask it for shorter vectors. Of any other model
    `dimensions` and `max_tokens` say what it has, and tokens are overestimated. `revision` names its version, which
    the endpoint does not tell. Raises SettingsError.

    Some servers give a text a slightly other vector when it shares a request; `batch_size` 1 avoids that.
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str = "",
        dimensions: int | None = None,
        max_tokens: int | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        batch_size: int = 64,
        retries: int = 4,
        timeout: float = 60.0,
    ) -> None:
        self._listed = remote_model(model)
        self._model = model
        self._revision = revision
        self._dimensions = dimensions or (self._listed.dimensions if self._listed else 0)
        self._max_tokens = max_tokens or (self._listed.max_tokens if self._listed else 0)
        if not (self._dimensions and self._max_tokens):
            raise SettingsError(
                f"the embedding model {model} is not a listed one, so its vector size and token limit must be given",
                hint="set embedding.dimensions and embedding.max_tokens",
            )
        self._batch_size = batch_size
        self._endpoint = OpenAIEndpoint(
            "embedding", model=model, base_url=base_url, api_key=api_key, timeout=timeout, retries=retries
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
        }
        return fingerprint.make(spec, self._dimensions)

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count(self, text: str) -> int:
        return self._counter(well_formed(text))

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """As the contract says. A longer question is cut with a warning, a longer document text is an error."""
        fitting = [fit(text, lane, self._max_tokens, self.count) for text in texts]
        if blank := [text for text in fitting if not text.strip()]:
            raise ProviderError(f"{len(blank)} of {len(fitting)} texts are blank, which endpoints refuse")
        rows = [await self._request(batch) for batch in self._batches(fitting)]
        return np.concatenate(rows) if rows else np.empty((0, self._dimensions), np.float32)

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    @cached_property
    def _counter(self) -> TokenCounter:
        return byte_pairs("cl100k_base") if self._listed else overestimate

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        tokens = 0
        for text in texts:
            size = self.count(text)
            if batch and (len(batch) == self._batch_size or tokens + size > REQUEST_TOKENS):
                yield batch
                batch, tokens = [], 0
            batch.append(text)
            tokens += size
        if batch:
            yield batch

    async def _request(self, texts: list[str]) -> Vectors:
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
        return self._checked(vectors, len(texts))

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
