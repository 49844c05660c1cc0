"""`hermes -q "…"`: one question for scripts. The answer is on stdout; what goes on, on stderr, for a person."""

from __future__ import annotations

import asyncio
import json
import os
import select
import stat
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hermes.cli.context import plain, repaired
from hermes.cli.talk import Wishes, open_talk
from hermes.core import event as events
from hermes.core.errors import InvalidInput
from hermes.core.event import RunEvent, is_final
from hermes.core.run import Ask, Run

if TYPE_CHECKING:
    from hermes.cli.context import Call
    from hermes.cli.talk import Talk

MAX_STDIN_BYTES = 4 << 20
SILENT_SECONDS = 3.0


def ask(
    call: Call,
    question: str,
    wishes: Wishes,
    *,
    session: str | None = None,
    resume: str | None = None,
    is_continued: bool = False,
    as_json: bool = False,
    is_verbose: bool = False,
) -> int:
    """The exit code: 0 answered, 1 not. `session` is made where it is not there, `resume` must be there.

    Raises InvalidInput for nothing to ask, and what `Talk.start` does.
    """
    text = _asked(question)
    try:
        return asyncio.run(_ask(call, text, wishes, session, resume, is_continued, as_json, is_verbose))
    except KeyboardInterrupt:
        return 130


async def _ask(
    call: Call,
    text: str,
    wishes: Wishes,
    session: str | None,
    resume: str | None,
    is_continued: bool,
    as_json: bool,
    is_verbose: bool,
) -> int:
    from hermes.library.progress import Lines, progress

    is_watched = sys.stderr.isatty()
    shown = progress(is_quiet=not is_watched)
    if is_verbose and not is_watched:
        from contextlib import nullcontext

        shown = nullcontext(Lines(sys.stderr))
    async with open_talk(call, wishes) as talk:
        talk.session_id = session
        if resume is not None:
            await talk.resume(resume)
        elif is_continued:
            await talk.newest()
        run = await talk.start(text, ask=Ask.DENY)
        told: list[RunEvent] = []
        with shown as view:
            try:
                async for kept in talk.follow(run):
                    view.show(kept.event)
                    _tell(kept.event)
                    if not isinstance(kept.event, events.MessageDelta | events.ReasoningDelta):
                        told.append(kept.event)
                    if is_final(kept.event):
                        break
            except asyncio.CancelledError:
                await talk.stop(run)
                raise
        return _answer(talk, await talk.engine.runner.get(run.id, run.owner), told, as_json=as_json)


def _answer(talk: Talk, run: Run, told: list[RunEvent], *, as_json: bool) -> int:
    final = told[-1] if told else None
    error = _error(final)
    response = run.output or ""
    if as_json:
        facts: dict[str, Any] = {
            "response": response,
            "session_id": run.session_id,
            "run_id": run.id,
            "status": run.status.value,
            "model": run.model,
            "usage": asdict(run.usage),
            "tools": [_tool(one, told) for one in told if isinstance(one, events.ToolStarted)],
            "error": error,
        }
        print(json.dumps(facts, ensure_ascii=False))
    elif response:
        sys.stdout.write(plain(response) if sys.stdout.isatty() else response)
        sys.stdout.write("" if response.endswith("\n") else "\n")
    sys.stdout.flush()
    if error is not None:
        print(f"hermes: {plain(error['message'])}", file=sys.stderr)
        return 1
    return 0


def _tell(event: RunEvent) -> None:
    """What a script's owner has to know in any case: something was not done."""
    if isinstance(event, events.Warned):  # a call that was denied, too
        print(f"hermes: {plain(event.message)}", file=sys.stderr)


def _error(final: RunEvent | None) -> dict[str, Any] | None:
    match final:
        case events.RunCompleted():
            return None
        case events.RunFailed(error=error):
            return {"message": str(error.get("message", "")), "code": error.get("code")}
        case events.RunCancelled(reason=reason):
            return {"message": f"the run was stopped{': ' + reason if reason else ''}", "code": "run_cancelled"}
        case events.RunInterrupted(reason=reason):
            return {"message": f"the run was interrupted: {reason}", "code": "run_interrupted"}
        case _:
            return {"message": "the run ended without saying how", "code": None}


def _tool(started: events.ToolStarted, told: list[RunEvent]) -> dict[str, Any]:
    ended = next(
        (one for one in told if isinstance(one, events.ToolCompleted) and one.tool_call_id == started.tool_call_id),
        None,
    )
    return {
        "tool": started.tool,
        "preview": started.preview,
        "seconds": None if ended is None else ended.duration,
        "error": None if ended is None else ended.error,
    }


def _asked(question: str) -> str:
    """`-` is stdin alone; what is piped in comes behind a question. Raises InvalidInput."""
    piped, question = _piped(), repaired(question)
    text = piped if question == "-" else "\n\n".join(part for part in (question.strip(), piped) if part)
    if not text.strip():
        raise InvalidInput("there is nothing to ask: hermes -q 'your question', or text on stdin with -q -")
    return text


def _piped() -> str:
    """What a pipe or a file on stdin holds; nothing of a terminal, or where stdin is closed. Waits for its end."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    try:
        mode = stat.S_IFMT(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError):
        return ""
    if mode == stat.S_IFCHR:  # /dev/null
        return ""
    if mode in (stat.S_IFIFO, stat.S_IFSOCK) and sys.platform != "win32":
        ready, _, _ = select.select([sys.stdin], [], [], SILENT_SECONDS)
        if not ready:
            print("hermes: waiting for the end of stdin; without one, add </dev/null", file=sys.stderr)
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise InvalidInput(f"stdin holds more than {MAX_STDIN_BYTES >> 20} MiB; give the agent the file's path instead")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("stdin is not UTF-8 text; give the agent the file's path instead") from None
    if "\x00" in text:
        raise InvalidInput("stdin holds binary data; give the agent the file's path instead")
    return text.strip("\n")
