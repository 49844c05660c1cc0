"""A scripted model on a socket, and an environment without a home or a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from hermes.models.scripted import ScriptedModelServer, Step

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test; no home exists."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "no-home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def play() -> Iterator[Callable[..., ScriptedModelServer]]:
    """`play("Hello", Step(…))` starts a server with that script, on a loop of its own."""
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        yield lambda *script: thread.submit(stack.enter_context, ScriptedModelServer(script)).result()


@pytest.fixture
def echo(play: Callable[..., ScriptedModelServer]) -> ScriptedModelServer:
    return play(Step(text="You said: {{user}}", times=0))
