"""A turn on a screen: whatever pieces its text comes in, and however small the screen is, the end is the same."""

from __future__ import annotations

import io
import itertools
import os
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.cli.live import Terminal, TurnView
from hermes.core import event as events
from hermes.core.event import RunEvent
from tests.support.terminal import Screen

MARKDOWN = """\
# A title

A paragraph with `code`, **bold** and a [link](https://example.org/x), long enough to be wrapped on every screen here.

1. one

   and more of it
2. two
   - inner

```python
def long(code):
{lines}
```

| a | b |
|---|---|
| 1 | 2 |

> quoted
> twice

Setext
======

The end."""
LONG = MARKDOWN.format(lines="\n".join(f"    line({number})" for number in range(60)))


class Wire(io.StringIO):
    """What is written goes to the screen as a terminal in its usual mode does it."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        self.screen.feed(text)
        return len(text)


class Clock:
    """A tenth of a second passes at each look, so that every piece is drawn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


@pytest.fixture(autouse=True)
def size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "60")
        patch.setenv("LINES", "20")
        yield


def shown(happened: Sequence[RunEvent], *, shows_reasoning: bool = True) -> Wire:
    wire = Wire(Screen(int(os.environ["COLUMNS"]), int(os.environ["LINES"])))
    view = TurnView(Terminal(wire), shows_reasoning=shows_reasoning, monotonic=Clock())
    for event in happened:
        view.show(event)
        view.tick()
    view.close()
    return wire


def in_pieces(text: str, cuts: Sequence[int]) -> list[RunEvent]:
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    return [events.MessageDelta(text[one:other]) for one, other in itertools.pairwise(places)]


def started(number: int = 1, preview: str = "pwd") -> events.ToolStarted:
    return events.ToolStarted("terminal", f"call_{number}", preview, {}, "💻", "Run a command")


def completed(number: int = 1, error: str | None = None) -> events.ToolCompleted:
    return events.ToolCompleted("terminal", f"call_{number}", 0.25, error, "")


def test_a_block_longer_than_the_screen_is_whole_in_the_scroll_back() -> None:
    whole = shown(in_pieces(LONG, [])).screen.text
    assert [line for line in whole.split("\n") if "line(" in line] == [f"      line({number})" for number in range(60)]
    assert shown(in_pieces(LONG, range(0, len(LONG), 7))).screen.text == whole


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(LONG)), max_size=12))
def test_the_pieces_in_which_a_text_comes_leave_no_trace(cuts: list[int]) -> None:
    assert shown(in_pieces(LONG, cuts)).screen.text == shown(in_pieces(LONG, [])).screen.text


def test_only_rows_that_changed_are_written() -> None:
    text = "word " * 30
    wire = shown([events.MessageDelta(text + "\n\n"), *(events.MessageDelta("x") for _ in range(5))])
    assert sum("word" in written for written in wire.written) == 1


def test_nothing_of_a_model_moves_the_cursor() -> None:
    evil = "a\x1b[2Jb\x1b]0;title\x07c\x9bd\rE\u202ef"
    happened: list[RunEvent] = [
        events.MessageDelta(evil),
        events.ReasoningDelta(evil),
        started(1, evil),
        events.ApprovalRequested("appr_1", "terminal", "call_1", evil, evil, ("once", "deny"), False, 0.0),
        events.ClarifyRequested("clar_1", "call_1", evil, (evil,), 0.0),
        events.ClarifyResponded("clar_1", evil, evil, "user"),
        completed(1, evil),
        events.Warned(evil),
        events.RunFailed({"message": evil}),
    ]
    wire = shown(happened)  # the screen knows no other sequences than ours
    ours = "".join(wire.written)
    assert not [part for part in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e") if part in ours]
    assert wire.screen.text.count("\\x1b[2J") >= 6


def test_tools_side_by_side_end_in_the_order_in_which_they_end() -> None:
    happened: list[RunEvent] = [started(1, "one"), started(2, "two"), completed(2), completed(1, "no such thing")]
    assert shown(happened).screen.text == "\n💻 two  0.2s\n💻 one  0.2s\n   ↳ failed: no such thing"


def test_sub_agents_are_told_like_tools() -> None:
    happened: list[RunEvent] = [
        events.ToolStarted("delegate_task", "call_1", "two tasks", {}, "👥", "Delegate"),
        events.SubagentStarted("run_1", "call_1", 0, "count the files"),
        events.SubagentStarted("run_2", "call_1", 1, "read them"),
        events.SubagentCompleted("run_2", "call_1", 1, "failed", 1.5, "", "no model", {}),
        events.SubagentCompleted("run_1", "call_1", 0, "completed", 2.5, "7", None, {}),
        events.ToolCompleted("delegate_task", "call_1", 2.6, None, ""),
    ]
    assert shown(happened).screen.text.split("\n")[1:] == [
        "👥 read them  1.5s",
        "   ↳ failed: no model",
        "👥 count the files  2.5s",
        "👥 delegate_task two tasks  2.6s",
    ]


def test_more_tools_at_once_than_the_screen_has_rows_are_all_told_in_the_end() -> None:
    numbers = list(range(40))
    random.Random(7).shuffle(numbers)
    happened: list[RunEvent] = [
        *(started(number, f"n{number}") for number in range(40)),
        *(completed(number) for number in numbers),
    ]
    assert shown(happened).screen.text.split("\n")[1:] == [f"💻 n{number}  0.2s" for number in numbers]


def test_what_the_model_thinks_can_be_hidden() -> None:
    happened: list[RunEvent] = [events.ReasoningDelta("Let me think."), events.MessageDelta("So.")]
    assert shown(happened).screen.text == "\nLet me think.\n\nSo."
    assert shown(happened, shows_reasoning=False).screen.text == "\nSo."


def test_a_run_that_ends_otherwise_says_how_and_what_was_under_way() -> None:
    assert shown([started(), events.RunCancelled("stopped by the user")]).screen.text == (
        "\n💻 pwd  not finished\n✗ stopped: stopped by the user"
    )
    assert shown([events.MessageDelta("Half a"), events.RunFailed({"message": "gone"})]).screen.text == (
        "\nHalf a\n\n✗ failed: gone"
    )
