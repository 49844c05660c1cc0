"""The other nodes of a database that several share, and what this machine must have alike with them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermes import __version__
from hermes.core.errors import HermesError
from hermes.doctor.finding import Finding, Severity
from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.runs.node_object import node_objects
from hermes.store import nodes as node_store
from hermes.store.database import Connection

SKEW_SECONDS = 2.0
"""Two machines never agree exactly, and asking takes time, too."""

Nodes = list[dict[str, Any]]


def nodes(home: Home, settings: Settings, now: float) -> Iterator[Finding]:
    url = settings.database.url
    if not url or node_store.file_of(url) is not None:
        return
    try:
        found = node_store.read_in(url, _read)
    except HermesError as error:
        yield Finding("no_database", Severity.ERROR, error.message)
        return
    if found is None:
        return
    told, server_time = found
    yield from _clock(now - server_time)
    yield from _versions(told)
    yield from _namesakes(home, told)


def _read(conn: Connection, file: Path | None) -> tuple[Nodes, float]:
    server_time = node_store.time_of_server(conn)
    assert server_time is not None  # only a file has none
    return node_objects(conn, file), server_time


def _clock(ahead_seconds: float) -> Iterator[Finding]:
    if abs(ahead_seconds) > SKEW_SECONDS:
        where = "ahead of" if ahead_seconds > 0 else "behind"
        text = (
            f"the clock of this machine is {abs(ahead_seconds):.1f} s {where} the database's: keys and approvals "
            "expire at another time here than elsewhere"
        )
        yield Finding("clock_skew", Severity.WARNING, text, "timedatectl set-ntp true")


def _versions(told: Nodes) -> Iterator[Finding]:
    others = [node for node in told if node["state"] != "silent" and node["version"] != __version__]
    for node in others:
        text = (
            f"node {node['name']} runs version {node['version']}, and this is {__version__}: fit for the minutes of an "
            "upgrade, not for days"
        )
        yield Finding("other_version", Severity.WARNING, text)


def _namesakes(home: Home, told: Nodes) -> Iterator[Finding]:
    """Each takes the other for its own earlier process, which is dead, and removes its row."""
    own = running_gateway(home.pid_file)
    if own is None:
        return
    name = f"{socket.gethostname()}:{home.path}"
    for node in told:
        if node["kind"] == "gateway" and node["name"] == name and node["pid"] != own.pid:
            text = (
                f"another gateway (pid {node['pid']}) calls itself {name} as this one (pid {own.pid}) does: each takes "
                "the other for dead. Give their machines different host names, or their homes different paths"
            )
            yield Finding("same_name", Severity.ERROR, text)
