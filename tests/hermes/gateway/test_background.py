"""Starting beside another start, and which port a restart takes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from hermes.gateway.background import kept_port, reachable, start, stop
from hermes.home.background import Started
from hermes.home.locks import GatewayProcess, lock_gateway
from hermes.home.paths import Home, create_home

RUNNING = GatewayProcess(1, 1.0, "http://127.0.0.1:9123", is_ready=True)


@pytest.mark.parametrize(
    ("environ", "process", "port"),
    [
        ({}, RUNNING, 9123),
        ({"API_SERVER_PORT": "0"}, RUNNING, 9123),
        ({"API_SERVER_PORT": "8643"}, RUNNING, None),
        ({}, None, None),
        ({}, GatewayProcess(1, 1.0, None, is_ready=True), None),
        ({}, GatewayProcess(1, 1.0, "http://[::1]:9124"), 9124),
    ],
)
def test_the_port_is_kept_unless_the_settings_name_one(
    tmp_path: Path, environ: dict[str, str], process: GatewayProcess | None, port: int | None
) -> None:
    assert kept_port(Home(tmp_path), environ, process) == port


def test_one_that_is_just_starting_is_waited_for_and_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    create_home(home)
    held = lock_gateway(home.pid_file, now=1.0)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(start, home, {})
        assert wait([started], 0.2).not_done
        held.announce(RUNNING)
        assert started.result(60) == Started(RUNNING, was_running=True)
    held.release()


def test_a_stop_makes_nothing_where_no_home_is(tmp_path: Path) -> None:
    assert stop(Home(tmp_path / "mistyped"), {}) is None
    assert not (tmp_path / "mistyped").exists()


def test_an_address_of_every_interface_is_called_on_this_machine() -> None:
    assert reachable("http://0.0.0.0:1") == "http://127.0.0.1:1"
    assert reachable("http://[::]:1") == "http://[::1]:1"
    assert reachable("http://192.0.2.1:1") == "http://192.0.2.1:1"
