"""Join: what touches or overlaps in a document becomes one passage, so that no text is shown twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ragstone.models import Candidate, Passage


def join(candidates: Sequence[Candidate]) -> tuple[Passage, ...]:
    """Passages, best first and numbered from 1; each shows the chunks of one version, or parents, that belong together.

    Consecutive chunks do, and stretches that overlap or touch.
    """
    by_place = sorted(candidates, key=lambda c: (c.chunk.version_id, c.shown[0], c.chunk.ordinal))
    runs = [run for _, version in groupby(by_place, key=lambda c: c.chunk.version_id) for run in _runs(list(version))]
    runs.sort(key=lambda run: -max(c.fused for c in run))
    return tuple(_passage(number, run) for number, run in enumerate(runs, start=1))


def _runs(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Split where something of the document lies between two candidates."""
    runs = [[candidates[0]]]
    end = candidates[0].shown[1]
    for candidate in candidates[1:]:
        start, stop, _ = candidate.shown
        if start <= end or candidate.chunk.ordinal == runs[-1][-1].chunk.ordinal + 1:
            runs[-1].append(candidate)
        else:
            runs.append([candidate])
        end = max(end, stop)
    return runs


def _passage(number: int, run: Sequence[Candidate]) -> Passage:
    first, start, text = run[0].chunk, run[0].shown[0], _text(run)
    pages = [page for c in run if c.chunk.pages for page in c.chunk.pages]
    core = min(c.chunk.start for c in run), max(c.chunk.end for c in run)
    return Passage(
        number=number,
        document_id=first.document_id,
        version_id=first.version_id,
        chunk_ids=tuple(c.chunk.id for c in run),
        uri=first.uri,
        title=first.title,
        path=_shared_path([c.chunk.path for c in run]),
        pages=(min(pages), max(pages)) if pages else None,
        start=start,
        end=start + len(text),
        text=text,
        modified_at=first.modified_at,
        cosine=_best([c.cosine for c in run]),
        bm25=_best([c.bm25 for c in run]),
        score=max(c.fused for c in run),
        core=core if core != (start, start + len(text)) else None,
    )


def _shared_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shared = []
    for headings in zip(*paths, strict=False):
        if len(set(headings)) > 1:
            break
        shared.append(headings[0])
    return tuple(shared)


def _text(run: Sequence[Candidate]) -> str:
    """As long as the stretch of the document that it stands for: overlaps once, blank gaps as line breaks.

    The blanks at the end of a parent are left out.
    """
    start, end, text = run[0].shown
    for candidate in run[1:]:
        start, stop, more = candidate.shown
        text += "\n" * (start - end) + more if start > end else more[end - start :]
        end = max(end, stop)
    return text.rstrip()


def _best(scores: Sequence[float | None]) -> float | None:
    return max((score for score in scores if score is not None), default=None)
