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
    unpacker = Gunzip(limit) if "gzip" in encoding else None
    data = bytearray()
    async for part in parts:
        data += unpacker.unpack(part) if unpacker else part
        if len(data) > limit:
            raise TooLong
    if unpacker:
        unpacker.finish()
    return bytes(data)


def gunzip(data: bytes, limit: int) -> bytes:
    """Unpack a gzip file. Raises TooLong and Broken."""
    unpacker = Gunzip(limit)
    unpacked = unpacker.unpack(data)
    unpacker.finish()
    return unpacked


class Gunzip:
    """Unpacks gzip as it comes: one member after another (RFC 1952, 2.2), at most `limit` bytes in all."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._member = _member()
        self._begun = False

    def unpack(self, packed: bytes) -> bytes:
        """Raises TooLong, and Broken for what is not gzip."""
        data = bytearray()
        while packed := packed.lstrip(b"\0") if self._member.eof else packed:  # zeros may fill up the end
            if self._member.eof:
                self._member = _member()
            self._begun = True
            try:
                unpacked = self._member.decompress(packed, self._room + 1)
            except zlib.error as error:
                raise Broken(f"it cannot be unpacked: {error}") from error
            self._room -= len(unpacked)
            if self._room < 0:
                raise TooLong
            data += unpacked
            packed = self._member.unused_data
        return bytes(data)

    def finish(self) -> None:
        """Raises Broken when more had to come."""
        if self._begun and not self._member.eof:
            raise Broken("it ends too early")


def _member() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
