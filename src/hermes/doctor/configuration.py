"""What the settings, the key and the files of a home give away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hermes.core.toolset import COMPOSITES, TOOLSETS
from hermes.doctor.finding import Finding, Severity
from hermes.home.files import too_open
from hermes.home.keys import check_key, is_loopback
from hermes.home.paths import Home
from hermes.home.reading import CONFIG_NAME
from hermes.home.settings import Settings

CLOSE = "; close it with: "
"""How `too_open` words its sentences: what is wrong, and the command that mends it."""

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/?#@\s]+/?", re.IGNORECASE)
"""As browsers send it: also of apps (`capacitor://localhost`) and of pages in a sandbox (`null`)."""

PLACES = (CONFIG_NAME, ".env", "environment")
"""Where a setting can stand, as the settings' sentences call it."""


def api(home: Home, settings: Settings) -> Iterator[Finding]:
    """Who reaches the API, and how hard its key is to guess."""
    section = settings.api_server
    if not section.enabled:
        text = "the API is off: the gateway runs jobs only"
        yield Finding("api_off", Severity.NOTE, text, f"{home.command} config set API_SERVER_ENABLED true")
        return
    if not is_loopback(section.host):
        yield Finding(
            "wide_bind",
            Severity.WARNING,
            f"the API listens on {section.host}: whoever reaches this machine may try keys, and nothing is encrypted",
            f"{home.command} config set API_SERVER_HOST 127.0.0.1",
        )
    yield from _key(home, settings)
    if "*" in section.cors_origins:
        yield Finding(
            "cors_any",
            Severity.WARNING,
            "API_SERVER_CORS_ORIGINS is *: pages of every web site may call the API, if they know a key",
            f"{home.command} config set API_SERVER_CORS_ORIGINS https://chat.example.org",
        )
    wrong = [text for text in section.cors_origins if text != "*" and not _ORIGIN.fullmatch(text)]
    if wrong:
        yield Finding(
            "cors_no_origin",
            Severity.WARNING,
            f"API_SERVER_CORS_ORIGINS: {', '.join(wrong)}: no page has that origin; one is https://name or "
            "http://name:port, as the browser's address begins",
            f"{home.command} config set API_SERVER_CORS_ORIGINS https://chat.example.org",
        )


def _key(home: Home, settings: Settings) -> Iterator[Finding]:
    section = settings.api_server
    verdict = check_key(section.key, section.host, command=home.command)
    if verdict.level == "ok":
        return
    if not (section.key or "").strip():
        name = "no_key"
    else:
        name = "documented_key" if "printed in manuals" in verdict.text else "weak_key"
    severity = Severity.ERROR if verdict.is_refused else Severity.WARNING
    text = verdict.text.partition("; make")[0].partition(": fit for")[0]
    where = "" if not verdict.is_refused else ", and the API does not start with it"
    yield Finding(name, severity, f"{text}{where}", f"{home.command} config set API_SERVER_KEY $(openssl rand -hex 32)")


def files(home: Home) -> Iterator[Finding]:
    """Keys and conversations that others on this machine can read."""
    seen = home.too_open()
    more = [path for path in _private_files(home) if path.exists()]
    for sentence in dict.fromkeys([*seen, *too_open(more)]):
        text, _, mend = sentence.partition(CLOSE)
        yield Finding("open_file", Severity.ERROR, text, mend)


def _private_files(home: Home) -> Iterator[Path]:
    """Beside those that every start looks at: copies that editors leave, logs, what clients uploaded."""
    for pattern in (".env*", "config.yaml*", "state.db*"):
        yield from home.path.glob(pattern)
    yield from home.logs_dir.glob("*.log*")
    yield home.logs_dir / "gateway.out"
    yield home.files_dir


def names(home: Home, settings: Settings) -> Iterator[Finding]:
    """Settings that are wrong, that nobody reads, and that do nothing."""
    for error in settings.errors:
        yield Finding("wrong_setting", Severity.ERROR, error, _unset(home, error))
    for problem in settings.problems:
        if problem in settings.errors or CLOSE in problem:
            continue
        if " is no setting" in problem:
            yield Finding("unknown_setting", Severity.WARNING, problem, _unset(home, problem))
        else:
            yield Finding("setting", Severity.WARNING, problem, f"{home.command} config check")
    for note in settings.notes:
        yield Finding("no_effect", Severity.NOTE, note, _unset(home, note))


def toolsets(home: Home, settings: Settings) -> Iterator[Finding]:
    """Names of toolsets that this version has not: without a word of it the agent would have fewer tools, or none."""
    there = {*TOOLSETS, *COMPOSITES, *(f"mcp-{server}" for server in settings.mcp_servers)}
    chosen = {"toolsets": settings.toolsets} | {
        f"platform_toolsets.{platform}": names for platform, names in settings.platform_toolsets.items()
    }
    for name, wanted in chosen.items():
        unknown = sorted(set(wanted or ()) - there)
        if unknown:
            text = f"{name} has {', '.join(unknown)}, which this version has not; there are {', '.join(sorted(there))}"
            severity = Severity.NOTE if set(wanted or ()) & there else Severity.WARNING
            yield Finding("unknown_toolset", severity, text, f"{home.command} config unset {name}")


def servers(home: Home, settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """MCP servers that cannot be tried as they are written. None is started for that."""
    from hermes.app.mcp import servers_of

    for server in servers_of(settings, {**environ, **settings.environ}):
        if server.is_enabled and server.problem:
            mend = f"{home.command} config set mcp_servers.{server.name}.enabled false"
            yield Finding("mcp_server", Severity.WARNING, server.problem, mend)


def _unset(home: Home, sentence: str) -> str | None:
    """`config.yaml: approvals.mod is no setting…`: the place, then the name.

    None for what is wrong with a whole file: its path is the place then, and no command mends that.
    """
    place, found, rest = sentence.partition(": ")
    name = rest.split(" ", 1)[0].rstrip(":")
    if not found or not name or place not in PLACES:
        return None
    return f"unset {name}" if place == "environment" else f"{home.command} config unset {name.partition('[')[0]}"
