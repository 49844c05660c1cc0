"""What is offered in place of an address that cannot be had, can be had."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

import pytest

from hermes.gateway.port import other_address


def test_a_port_that_is_taken_too_is_passed_over() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        offered = other_address(OSError(errno.EADDRINUSE, "in use"), "127.0.0.1", port - 1)
    name, _, number = offered.partition(" ")
    assert name == "API_SERVER_PORT"
    assert int(number) != port


@pytest.mark.parametrize("port", [80, 443])
def test_a_port_that_takes_roots_rights_is_replaced_by_one_that_does_not(port: int) -> None:
    offered = other_address(OSError(errno.EACCES, "not allowed"), "127.0.0.1", port)
    assert int(offered.removeprefix("API_SERVER_PORT ")) >= 8642


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_machine_is_replaced(host: str) -> None:
    error = OSError(errno.EADDRNOTAVAIL, "not here") if host[0] == "1" else socket.gaierror(-2, "unknown")
    assert other_address(error, host, 8642) == "API_SERVER_HOST 127.0.0.1"
