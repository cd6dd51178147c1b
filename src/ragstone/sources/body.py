"""Reading what others send, no more of it than is wanted, however much it unpacks to."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable

GZIP = b"\x1f\x8b"


class TooLong(Exception):
    """There is more than the limit."""


class Broken(Exception):
    """It cannot be unpacked."""


async def read(parts: AsyncIterable[bytes], encoding: str, limit: int) -> bytes:
    """All parts, unpacked. `encoding` is that of HTTP: gzip, or none. Raises TooLong and Broken."""
    encoding = encoding.strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise Broken(f"it is encoded as {encoding}, which was not asked for")
    data = bytearray()
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
    async for part in parts:
        data += _unpack(unpacker, part, limit + 1 - len(data)) if unpacker else part
        if len(data) > limit:
            raise TooLong
    if unpacker and data and not unpacker.eof:
        raise Broken("it ends too early")
    return bytes(data)


def gunzip(data: bytes, limit: int) -> bytes:
    """Unpack a gzip file. Raises TooLong and Broken."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    unpacked = _unpack(unpacker, data, limit + 1)
    if len(unpacked) > limit:
        raise TooLong
    if not unpacker.eof:
        raise Broken("it ends too early")
    return unpacked


def _unpack(unpacker: zlib._Decompress, data: bytes, room: int) -> bytes:
    try:
        return unpacker.decompress(data, room)
    except zlib.error as error:
        raise Broken(f"it cannot be unpacked: {error}") from error
