"""`hermes sessions`: what was said, found again, taken out and thrown away.

Reading goes straight to the store, with or without a running gateway; deleting goes through the gateway when one runs.
All of it is the owner's: what a named key made is seen with that key, over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import call_of, new_app, open_store, plain, table
from hermes.core.errors import ConfigError, Conflict, HermesError, InvalidInput, NotFound

if TYPE_CHECKING:
    from hermes.core.session import KeptMessage, Session
    from hermes.home.paths import Home
    from hermes.store.database import Database

app = new_app("List, show, search, export and delete sessions.")

OWNER = "owner"
PAGE = 200

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_AGE = re.compile(r"([0-9]{1,5})\s*(m|h|d|w)\Z")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@app.command("list")
def list_sessions(
    ctx: typer.Context,
    words: Annotated[str | None, typer.Argument(help="What the title or the first line must hold.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    source: Annotated[str | None, typer.Option(help="Only those that came in by it: api, cron, library, …")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Chats that re-send their history, and sub-agents'.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the sessions, the most recently active first."""
    from hermes.store.session_list import Listing, list_sessions, summary

    listing = Listing(
        limit=limit, source=source, words=words, include_stateless=everything, include_children=everything
    )
    with _store(ctx) as (_, database):
        found = database.read_now(list_sessions, OWNER, listing)
    if as_json:
        print(json.dumps([summary(session) for session in found], indent=2, ensure_ascii=False))
    elif not found:
        print("No sessions here." if words is None else f"No session has {words!r} in its title or first line.")
    else:
        rows = [
            (one.id, _time(one.last_active), str(one.message_count), one.source, _line(one.title or one.preview))
            for one in found
        ]
        print(table([("id", "active", "messages", "source", "title or first line"), *rows]))


@app.command()
def show(
    ctx: typer.Context,
    session_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The last so many messages.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show a session and what was said in it."""
    from hermes.store import sessions as session_store

    with _store(ctx) as (_, database):
        session = _session(database, session_id)
        kept = database.read_now(lambda conn: session_store.messages(conn, session.id, limit=limit, is_newest=True))
    if as_json:
        print(json.dumps(_whole(session, kept), indent=2, ensure_ascii=False))
        return
    for line in _head(session):
        print(line)
    if len(kept) < session.message_count:
        print(f"(the last {len(kept)} of {session.message_count} messages; --limit shows more)")
    for one in kept:
        print()
        print(plain(_as_text(one)))


@app.command()
def search(
    ctx: typer.Context,
    query: Annotated[list[str], typer.Argument(help="Words that must all be there; '\"a phrase\"', head*.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="In chats that re-send their history, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search the text of all messages, the newest first."""
    from hermes.core.clock import SystemClock
    from hermes.sessions import Sessions
    from hermes.store.search import Filter

    only = Filter(include_stateless=everything)
    with _store(ctx) as (_, database):
        sessions = Sessions(database, SystemClock())
        found = asyncio.run(sessions.search(OWNER, " ".join(query), limit=limit, only=only))
    if as_json:
        from hermes.api.sessions.handlers import hit_object

        print(json.dumps([hit_object(hit) for hit in found.hits], indent=2, ensure_ascii=False))
    elif not found.hits:
        print("Nothing found.")
    for hit in () if as_json else found.hits:
        title = f"  {_line(hit.title)}" if hit.title else ""
        print(f"{hit.session_id}  {_time(hit.created_at)}  {hit.role}{title}")
        print(f"    {_line(hit.snippet, 400)}")
    if found.pending:
        typer.echo(f"{found.pending} messages are not in the index yet; try again in a moment", err=True)


@app.command()
def export(
    ctx: typer.Context,
    session_id: Annotated[str | None, typer.Argument(help="One session; all of them without it.")] = None,
    form: Annotated[str, typer.Option("--format", help="jsonl (a session a line) or markdown.")] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Into this new file; else on the screen.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Of all, only those that came in by it.")] = None,
) -> None:
    """Write sessions with all that was said in them, images and tool results included."""
    from hermes.store import sessions as session_store

    if form not in ("jsonl", "markdown"):
        raise InvalidInput(f"--format is jsonl or markdown, not {form!r}", param="format")
    count = 0
    with _store(ctx) as (_, database), sink(output) as file:
        for session in _chosen(database, session_id, source):
            kept = database.read_now(lambda conn, of: session_store.messages(conn, of, limit=2**31), session.id)
            if form == "jsonl":
                file.write(json.dumps(_whole(session, kept), ensure_ascii=False) + "\n")
            else:
                file.write(("\n" if count else "") + _markdown(session, kept))
            count += 1
    if output is not None:
        print(f"Wrote {count} sessions to {output}.")


@app.command()
def delete(
    ctx: typer.Context,
    session_ids: Annotated[list[str], typer.Argument(metavar="SESSION_ID...", help="Ids, or beginnings of them.")],
    yes: Yes = False,
) -> None:
    """Delete sessions with all that was said and done in them."""
    with _store(ctx) as (home, database):
        sessions = [_session(database, one) for one in session_ids]
        for session in sessions:
            print(f"{session.id}  {session.message_count} messages  {_line(session.title or session.preview)}")
        _confirm(f"Delete {_number(len(sessions))}?", yes)
        _delete(ctx, home, database, [session.id for session in sessions])
    print(f"Deleted {_number(len(sessions))}.")


@app.command()
def prune(
    ctx: typer.Context,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Not active for so long: 12h, 30d, 8w.")],
    source: Annotated[str | None, typer.Option(help="Only those that came in by it.")] = None,
    yes: Yes = False,
) -> None:
    """Delete old sessions, but none with an open run."""
    import time

    from hermes.store.session_list import idle

    found = _AGE.match(older_than.strip())
    if found is None:
        raise InvalidInput("--older-than is a number and m, h, d or w: 30d", param="older_than")
    idle_since = time.time() - int(found[1]) * _SECONDS[found[2]]
    with _store(ctx) as (home, database):
        old = database.read_now(lambda conn: idle(conn, OWNER, idle_since, source=source, limit=1_000_000))
        if not old:
            print(f"No session was idle for {older_than}.")
            return
        print(f"{_number(len(old))}, last active between {_time(old[0][2])} and {_time(old[-1][2])}")
        _confirm(f"Delete {_number(len(old))}?", yes)
        _delete(ctx, home, database, [session_id for session_id, _, _ in old])
    print(f"Deleted {_number(len(old))}.")


@contextmanager
def _store(ctx: typer.Context) -> Iterator[tuple[Home, Database]]:
    call = call_of(ctx)
    home = call.home()
    with open_store(call, home) as database:
        yield home, database


def _session(database: Database, beginning: str) -> Session:
    """The session of this id, or the only one whose id begins so. Raises NotFound, InvalidInput."""
    from hermes.store import sessions as session_store
    from hermes.store.session_list import beginning_with

    session = database.read_now(session_store.get, beginning)
    if session is not None and session.owner == OWNER:
        return session
    found = database.read_now(beginning_with, OWNER, beginning)
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(f"more than one session begins with {beginning!r}: {', '.join(one.id for one in found)}")
    raise NotFound(f"no session {beginning!r}; list them with: hermes sessions list --all", code="session_not_found")


def _chosen(database: Database, session_id: str | None, source: str | None) -> Iterator[Session]:
    """One, or all of them a page at a time."""
    from hermes.store.session_list import Listing, list_sessions

    if session_id is not None:
        yield _session(database, session_id)
        return
    before: tuple[float, str] | None = None
    while True:
        listing = Listing(limit=PAGE, before=before, source=source, include_stateless=True, include_children=True)
        page = database.read_now(list_sessions, OWNER, listing)
        yield from page
        if len(page) < PAGE:
            return
        before = page[-1].last_active, page[-1].id


def _delete(ctx: typer.Context, home: Home, database: Database, session_ids: Iterable[str]) -> None:
    """Through the gateway, which knows what runs. Without one nothing runs, whatever the store says."""
    from hermes.cli.gateway_client import GatewayRefused, gateway_client
    from hermes.store import sessions as session_store

    client = gateway_client(home, call_of(ctx).environ)
    for session_id in session_ids:
        if client is None:
            database.write_now(session_store.delete, session_id)
            continue
        try:
            client.call("DELETE", f"/api/sessions/{urllib.parse.quote(session_id, safe='')}")
        except GatewayRefused as refused:
            if refused.code != "session_not_found":  # gone meanwhile: as was asked
                raise


def _confirm(question: str, yes: bool) -> None:
    """Raises ConfigError where nobody can be asked, HermesError where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("this deletes for good, and there is nobody to ask: add --yes")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise HermesError("nothing was deleted", code="not_confirmed")


@contextmanager
def sink(output: Path | None) -> Iterator[IO[str]]:
    """A new file that only its owner reads, gone again where it does not become whole; or the standard output. Raises
    Conflict `file_exists`."""
    if output is None:
        yield sys.stdout
        return
    from hermes.home.files import naming, open_private

    try:
        file = open(output, "x", encoding="utf-8", opener=open_private)  # noqa: SIM115 closed below
    except FileExistsError:
        raise Conflict(f"{output} exists already, and an export overwrites nothing", code="file_exists") from None
    try:
        with naming(output), file:
            yield file
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _whole(session: Session, kept: Iterable[KeptMessage]) -> dict[str, Any]:
    from hermes.api.sessions.handlers import message_object
    from hermes.store.session_list import summary

    told = {**summary(session), "system_prompt": session.system_prompt}
    return {"session": told, "messages": [message_object(one) for one in kept]}


def _head(session: Session) -> list[str]:
    usage = session.usage
    cost = "" if usage.cost_usd is None else f", {usage.cost_usd:.4f} USD"
    facts = [
        ("session", session.id),
        ("title", plain(session.title or "")),
        ("source", session.source),
        ("model", session.model or session.model_choice or ""),
        ("forked from", session.parent_session_id or ""),
        ("active", f"{_time(session.started_at)} to {_time(session.last_active)}"),
        ("ended", plain(session.end_reason or "")),
        ("messages", f"{session.message_count}, tool calls {session.tool_call_count}"),
        ("tokens", f"{usage.input_tokens} in, {usage.output_tokens} out, {usage.api_calls} model calls{cost}"),
    ]
    return table([(name, value) for name, value in facts if value]).splitlines()


def _as_text(kept: KeptMessage) -> str:
    message = kept.message
    who = f"{message.role} {message.name}" if message.name else message.role
    lines = [f"── {who} · {_time(kept.created_at)} · {kept.id}"]
    text = message.text
    if text:
        lines.append(text)
    if not isinstance(message.content, str):
        lines += [
            f"[{type(part).__name__.removesuffix('Part').lower()}]" for part in message.content[:50] if _is_file(part)
        ]
    lines += [f"→ {call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(lines)


def _is_file(part: object) -> bool:
    from hermes.core.message import TextPart

    return not isinstance(part, TextPart)


def _markdown(session: Session, kept: Iterable[KeptMessage]) -> str:
    parts = [
        f"# {_line(session.title or session.preview or session.id)}",
        f"Session `{session.id}`, {session.source}, {_time(session.started_at)}",
    ]
    for one in kept:
        message = one.message
        title = f"{message.role}: {message.name}" if message.name else message.role
        parts.append(f"## {title}")
        if message.role == "tool":
            parts.append(_fenced(message.text))
        elif message.text:
            parts.append(message.text)
        parts += [f"Calls `{call.name}`:\n\n{_fenced(call.arguments, 'json')}" for call in message.tool_calls]
    return "\n\n".join(parts) + "\n"


def _fenced(text: str, language: str = "") -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _line(text: str, most: int = 80) -> str:
    line = plain(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _number(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
