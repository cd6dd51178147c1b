"""Connections to the public internet only, whatever a name resolves to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import httpcore

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[Address]]]

PLATFORM = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Public by its number, but Azure's own service inside of every virtual machine."""

NEVER = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "3fff::/20", "fec0::/10"))
)
"""Not of the internet, though Python (or an older one) calls them global. A cloud has its keys at 192.0.0.192."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
TRY = 10.0  # seconds for one address of several


class PrivateAddress(Exception):
    """A host has no address that may be connected to."""


def is_public(address: Address) -> bool:
    """Whether an address, and the IPv4 address that it may stand for, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address) and (inner := _inner(address)):
        return is_public(inner)
    if address in PLATFORM or any(address in network for network in NEVER):
        return False
    return address.is_global and not address.is_multicast


def is_any(address: Address) -> bool:
    return True


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host, in the order to try them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found]


class Guarded(httpcore.AsyncNetworkBackend):
    """Resolves a name once and connects to what was judged, so that no second answer of the DNS can slip in.

    The pool above it goes on to use the name in the Host header and for TLS.
    """

    def __init__(self, allowed: Callable[[Address], bool], resolve: Resolve = resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises PrivateAddress, or a ConnectError of httpcore when nothing answers."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
            raise httpcore.ConnectError(f"{host}: {getattr(error, 'strerror', None) or error}") from error
        allowed = [address for address in addresses if self._allowed(address)]
        if not allowed:
            raise PrivateAddress(f"{host} is at {', '.join(map(str, addresses))}, not on the public internet")
        *others, last = allowed
        for address in others:
            try:
                return await self._inner.connect_tcp(str(address), port, TRY, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(str(last), port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
