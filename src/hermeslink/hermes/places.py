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
from hermes.home.settings import Settings, load_settings

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104 not bound: replaced


@dataclass(frozen=True, slots=True)
class Place:
    """`url` has no slash at its end. `is_shared`: the listener is another profile's, and may not know this one."""

    url: str
    key: str | None
    is_shared: bool = False


def places_of(home: Home, environ: Mapping[str, str]) -> list[Place]:
    """In the order in which to ask, at least one. `environ` speaks for the default profile alone. Reads files."""
    if not home.is_profile:
        return _own(home, environ)
    key = load_settings(home, {}, is_lenient=True).api_server.key
    own = _own(home, {})
    shared = [Place(f"{place.url}/p/{home.name}", key, is_shared=True) for place in _own(Home(home.root), environ)]
    return [*own, *shared] if _has_own_port(home) else [*own[1:], *shared, own[0]]


def stamp_of(home: Home) -> object:
    """Changes when its places may have."""
    files = [home.env_file, home.config_file]
    if home.is_profile:
        files += [Home(home.root).env_file, Home(home.root).config_file]
    return tuple(_of_file(file) for file in files)


def _own(home: Home, environ: Mapping[str, str]) -> list[Place]:
    settings = load_settings(home, environ, is_lenient=True)
    api = settings.api_server
    written = Place(_address(api.host, api.port), api.key)
    running = running_gateway(home.pid_file)
    if running is None or running.url is None:
        return [written]
    announced = Place(_reachable(running.url.rstrip("/")), api.key)
    return [announced] if api.port == 0 else [written, announced]


def _has_own_port(home: Home) -> bool:
    settings: Settings = load_settings(home, {}, is_lenient=True)
    return "api_server.port" in settings.sources


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
