"""Join: chunks that touch in their document become one passage, so that no text is shown twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ragstone.models import Candidate, Passage


def join(candidates: Sequence[Candidate]) -> tuple[Passage, ...]:
    """Passages, best first and numbered from 1; each holds the chunks of one version that overlap or touch."""
    by_place = sorted(candidates, key=lambda c: (c.chunk.version_id, c.chunk.ordinal))
    runs = [run for _, version in groupby(by_place, key=lambda c: c.chunk.version_id) for run in _runs(list(version))]
    runs.sort(key=lambda run: -max(c.fused for c in run))
    return tuple(_passage(number, run) for number, run in enumerate(runs, start=1))


def _runs(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Split into runs of consecutive chunks."""
    runs = [[candidates[0]]]
    for candidate in candidates[1:]:
        if candidate.chunk.ordinal == runs[-1][-1].chunk.ordinal + 1:
            runs[-1].append(candidate)
        else:
            runs.append([candidate])
    return runs


def _passage(number: int, run: Sequence[Candidate]) -> Passage:
    first = run[0].chunk
    pages = [page for c in run if c.chunk.pages for page in c.chunk.pages]
    return Passage(
        number=number,
        document_id=first.document_id,
        version_id=first.version_id,
        chunk_ids=tuple(c.chunk.id for c in run),
        uri=first.uri,
        title=first.title,
        path=_shared_path([c.chunk.path for c in run]),
        pages=(min(pages), max(pages)) if pages else None,
        start=first.start,
        end=max(c.chunk.end for c in run),
        text=_text(run),
        modified_at=first.modified_at,
        cosine=_best([c.cosine for c in run]),
        bm25=_best([c.bm25 for c in run]),
        score=max(c.fused for c in run),
    )


def _shared_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shared = []
    for headings in zip(*paths, strict=False):
        if len(set(headings)) > 1:
            break
        shared.append(headings[0])
    return tuple(shared)


def _text(run: Sequence[Candidate]) -> str:
    """As long as the stretch of the document that it stands for: overlaps once, blank gaps as line breaks."""
    text, end = run[0].chunk.text, run[0].chunk.end
    for candidate in run[1:]:
        chunk = candidate.chunk
        gap = chunk.start - end
        text += "\n" * gap + chunk.text if gap > 0 else chunk.text[-gap:]
        end = max(end, chunk.end)
    return text


def _best(scores: Sequence[float | None]) -> float | None:
    return max((score for score in scores if score is not None), default=None)
