"""What a person at a terminal sees while a call runs: a spinner, and a line for each tool. All of it on stderr."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from hermes.core import event as events
from hermes.core.event import RunEvent

if TYPE_CHECKING:
    from rich.status import Status


class Progress(Protocol):
    def show(self, event: RunEvent) -> None: ...


class Silence:
    def show(self, event: RunEvent) -> None:
        pass


class Lines:
    """A line for each thing that happened, without colours: for logs, pipes and NO_COLOR."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: RunEvent) -> None:
        for line in lines(event):
            print(line, file=self._stream, flush=True)


class Spinner:
    """The same lines above a spinner that says what is going on."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __enter__(self) -> Spinner:
        self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._status.stop()

    def show(self, event: RunEvent) -> None:
        for line in lines(event):
            self._status.console.print(line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
        match event:
            case events.ToolStarted(tool=tool, label=label):
                self._status.update(f"{label or tool} …")
            case events.ApprovalRequested() | events.ClarifyRequested():
                self._status.stop()  # whoever answers may want to read from this terminal
            case events.ApprovalResponded() | events.ClarifyResponded():
                self._status.start()
            case events.ToolCompleted():
                self._status.update("thinking …")
            case events.MessageDelta():
                self._status.update("answering …")


def progress(*, is_quiet: bool) -> AbstractContextManager[Progress]:
    if is_quiet:
        return nullcontext(Silence())
    stream = sys.stderr
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return nullcontext(Lines(stream))
    from rich.console import Console

    return Spinner(Console(file=stream).status("thinking …"))


def lines(event: RunEvent) -> list[str]:
    match event:
        case events.ToolStarted(tool=tool, preview=preview, emoji=emoji):
            return [" ".join(part for part in (emoji, f"{tool}:", preview) if part)]
        case events.ToolCompleted(tool=tool, duration=duration, error=None):
            return [f"   {tool}: done in {duration:.1f} s"]
        case events.ToolCompleted(tool=tool, duration=duration, error=error):
            return [f"   {tool}: failed in {duration:.1f} s: {error}"]
        case events.SubagentStarted(goal=goal):
            return [f"   👥 {' '.join(goal.split())}"]
        case events.SubagentCompleted(duration=duration, error=None):
            return [f"   👥 done in {duration:.1f} s"]
        case events.SubagentCompleted(duration=duration, error=error):
            return [f"   👥 failed in {duration:.1f} s: {error}"]
        case events.ModelRetrying(reason=reason, wait_seconds=wait, model=model):
            return [f"{reason}; asking {model} again in {wait:.1f} s"]
        case events.ContextCompacted(tokens_before=before, tokens_after=after):
            return [f"too long for the model, which is shown it in short: about {before:,} tokens, now {after:,}"]
        case events.Warned(message=message):
            return [f"warning: {message}"]
    return []
