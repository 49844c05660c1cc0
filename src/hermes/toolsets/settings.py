"""What the tools can be told: plain values, so that a tool is tested without a home. `hermes.app` fills them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hermes.toolsets.backends.choice import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalSettings:
    """`shell` None: bash, where it is missing sh. `output_characters`: what of an output the model sees.

    `piece_bytes`: the output on disk is cut into pieces of this size, of which the first and the newest two are kept.
    `place`: where commands run, None for this machine as it is.
    `kill_grace_seconds`: from SIGTERM to SIGKILL after a time-out; `cancel_grace_seconds`: when the run is stopped.
    """

    timeout_seconds: float = 180.0
    max_timeout_seconds: float = 1800.0
    output_characters: int = 30_000
    piece_bytes: int = 8 << 20
    max_processes: int = 16
    shell: str | None = None
    place: Place = None
    kill_grace_seconds: float = 2.0
    cancel_grace_seconds: float = 0.3


REGION = "us-en"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """`search_backend`: engines that ddgs knows, with commas between, or `auto`. `searxng_url`: ask this one instead.

    `timeout_seconds` is for one search and for one page. `max_bytes`: what is read of a page; `output_characters`: what
    the model sees of all pages of one call. `allow_private_hosts`: `host` or `host:port` of the owner's own network.
    """

    search_backend: str = "auto"
    region: str = REGION
    max_results: int = 8
    timeout_seconds: float = 20.0
    searxng_url: str | None = None
    allow_private_hosts: tuple[str, ...] = ()
    max_bytes: int = 10 << 20
    output_characters: int = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSettings:
    """`executable` None: the first that is found (`browser/there.py`). `timeout_seconds`: of one action.

    `idle_seconds`: how long a page that nobody uses stays open. `output_characters`: what the model sees of a page.
    `is_sandboxed`: Chromium's own sandbox, which it has not as root. `allow_private_hosts` as of the web.
    """

    executable: str | None = None
    is_headless: bool = True
    is_sandboxed: bool = True
    timeout_seconds: float = 30.0
    idle_seconds: float = 600.0
    output_characters: int = 12_000
    allow_private_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """`roots`: where files may be read and written; empty means everywhere but secret files."""

    roots: tuple[Path, ...] = ()
    read_lines: int = 2_000
    read_characters: int = 50_000
    line_characters: int = 2_000
    max_edit_bytes: int = 10 << 20
    search_timeout_seconds: float = 30.0
