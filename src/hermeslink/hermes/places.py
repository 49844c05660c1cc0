"""Where a profile's API server may be, and with which key: what its .env and config.yaml say now.

A profile is reached at its own port, or under /p/NAME of the default profile's listener. A gateway that runs says in
its home where it listens: that counts after what is written, for one on a free port or with a port from its own
environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermes.home.settings import load_settings

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104 not bound: replaced


@dataclass(frozen=True, slots=True)
class Place:
    """`url` has no slash at its end. `is_shared`: the listener is another profile's, and may not know this one."""

    url: str
    key: str | None
    is_shared: bool = False


def places_of(home: Home, environ: Mapping[str, str]) -> list[Place]:
    """In the order in which to ask. `environ` speaks for the default profile alone. Reads files.

    Where both profiles say the same port, the default one is not asked with a key that is its own, too: it would
    answer, with another agent.
    """
    if not home.is_profile:
        written, announced = _own(home, environ)
        return [*written, *announced]
    default_written, default_announced = _own(Home(home.root), environ)
    defaults = [*default_written, *default_announced]
    written, announced = _own(home, {})
    key = load_settings(home, {}, is_lenient=True).api_server.key
    shared = [Place(f"{place.url}/p/{home.name}", key, is_shared=True) for place in defaults]
    elsewhere = [place for place in written if place not in defaults]
    is_apart = _has_own_port(home) and all(place.url not in {one.url for one in defaults} for place in written)
    return [*elsewhere, *announced, *shared] if is_apart else [*announced, *shared, *elsewhere]


def stamp_of(home: Home) -> object:
    """Changes when its places may have."""
    files = [home.env_file, home.config_file]
    if home.is_profile:
        files += [Home(home.root).env_file, Home(home.root).config_file]
    return tuple(_of_file(file) for file in files)


def _own(home: Home, environ: Mapping[str, str]) -> tuple[list[Place], list[Place]]:
    """The place that is written down, unless that is any free port, and the one where its gateway says it is."""
    api = load_settings(home, environ, is_lenient=True).api_server
    running = running_gateway(home.pid_file)
    written = [] if api.port == 0 else [Place(_address(api.host, api.port), api.key)]
    if running is None or running.url is None:
        return written, []
    return written, [Place(_reachable(running.url.rstrip("/")), api.key)]


def _has_own_port(home: Home) -> bool:
    return "api_server.port" in load_settings(home, {}, is_lenient=True).sources


def _address(host: str, port: int) -> str:
    host = _ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reachable(url: str) -> str:
    for any_address, address in (("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")):  # noqa: S104 not bound: replaced
        url = url.replace(f"//{any_address}:", f"//{address}:", 1)
    return url


def _of_file(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
