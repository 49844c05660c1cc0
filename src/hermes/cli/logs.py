"""`hermes logs`: what the gateway logged. Secrets were taken out when it was written."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from hermes.cli.context import call_of, new_app
from hermes.core.errors import InvalidInput

app = new_app("Show what the gateway logged.")
app.info.no_args_is_help = False

LEVELS = ("debug", "info", "warning", "error", "critical")
_OWN = ("time", "level", "logger", "message", "exception", "color_message")

Wanted = Callable[[dict[str, Any]], bool]


@app.callback(invoke_without_command=True)
def logs(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    level: Annotated[str, typer.Option(help="debug, info, warning or error, and what is above.")] = "debug",
    access: Annotated[bool, typer.Option("--access", help="The requests, a line each, instead.")] = False,
    since: Annotated[str | None, typer.Option(help="No older ones: 30s, 10m, 2h, 1d, or an ISO time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the lines as they are kept.")] = False,
) -> None:
    """Show what the gateway logged."""
    from hermes.home.log_files import LogFile, parse_since

    if level not in LEVELS:
        raise InvalidInput(f"there is no level {level!r}: use {', '.join(LEVELS)}", param="level")
    home = call_of(ctx).home()
    begin = parse_since(since, time.time()) if since is not None else 0.0
    file = LogFile(home.logs_dir / ("access.log" if access else "gateway.log"))
    show = _as_it_is if as_json else _access_line if access else _line
    last: list[dict[str, Any]] = []
    if lines > 0 or follow:
        for raw in file.newest_first():
            record = _record(raw)
            if len(last) >= lines or _seconds(record) < begin:
                break
            if _is_wanted(record, level):
                last.append(record)
    for record in reversed(last):
        print(show(record))
    if not follow:
        if not last and not file.path.exists():
            typer.echo(f"nothing was logged yet in {file.path}", err=True)
        return
    sys.stdout.flush()
    for raw in file.follow():
        record = _record(raw)
        if _is_wanted(record, level):
            print(show(record), flush=True)


def _record(raw: bytes) -> dict[str, Any]:
    """A line that is no JSON, cut by a full disk, is shown as it is."""
    try:
        record = json.loads(raw)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"message": raw.decode("utf-8", "replace")}


def _is_wanted(record: dict[str, Any], level: str) -> bool:
    """An access line has no level, and counts by how it went."""
    own = record.get("level")
    if own is None and "status" in record:
        own = "error" if record["status"] >= 500 else "warning" if record["status"] >= 400 else "info"
    return own not in LEVELS or LEVELS.index(own) >= LEVELS.index(level)


def _seconds(record: dict[str, Any]) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(record["time"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return float("inf")


def _line(record: dict[str, Any]) -> str:
    fields = "".join(f"  {key}={value}" for key, value in record.items() if key not in _OWN)
    text = f"{record.get('level', '')} {record.get('logger', '')}: {record.get('message', '')}{fields}"
    line = f"{_clock(record)} {_printable(text)}"
    exception = record.get("exception")
    return "\n".join([line, *(f"  {_printable(each)}" for each in str(exception).splitlines())]) if exception else line


def _access_line(record: dict[str, Any]) -> str:
    told = [str(record.get(name) or "-") for name in ("method", "path", "status", "key", "request_id")]
    told.insert(3, f"{record.get('ms', 0)}ms")
    return f"{_clock(record)} {_printable(' '.join(told))}" if "method" in record else _line(record)


def _as_it_is(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


def _clock(record: dict[str, Any]) -> str:
    seconds = _seconds(record)
    if seconds == float("inf"):
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _printable(text: str) -> str:
    """What was logged cannot move the cursor of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
