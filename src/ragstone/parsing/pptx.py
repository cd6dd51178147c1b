"""PowerPoint presentations by python-pptx: a section and a page for each slide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from pptx import Presentation

from ragstone.models import Document
from ragstone.parsing import office
from ragstone.parsing.records import bare_row
from ragstone.parsing.writer import Writer

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


def parse(content: BytesIO, name: str) -> Document:
    """Titles, text from top to bottom, tables, the numbers of charts, and notes; hidden slides too.

    Raises BrokenDocument.
    """
    writer = Writer()
    page_starts: list[int] = []
    with office.faults(name):
        presentation = Presentation(content)
        for number, slide in enumerate(presentation.slides, 1):
            page_starts.append(writer.next_start)
            _write_slide(writer, slide, number)
        properties = presentation.core_properties
    return writer.document(
        media_type=MEDIA_TYPE,
        title=office.title(properties.title),
        metadata=office.metadata(properties.author),
        page_starts=page_starts,
    )


def _write_slide(writer: Writer, slide: Any, number: int) -> None:
    title = slide.shapes.title
    words = title.text_frame.text if title is not None else ""
    writer.heading(1, words if words.strip() else f"Slide {number}")
    for shape in _in_reading_order(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            _write_shape(writer, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        writer.block("paragraph", notes and f"Notes: {notes}")


def _in_reading_order(shapes: Iterable[Any]) -> list[Any]:
    """From top to bottom; files list shapes from back to front."""
    return sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0))


def _write_shape(writer: Writer, shape: Any) -> None:
    if hasattr(shape, "shapes"):
        for inner in _in_reading_order(shape.shapes):
            _write_shape(writer, inner)
    elif shape.has_text_frame:
        _write_text(writer, shape)
    elif getattr(shape, "has_table", False):
        writer.block("table", "\n".join(_rows(shape.table)))
    elif getattr(shape, "has_chart", False):
        writer.block("table", "\n".join(_series(shape.chart)))


def _write_text(writer: Writer, shape: Any) -> None:
    """The paragraphs of a placeholder are its bullets; those of a box are loose lines."""
    paragraphs = [paragraph for paragraph in shape.text_frame.paragraphs if paragraph.text.strip()]
    if shape.is_placeholder and len(paragraphs) > 1:
        writer.block("list", "\n".join(f"{'  ' * p.level}- {' '.join(p.text.split())}" for p in paragraphs))
    else:
        writer.block("paragraph", "\n".join(paragraph.text.strip() for paragraph in paragraphs))


def _rows(table: Any) -> Iterator[str]:
    for row in table.rows:
        yield bare_row(["" if cell.is_spanned else cell.text for cell in row.cells])


def _series(chart: Any) -> Iterator[str]:
    if chart.has_title and chart.chart_title.has_text_frame:
        yield chart.chart_title.text_frame.text
    for plot in chart.plots:
        yield bare_row(["", *map(str, plot.categories)])
        for series in plot.series:
            yield bare_row([series.name, *("" if value is None else f"{value:g}" for value in series.values)])
