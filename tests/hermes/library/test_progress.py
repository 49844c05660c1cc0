"""What a call prints, and that a quiet one prints nothing at all."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes.core import event as events
from hermes.library.progress import lines
from hermes.models.scripted import Call, Step
from run_agent import AIAgent

pytestmark = pytest.mark.sqlite("an agent without a store has its data in memory")

HAPPENS = (
    Step(status=500, times=1),
    Step(tool_calls=(Call("terminal", {"command": "echo hi"}), Call("read_file", {"path": "missing.txt"}))),
    "Done.",
)


def test_quiet_mode_prints_nothing_even_when_things_fail(play, capfd):
    server = play(*HAPPENS, Step(status=401))
    with AIAgent(model="m", base_url=server.base_url, quiet_mode=True) as asked:
        assert asked.run_conversation("Hello")["completed"]
        assert asked.run_conversation("Hello")["failed"]
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_there_is_a_plain_line_for_each_thing(play, capfd):
    server = play(*HAPPENS)
    with AIAgent(model="m", base_url=server.base_url) as asked:
        asked.chat("Hello")
    out, err = capfd.readouterr()
    assert out == ""
    assert "terminal: echo hi\n" in err
    assert "terminal: done in" in err
    assert "read_file: failed in" in err
    assert "asking m again in" in err
    assert "\x1b" not in err


def test_nothing_is_printed_for_what_is_no_news():
    assert lines(events.MessageDelta("text")) == []


@pytest.fixture
def a_terminal() -> Iterator[tuple[int, int]]:
    pty = pytest.importorskip("pty")
    reader, writer = pty.openpty()
    yield reader, writer
    os.close(reader)


SCRIPT = """
import sys
from run_agent import AIAgent
with AIAgent(model="m", base_url=sys.argv[1]) as agent:
    print(agent.chat("Hello"))
"""


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_a_spinner_unless_no_color_is_set(play, a_terminal, no_color: str):
    server = play(*HAPPENS)
    reader, writer = a_terminal
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": no_color}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, server.base_url], stderr=writer, stdout=subprocess.PIPE, env=environ, text=True
    )
    os.close(writer)
    shown = io.BytesIO()
    while piece := _read(reader):
        shown.write(piece)
    text = shown.getvalue().decode()
    assert done.stdout == "Done.\n"
    assert "terminal: echo hi" in text
    assert ("\x1b[" in text) is (no_color == "")


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except OSError:  # the other end is closed
        return b""


def test_the_working_directory_stays_clean(play, nowhere: Path):
    server = play(*HAPPENS)
    with AIAgent(model="m", base_url=server.base_url, quiet_mode=True) as asked:
        asked.chat("Hello")
    assert list(nowhere.iterdir()) == []


def test_that_the_history_became_shorter_is_a_line():
    said = "too long for the model, which is shown it in short: about 12,000 tokens, now 5,000"
    assert lines(events.ContextCompacted(12_000, 5_000, 40)) == [said]
