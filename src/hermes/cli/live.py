"""A turn as a person at a terminal sees it: markdown that grows, a line for each tool, questions, and what is going on.

What can no longer change is written once and scrolls away; only the last block, the tools under way and the status
line are rewritten. `TurnView` needs a terminal that can move its cursor; `PlainTurnView` does with any.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from hermes.cli.markdown import MarkdownRows
from hermes.cli.region import Region
from hermes.cli.render import PlainView, clarification_text, one_line, question_text
from hermes.core import event as events
from hermes.core.event import RunEvent, event_data, is_final

REFRESH_SECONDS = 0.05
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ASCII_SPINNER = "|/-\\"
BARE = frozenset({"terminal", "execute_code"})
"""Tools whose preview says what they are."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the screen can do. `can_move`: its cursor can be moved, so that lines can be rewritten."""

    out: TextIO
    can_move: bool = True
    has_color: bool = True
    is_unicode: bool = True

    @property
    def width(self) -> int:
        return max(shutil.get_terminal_size().columns, 20)

    @property
    def height(self) -> int:
        return max(shutil.get_terminal_size().lines, 6)


def terminal_of(environ: dict[str, str], out: TextIO | None = None) -> Terminal:
    """What `TERM`, `NO_COLOR` and the encoding say."""
    stream = out or sys.stdout
    encoding = (stream.encoding or "").lower().replace("-", "")
    is_dumb = environ.get("TERM", "") in ("dumb", "unknown", "")
    return Terminal(
        stream,
        can_move=stream.isatty() and not is_dumb,
        has_color=not environ.get("NO_COLOR") and not is_dumb,
        is_unicode=encoding.startswith("utf"),
    )


class View(Protocol):
    """`typed` is what the person has written meanwhile; `ask` puts a question's keys into the last row."""

    def show(self, event: RunEvent) -> None: ...
    def tick(self) -> None: ...
    def type(self, text: str) -> None: ...
    def ask(self, keys: str) -> None: ...
    def note(self, text: str) -> None: ...
    def doing(self, what: str) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _UnderWay:
    text: str
    began: float


@dataclass(slots=True)
class TurnView:
    terminal: Terminal
    shows_reasoning: bool = True
    monotonic: Callable[[], float] = time.monotonic
    _region: Region = field(init=False)
    _draw: MarkdownRows = field(init=False)
    _kept: list[str] = field(default_factory=list)
    _text: str = ""
    _thought: str = ""
    _last: str = "prompt"
    _status: str = "thinking"
    _typed: str = ""
    _keys: str = ""
    _tools: dict[str, _UnderWay] = field(default_factory=dict)
    _began: float = 0.0
    _growing: list[str] = field(default_factory=list)
    _has_grown: bool = False
    _drawn_at: float = -1.0
    _cost_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._region = Region(self.terminal.out)
        self._draw = MarkdownRows(has_color=self.terminal.has_color, is_unicode=self.terminal.is_unicode)
        self._began = self.monotonic()
        self._region.hide_cursor()
        self._redraw()

    def show(self, event: RunEvent) -> None:
        match event:
            case events.MessageDelta(delta):
                if self._thought:
                    self._end_block()
                self._text += delta
                self._status = "answering"
                self._redraw_soon()
                return
            case events.ReasoningDelta(delta):
                if self._text:
                    self._end_block()
                self._thought += delta
                self._redraw_soon()
                return
            case events.ToolStarted():
                self._end_block()
                self._tools[event.tool_call_id] = _UnderWay(tool_text(event), self.monotonic())
            case events.ToolCompleted():
                self._end_block()
                self._keep_ended(event.tool_call_id, event.tool, event.duration, event.error)
                self._status = "thinking"
            case events.SubagentStarted(subagent_id=child, goal=goal):
                self._end_block()
                self._tools[child] = _UnderWay(f"👥 {one_line(goal, 200)}", self.monotonic())
            case events.SubagentCompleted(subagent_id=child, duration=duration, error=error):
                self._end_block()
                self._keep_ended(child, child, duration, error)
            case events.ApprovalRequested():
                self._end_block()
                self._keep(self._draw.wrapped(question_text(event_data(event)), self._width, "yellow"), "question")
            case events.ApprovalResponded(choice=choice, by=by, outcome=outcome):
                who = f" by {by}" if by else ""
                how = "" if outcome == "user" else f" ({outcome})"
                self._keep([self._draw.cropped(f"    {self._arrow} {choice}{who}{how}", self._width, "dim")], "answer")
            case events.ClarifyRequested(question=question, choices=choices):
                self._end_block()
                numbered = [f"    {number}. {choice}" for number, choice in enumerate(choices, 1)]
                text = "\n".join(["? " + question, *numbered])
                self._keep(self._draw.wrapped(text, self._width, "yellow"), "question")
            case events.ClarifyResponded(answer=answer, by=by):
                who = f" (by {by})" if by else ""
                text = f"    {self._arrow} {one_line(answer or 'nobody answered', 400)}{who}"
                self._keep([self._draw.cropped(text, self._width, "dim")], "answer")
            case events.RunStarted() | events.ReasoningAvailable():
                pass
            case events.RunCompleted():
                self._end_block()
            case _:
                self._end_block()
                if is_final(event):
                    self._end_tools()
                text = PlainView().show({"event": event.name, **event_data(event)}).rstrip("\n")
                if text:
                    style = "red" if isinstance(event, events.RunFailed) else "yellow"
                    self._keep(self._draw.wrapped(text, self._width, style), "line")
        self._redraw()

    def tick(self) -> None:
        """Called ten times a second: the spinner turns, and text that waited is drawn."""
        self._refresh()

    def type(self, text: str) -> None:
        self._typed = text
        self._refresh()

    def ask(self, keys: str) -> None:
        """Empty: the question is answered."""
        self._keys = keys
        self._refresh()

    def doing(self, what: str) -> None:
        """Until something happens."""
        self._status = what
        self._refresh()

    def note(self, text: str) -> None:
        """A line of ours among those of the run."""
        self._end_block()
        self._keep(self._draw.wrapped(text, self._width, "dim"), "line")
        self._redraw()

    def close(self) -> None:
        """The turn is over, or left: nothing is live any more."""
        self._end_block()
        self._end_tools()
        self._region.show(self._taken(), [])
        self._region.show_cursor()

    @property
    def _width(self) -> int:
        return self.terminal.width - 1  # in the last column terminals differ

    @property
    def _arrow(self) -> str:
        return "↳" if self.terminal.is_unicode else "->"

    def _end_block(self) -> None:
        self._end_thought()
        self._end_text()
        self._growing = []

    def _end_text(self) -> None:
        self._keep_blocks()
        if self._text.strip():
            self._keep(self._draw.rows(self._text, self._width), "text")
        self._text = ""

    def _keep_blocks(self) -> None:
        """Each by itself, so that it does not matter which came together."""
        if self._text:
            blocks, self._text = self._draw.split(self._text)
            for block in blocks:
                if block.strip():
                    self._keep(self._draw.rows(block, self._width), "text")

    def _end_thought(self) -> None:
        if self._thought.strip() and self.shows_reasoning:
            self._keep(self._draw.dimmed(self._thought, self._width), "thought")
        self._thought = ""

    def _keep_ended(self, key: str, name: str, seconds: float, error: str | None) -> None:
        tool = self._tools.pop(key, None)
        self._line(tool.text if tool is not None else name, "", f"  {seconds:.1f}s")
        if error:
            self._line(f"   {self._arrow} failed: {one_line(error, 400)}", "red")

    def _end_tools(self) -> None:
        for tool in self._tools.values():
            self._line(tool.text, "", "  not finished")
        self._tools.clear()

    def _line(self, text: str, style: str, behind: str = "") -> None:
        """One that is cut to the width; `behind` is not."""
        rows = [self._draw.cropped(line, self._width - len(behind), style) for line in text.split("\n")]
        if behind:
            rows[-1] += f"\x1b[2m{behind}\x1b[0m"
        self._keep(rows, "line")

    def _keep(self, rows: list[str], kind: str) -> None:
        if rows and self._gap(kind):
            self._kept.append("")
        self._kept += rows
        self._last = kind

    def _gap(self, kind: str) -> bool:
        return kind != "answer" and (kind != self._last or kind in ("text", "question"))

    def _redraw_soon(self) -> None:
        """Not at each token: drawing a long block takes a tenth of the time at most."""
        self._has_grown = True
        if self._is_due(REFRESH_SECONDS):
            self._redraw()

    def _is_due(self, at_least: float = 0.0) -> bool:
        return self.monotonic() - self._drawn_at >= max(at_least, 10 * self._cost_seconds)

    def _refresh(self) -> None:
        """What is cheap, and the rest where it has changed and is due."""
        if self._has_grown and self._is_due():
            self._redraw()
        else:
            self._region.show(self._taken(), self._live())

    def _redraw(self) -> None:
        began = self.monotonic()
        self._keep_blocks()
        self._growing = self._drawn()
        self._has_grown = False
        self._region.show(self._taken(), self._live())
        self._drawn_at = self.monotonic()
        self._cost_seconds = self._drawn_at - began

    def _drawn(self) -> list[str]:
        """The block that grows."""
        rows: list[str] = []
        kind = ""
        if self._text.strip():
            rows, kind = self._draw.rows(self._text, self._width), "text"
        elif self._thought.strip() and self.shows_reasoning:
            rows, kind = self._draw.dimmed(self._thought, self._width), "thought"
        return ["", *rows] if rows and self._gap(kind) else rows

    def _taken(self) -> list[str]:
        kept, self._kept = self._kept, []
        return kept

    def _live(self) -> list[str]:
        """The block that grows, cut at its head where the screen is too small for it, then what is going on."""
        now = self.monotonic()
        tools = [
            self._draw.cropped(f"{tool.text}  {now - tool.began:.0f}s", self._width) for tool in self._tools.values()
        ]
        room = self.terminal.height - 3
        below = [*tools[-(room - 1) :], *self._status_rows(now)]
        return [*self._growing[-max(room - len(below), 1) :], *below]

    def _status_rows(self, now: float) -> list[str]:
        if self._keys:
            return [self._draw.cropped(self._keys, self._width, "bold"), *self._typed_rows()]
        glyphs = SPINNER if self.terminal.is_unicode else ASCII_SPINNER
        seconds = now - self._began
        what = "working" if self._tools else self._status
        status = f"{glyphs[int(seconds * 10) % len(glyphs)]} {what} {seconds:.0f}s"
        hint = "Ctrl-C stops; what you type is told to it" if not self._typed else ""
        return [self._draw.cropped(f"{status}  {hint}".rstrip(), self._width, "dim"), *self._typed_rows()]

    def _typed_rows(self) -> list[str]:
        mark = "» " if self.terminal.is_unicode else "> "
        return [self._draw.cropped(mark + self._typed[-(self._width - 4) :], self._width)] if self._typed else []


class PlainTurnView:
    """Lines that are only added to, as `hermes runs watch` shows them."""

    def __init__(self, terminal: Terminal, *, shows_reasoning: bool = True) -> None:
        self.terminal = terminal
        self._view = PlainView()
        self._shows_reasoning = shows_reasoning

    def show(self, event: RunEvent) -> None:
        match event:
            case events.RunCompleted():
                self.close()
            case events.ReasoningDelta() if not self._shows_reasoning:
                pass
            case events.ApprovalRequested():
                self._write(self._view.own_line(question_text(event_data(event))))
            case events.ClarifyRequested():
                self._write(self._view.own_line(clarification_text(event_data(event))))
            case events.ToolStarted():
                self._write(self._view.own_line(one_line(tool_text(event), 200)))
            case _:
                self._write(self._view.show({"event": event.name, **event_data(event)}))

    def tick(self) -> None:
        pass

    def type(self, text: str) -> None:
        pass

    def ask(self, keys: str) -> None:
        if keys:
            self._write(self._view.own_line(keys))

    def doing(self, what: str) -> None:
        pass

    def note(self, text: str) -> None:
        self._write(self._view.own_line(text))

    def close(self) -> None:
        if self._view.is_in_line:
            self._write("\n")
            self._view.is_in_line = False

    def _write(self, text: str) -> None:
        self.terminal.out.write(text)
        self.terminal.out.flush()


def tool_text(event: events.ToolStarted) -> str:
    name = "" if event.tool in BARE and event.preview else event.tool
    return " ".join(part for part in (event.emoji, name, one_line(event.preview, 200)) if part)
