"""`capacity`: what so many chunks will take, before there are any."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragstone.cli.context import Json, print_json
from ragstone.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ragstone.index.capacity import Coefficients, Demand, Estimate

WIDTH = 79
COUNTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}
BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
COLUMNS = "base", "document", "chunk", "dimension", "token"
NAMES = {
    "base": "an empty one",
    "document": "documents",
    "chunk": "ids, fields, graph",
    "dimension": "vectors",
    "token": "text, words",
}


def _count(text: str) -> int:
    """50M, 1.5k, 20000."""
    return _scaled(
        text, r"(\d{1,3}(?:[,_]\d{3})+|\d*\.?\d+|\d+\.)\s*([KMBG]?)", COUNTS, "a number such as 50000, 200k or 50M"
    )


def _bytes(text: str) -> int:
    """64G, 512 MiB."""
    return _scaled(text, r"([\d.]+)\s*([KMGT]?)(?:I?B)?", BYTES, "a size such as 512M or 64G")


def _scaled(text: str, form: str, units: Mapping[str, int], wanted: str) -> int:
    found = re.fullmatch(form, text.strip().upper())
    try:
        scaled = round(float(found[1].replace(",", "").replace("_", "")) * units[found[2]]) if found else 0
    except ValueError:
        scaled = 0
    if scaled < 1:
        raise typer.BadParameter(f"{text!r} is not {wanted}")
    return scaled


def capacity(
    chunks: Annotated[int, typer.Option(parser=_count, metavar="COUNT", help="How many: 200000, 200k, 50M.")],
    engine: Annotated[
        Literal["edge", "qdrant", "pgvector", "weaviate"], typer.Option(help="The index engine.")
    ] = "edge",
    dim: Annotated[int | None, typer.Option(min=1, help="Dimensions of a vector.", show_default="the model's")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Of a chunk, its prefix included.")] = 200,
    chunks_per_document: Annotated[float, typer.Option(min=0.01, help="On average.")] = 5.0,
    quantization: Annotated[
        Literal["none", "scalar", "binary"] | None, typer.Option(help="Of qdrant.", show_default="scalar")
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Copies, in a cluster.")] = 1,
    memory_per_node: Annotated[int, typer.Option(parser=_bytes, metavar="SIZE", help="512M, 64G.")] = "64G",  # type: ignore[assignment]
    cores: Annotated[int | None, typer.Option(min=1, help="Of a node.", show_default="as measured")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the embedding model.", show_default="the listed one of these dimensions"),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Money for embedding a million tokens.", show_default="the model's")
    ] = None,
    chunks_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="That are embedded.", show_default="as measured")
    ] = None,
    coefficients: Annotated[
        Path | None, typer.Option(help="A file that `make bench-capacity` wrote.", show_default="Ragstone's own")
    ] = None,
    json: Json = False,
) -> None:
    """Plan: memory, disk, nodes, time and money for so many chunks, and where each figure comes from.

    Nothing needs to be set up. Sizes are of the index and of the catalog beside it, which holds the truth.

    Examples: `ragstone capacity --chunks 200k`, `ragstone capacity --chunks 50M --dim 3072 --engine qdrant`,
    `ragstone capacity --chunks 5M --model bge-base-en-v1.5 --engine pgvector --json | jq .build_seconds`
    """
    from ragstone.index.capacity import Demand, estimate, load_coefficients

    demand = Demand(
        engine=engine,
        chunks=chunks,
        dimensions=dim or _dimensions(model),
        tokens=tokens,
        chunks_per_document=chunks_per_document,
        quantization=quantization,
        replicas=replicas,
        memory_per_node=memory_per_node,
        cores=cores,
        model=model,
        price=price,
        chunks_per_second=chunks_per_second,
    )
    known = load_coefficients(coefficients)
    found = estimate(demand, known)
    if json:
        print_json(_record(demand, found, known))
    else:
        _print(demand, found, known)


def _dimensions(model: str | None) -> int:
    """Of a listed model; without a name, of the default one."""
    from ragstone.embedding.model_list import local_model, remote_model
    from ragstone.index.capacity import DEFAULT_MODEL

    found = local_model(model or DEFAULT_MODEL) or remote_model(model or "")
    if found is None:
        raise SettingsError(
            f"the dimensions of {model} are not known", hint="say --dim, or a model of `ragstone models list`"
        )
    return found.dimensions


def _record(demand: Demand, found: Estimate, known: Coefficients) -> dict[str, object]:
    """The estimate as programs get it: bytes, seconds, and what they come from."""
    return {
        "demand": asdict(demand),
        "memory_bytes": round(found.memory_total),
        "disk_bytes": round(found.disk_total),
        "catalog_bytes": round(found.catalog_total),
        "building_memory_bytes": round(found.building_memory),
        "building_disk_bytes": round(found.building_disk),
        "nodes": found.nodes,
        "shards": found.shards,
        "fits": found.fits,
        "write_seconds": found.write,
        "build_seconds": found.build,
        "embedding": asdict(found.embedding),
        "parts": {"memory": found.memory, "disk": found.disk, "catalog": found.catalog},
        "assumptions": _assumptions(demand, found, known),
        "coefficients": known.engines[demand.key].model_dump()
        | {
            "catalog": known.catalog.model_dump(),
            "embedding": known.embedding.model_dump(),
            "machine": known.machine,
            "date": known.date,
            "cores": known.cores,
        },
    }


# --- for people -------------------------------------------------------------------------------------------------


def _print(demand: Demand, found: Estimate, known: Coefficients) -> None:
    copies = f", {demand.replicas} copies" if demand.replicas > 1 else ""
    typer.echo(
        f"{demand.chunks:,} chunks of {demand.tokens} tokens, {demand.dimensions:,} dimensions, {demand.key}{copies}\n"
    )
    for name, value in _rows(demand, found):
        typer.echo(f"{name:24}{value:>12}" if name.startswith(" ") else f"{name:24}{value}")
    typer.echo("\nAssumed")
    for line in _assumptions(demand, found, known):
        _echo_wrapped(line)
    _print_coefficients(demand, known)


def _rows(demand: Demand, found: Estimate) -> list[tuple[str, str]]:
    embedding = found.embedding
    each = f", {size(found.memory_total / found.nodes)} on each node" if found.nodes > 1 else ""
    plural = "s" if found.nodes > 1 else ""
    seconds = "not known" if embedding.seconds is None else f"{duration(embedding.seconds)}: {embedding.pace}"
    return [
        ("Memory of the index", size(found.memory_total) + each),
        *_parts(found.memory),
        ("  more while building", size(found.building_memory)),
        ("Disk of the index", size(found.disk_total)),
        *_parts(found.disk),
        ("  more while building", size(found.building_disk)),
        ("Disk of the catalog", size(found.catalog_total)),
        *_parts(found.catalog),
        (
            "Nodes",
            f"{found.nodes:,} of {size(demand.memory_per_node)}" + ("" if found.fits else ", which is too little"),
        ),
        ("Shards", f"{found.shards}" + (f": index.shards = {found.shards}" if demand.engine == "qdrant" else "")),
        ("Writing the index", duration(found.write)),
        ("Building its graphs", f"{duration(found.build)} on {found.nodes:,} node{plural}"),
        ("Embedding", seconds),
        ("Money for embedding", _money(demand, found)),
    ]


def _parts(parts: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(f"  {NAMES[name]}", size(value)) for name, value in parts.items() if value >= 0.5]


def _money(demand: Demand, found: Estimate) -> str:
    embedding = found.embedding
    if embedding.money is None or embedding.price is None:
        return "not known: say --price"
    if not embedding.price:
        return "none"
    currency = "" if demand.price else " US dollars"  # those of the list
    millions = embedding.tokens / 1e6
    return f"{embedding.money:,.2f}{currency}: {millions:,.0f} million tokens at {embedding.price:g}"


def _assumptions(demand: Demand, found: Estimate, known: Coefficients) -> list[str]:
    from ragstone.index.capacity import CLUSTERS, FILLED, SHARDS_A_NODE

    cores = demand.cores or known.cores
    lines = [
        f"{demand.chunks_per_document:g} chunks a document; {cores} cores a node; one build after all is written",
        f"model: {found.embedding.model or 'none'}"
        + (" (the listed one with these dimensions)" if demand.model is None and found.embedding.model else ""),
    ]
    if demand.engine in CLUSTERS:
        lines.append(
            f"nodes are filled to {FILLED:.0%} of their memory; {SHARDS_A_NODE} shards a node where there are several"
        )
    if found.embedding.origin:
        lines.append(f"speed of embedding: {found.embedding.origin}")
    if not found.fits:
        lines.append(f"{demand.engine} is on one machine: give it more memory (--memory-per-node), or plan with qdrant")
    return lines


def _print_coefficients(demand: Demand, known: Coefficients) -> None:
    """What everything was made of, and where each row comes from."""
    engine = known.engines[demand.key]
    rows = [
        ("memory, bytes", engine.memory, 1.0),
        ("  while building", engine.building_memory, 1.0),
        ("disk, bytes", engine.disk, 1.0),
        ("  while building", engine.building_disk, 1.0),
        ("catalog, bytes", known.catalog, 1.0),
        ("writing, µs", engine.write, 1e6),
        ("building, µs", engine.build, 1e6),
    ]
    typer.echo(f"\n{'Coefficients':20}" + "".join(f"{name:>11}" for name in COLUMNS))
    origins: dict[str, dict[str, None]] = {}
    for name, linear, scale in rows:
        typer.echo(f"{name:20}" + "".join(_cell(getattr(linear, column) * scale) for column in COLUMNS))
        origins.setdefault(linear.origin, {})[name.partition(",")[0].strip()] = None
    for origin, names in origins.items():
        _echo_wrapped(f"{', '.join(names)}: {origin}")
    _echo_wrapped("building: times the binary logarithm of a shard's chunks")
    _echo_wrapped(f"measured: on {known.machine}, {known.date}")


def _cell(value: float) -> str:
    return f"{value:11,.0f}" if value >= 1000 else f"{value:11.3g}" if value else f"{'·':>11}"


def _echo_wrapped(line: str) -> None:
    import textwrap

    typer.echo(textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  "))


def size(bytes_: float) -> str:
    """Bytes for people: three digits and a unit of 1,024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if bytes_ < 1023.5:
            return f"{bytes_:.3g} {unit}" if bytes_ < 99.95 else f"{bytes_:.0f} {unit}"
        bytes_ /= 1024
    return f"{bytes_:,.3g} TiB" if bytes_ < 99.95 else f"{bytes_:,.0f} TiB"


def duration(seconds: float) -> str:
    """Seconds for people: two digits and a unit."""
    for unit, limit, divisor in (("s", 120, 1), ("min", 7200, 60), ("h", 172_800, 3600)):
        if seconds < limit:
            value = seconds / divisor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:,.1f} days" if seconds < 864_000 else f"{seconds / 86_400:,.0f} days"
