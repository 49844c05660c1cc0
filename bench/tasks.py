"""Ten tasks for a real model, through a real gateway: a score of the whole, from the prompt to what is true in the end.

`make bench ARGS=tasks` asks the model that a new home finds by itself: a local server's, else the built-in one. With
`--model qwen3:8b --base-url http://127.0.0.1:11434/v1` it asks that one. A task has sessions and a folder of its own.
What a person would have to be asked is answered with no. The checks look at files and answers, not at the way there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.servers import BareHome, Gateway

TASK_SECONDS = 300.0
LOOK_SECONDS = 0.3
ASK_SECONDS = 1.0
SHOWN_CHARACTERS = 90
ENDED = ("completed", "failed", "cancelled", "interrupted")
FILES: Mapping[str, str] = {
    "settings.ini": "[server]\nport = 8080\nhost = localhost\n",
    "notes.txt": "Call Marta about the boat.\nBuy lamp oil.\n",
    "logs/server.log": "10:00 INFO start\n10:01 ERROR disk full\n10:02 INFO retry\n10:03 ERROR timeout\n",
    "src/totals.py": "def total(prices):\n    return sum(prices) + 1\n\n\nprint(total([2, 12, 31]))\n",
    "data.json": '{"name": "Pelican", "version": "2.4.1"}\n',
    "letters/a.txt": "The password of the harbour office is on the blue card.\n",
    "letters/b.txt": "Nothing of interest here.\n",
    "letters/c.txt": "The meeting is moved to Thursday.\n",
}


@dataclass(frozen=True)
class Seen:
    """What is there after a task: the folder, the last answer, the home."""

    folder: Path
    answer: str
    home: Path

    def file(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8", "replace") if path.is_file() else ""

    def says(self, pattern: str) -> bool:
        return re.search(pattern, self.answer, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Task:
    """`requests` are said one after another, in sessions of their own where `is_apart`."""

    name: str
    requests: tuple[str, ...]
    is_met: Callable[[Seen], bool]
    is_apart: bool = False


def _count_of_errors(seen: Seen) -> bool:
    return re.search(r"\b2\b", seen.file("errors.txt")) is not None


TASKS: tuple[Task, ...] = (
    Task("read a file", ("Which port is set in settings.ini?",), lambda seen: seen.says(r"\b8080\b")),
    Task(
        "change a file",
        ("Change the port in settings.ini from 8080 to 9090.",),
        lambda seen: seen.file("settings.ini") == FILES["settings.ini"].replace("8080", "9090"),
    ),
    Task(
        "run a command",
        ("How many files are in the folder letters? Answer with the number.",),
        lambda seen: seen.says(r"\b3\b|three"),
    ),
    Task(
        "search",
        ("Which file in the folder letters says something about the harbour office? Name it.",),
        lambda seen: seen.says(r"\ba\.txt") and not seen.says(r"\b[bc]\.txt"),
    ),
    Task(
        "count and write it down",
        ("Count the ERROR lines in logs/server.log and write the number into a new file errors.txt.",),
        _count_of_errors,
    ),
    Task(
        "write a program and run it",
        ("Write a script fib.py that prints the first 10 Fibonacci numbers, and run it.",),
        lambda seen: bool(seen.file("fib.py")) and seen.says("34"),
    ),
    Task(
        "mend a program",
        ("src/totals.py should print 45 and prints 46. Find the mistake and mend it.",),
        lambda seen: "+ 1" not in seen.file("src/totals.py") and "sum(prices)" in seen.file("src/totals.py"),
    ),
    Task(
        "several files",
        ("Make a folder backup and copy notes.txt and data.json into it.",),
        lambda seen: all(seen.file(f"backup/{name}") == FILES[name] for name in ("notes.txt", "data.json")),
    ),
    Task(
        "go on in a session",
        ("What is the version in data.json?", "Write that version, and nothing else, into a file VERSION."),
        lambda seen: seen.file("VERSION").strip() == "2.4.1",
    ),
    Task(
        "remember",
        ("Remember for later: my boat is called Albatross.", "What is my boat called?"),
        lambda seen: seen.says("albatross"),
        is_apart=True,
    ),
)


@dataclass(frozen=True)
class Tried:
    """`calls` are the tools in the order they were called; `tokens` of all turns, as the model counts."""

    task: Task
    is_met: bool
    seconds: float
    calls: tuple[str, ...]
    answer: str
    tokens: int


class TaskHome(BareHome):
    """The agent works in `folder`. Without a `base_url` the gateway finds a model by itself, as in a new home."""

    def __init__(self, model: str | None = None, base_url: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hermes-tasks-"))
        named = {"default": model, "provider": "custom", "base_url": base_url} if base_url else {"default": model}
        settings = {"terminal": {"cwd": str(self.folder)}, "approvals": {"timeout": ASK_SECONDS}}
        super().__init__({**settings, **({"model": named} if model else {})})

    def environ(self) -> dict[str, str]:
        """A model file that was put together before is used again."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return {**super().environ(), "XDG_CACHE_HOME": cache}

    def lay_out(self) -> None:
        for path in self.folder.iterdir():  # the folder itself is where the gateway stands
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, text in FILES.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def remove(self) -> None:
        super().remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def everything(model: str | None, base_url: str | None, tell: Callable[[str], None]) -> str:
    """The score as a table in Markdown. Raises RuntimeError where no model answers."""
    if base_url and not model:
        raise RuntimeError("name the model at that address, too: --model NAME")
    with TaskHome(model, base_url) as home, Gateway(home) as gateway:
        assert isinstance(home, TaskHome)
        name = _model_of(gateway, tell)
        tried = []
        for task in TASKS:
            tell(task.name)
            home.lay_out()
            tried.append(_try(task, home, gateway))
        return _table(name, tried)


def _model_of(gateway: Gateway, tell: Callable[[str], None]) -> str:
    """Asks it once, so that what is made at its first start is over."""
    tell("the first answer of the model")
    run = _run(gateway, "Say hello.", "hello")
    if run["status"] != "completed":
        raise RuntimeError(f"the model does not answer: {run['error'] or run['status']}")
    return str(run["model"])


def _try(task: Task, home: TaskHome, gateway: Gateway) -> Tried:
    began = time.monotonic()
    calls: list[str] = []
    answer, tokens = "", 0
    for number, request in enumerate(task.requests):
        apart = f"-{number}" if task.is_apart else ""
        run = _run(gateway, request, task.name.replace(" ", "-") + apart)
        answer = run["output"] or ""
        tokens += (run["usage"] or {}).get("total_tokens", 0)
        calls += _calls(gateway, run["run_id"])
    seen = Seen(home.folder, answer, home.path)
    return Tried(task, task.is_met(seen), time.monotonic() - began, tuple(calls), answer, tokens)


def _run(gateway: Gateway, request: str, session: str) -> dict[str, Any]:
    """A run, from its start to its end; one that takes too long is stopped."""
    started = _post(gateway, "/v1/runs", {"input": request, "session_id": session})
    path = f"/v1/runs/{started['run_id']}"
    deadline = time.monotonic() + TASK_SECONDS
    is_stopped = False
    while True:
        run: dict[str, Any] = json.loads(gateway.get(path))
        if run["status"] in ENDED:
            return run
        if time.monotonic() > deadline and not is_stopped:
            is_stopped = True
            _post(gateway, f"{path}/stop", {})
        time.sleep(LOOK_SECONDS)


def _calls(gateway: Gateway, run_id: str) -> list[str]:
    lines = gateway.get(f"/v1/runs/{run_id}/events").decode().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return [event["tool"] for event in events if event["event"] == "tool.started"]


def _post(gateway: Gateway, path: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}{path}", data=json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {gateway.key}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def _table(model: str, tried: list[Tried]) -> str:
    lines = [
        f"**{sum(one.is_met for one in tried)} of {len(tried)}** by `{model}`",
        "",
        "| task | done | seconds | tokens | tools it called | its last words |",
        "|---|---|---|---|---|---|",
    ]
    for one in tried:
        said = " ".join(one.answer.split()).replace("|", "\\|")
        said = said if len(said) <= SHOWN_CHARACTERS else said[: SHOWN_CHARACTERS - 1] + "…"
        done = "yes" if one.is_met else "**no**"
        called = ", ".join(one.calls) or "–"
        lines.append(f"| {one.task.name} | {done} | {one.seconds:.0f} | {one.tokens:,} | {called} | {said} |")
    return "\n".join(lines)
