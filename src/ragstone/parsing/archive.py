"""ZIP containers opened with care: no more is unpacked than they declare, and no more declared than is allowed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from zipfile import BadZipFile, ZipFile

from ragstone.errors import BrokenDocument, DocumentTooCostly, EncryptedDocument

UNPACKED_LIMIT = 256 * 2**20
"""Bytes that the text of one container may come to."""

MOST_MEMBERS = 20_000
"""Files in a container."""

_ENCRYPTED = 1
_ENTITIES = tuple("<!ENTITY".encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))


class Archive:
    """The members of a ZIP container, unpacked within one limit for all of them."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises BrokenDocument, or DocumentTooCostly when there are too many members."""
        self._name = name
        self._left = UNPACKED_LIMIT
        with self._faults():
            self._zip = ZipFile(BytesIO(data))
        self.names = self._zip.namelist()
        if len(self.names) > MOST_MEMBERS:
            raise DocumentTooCostly(f"{name} holds more than {MOST_MEMBERS:,} files", hint="exclude it")

    def __contains__(self, member: str) -> bool:
        return member in self._zip.NameToInfo

    def read(self, member: str) -> bytes:
        """Raises BrokenDocument, EncryptedDocument, or DocumentTooCostly past the limit."""
        with self._faults():
            info = self._zip.getinfo(member)
            if info.flag_bits & _ENCRYPTED:
                raise EncryptedDocument(f"{self._name} needs a password", hint="save a copy without one")
            if info.file_size > self._left:
                raise self._too_costly()
            self._left -= info.file_size
            with self._zip.open(info) as content:
                return content.read(info.file_size)  # without a number, all that is packed is unpacked first

    def read_xml(self, member: str) -> bytes:
        """As `read`. Entities, which can stand for ever more text or for other files, are refused."""
        content = self.read(member)
        if any(entity in content for entity in _ENTITIES):
            raise BrokenDocument(f"{self._name} declares entities in its {member}, as only hostile files do")
        return content

    def _too_costly(self) -> DocumentTooCostly:
        limit = f"{UNPACKED_LIMIT // 2**20} MiB"
        return DocumentTooCostly(
            f"{self._name} comes to more than {limit} when unpacked", hint="split it, or exclude it"
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (BadZipFile, zlib.error, EOFError, OSError, KeyError, NotImplementedError, ValueError) as error:
            raise BrokenDocument(
                f"{self._name} is damaged, or no ZIP container: {error}", hint="open it in its program and save it anew"
            ) from error
