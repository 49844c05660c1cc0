"""Another address, for whoever cannot have the one that is set."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

FIRST = 8642
LOWEST = 1024
"""Below this a port takes root's rights."""
MOST_TRIES = 100


def other_address(error: OSError, host: str, port: int) -> str:
    """After `hermes config set`: what to set, since listening on `host` and `port` failed with `error`."""
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
        return f"API_SERVER_PORT {_free_port(host, port)}"
    return "API_SERVER_HOST 127.0.0.1"  # no other port of an address that is not this machine's helps


def _free_port(host: str, taken: int) -> int:
    """The first one after `taken` that can be had now; 0, which takes any, where none is near."""
    first = taken + 1 if taken >= LOWEST else FIRST
    ports = range(first, min(first + MOST_TRIES, 65_536))
    return next((port for port in ports if _is_free(host, port)), 0)


def _is_free(host: str, port: int) -> bool:
    with suppress(OSError):
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return True
    return False
