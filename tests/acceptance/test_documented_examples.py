"""The Python of README.md and docs/ runs as it is written: word for word but for addresses and keys."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import documents, waiting
from tests.support.examples import ROOT, SECONDS, Block, environment, pages, python_of, run

ECHO = Step(text="You said: {{user}}", times=0)
REMOVE = Step(
    when="^Delete the folder", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf build"}, id="c1"),)
)

eventually = partial(waiting.eventually, seconds=30.0)


@dataclass(frozen=True)
class Played:
    """What a page needs besides a gateway and a model that echoes, and what its code prints."""

    script: tuple[Step, ...] = ()
    typed: str = ""
    prints: tuple[str, ...] = ()


ONLY_SQLITE = pytest.mark.sqlite("an agent without a gateway has its data in memory, or in a file")
FOLDER = "You said: What is in this folder?"
PLAYED = {
    "README.md": Played(prints=("You said: What takes the most space in my home directory?",)),
    "docs/clients.md": Played(
        (
            Step(when="weather", after_tool=False, tool_calls=(Call("get_weather", {"city": "Paris"}),)),
            Step(when="weather", after_tool=True, text="It is {{tool}}."),
        ),
        prints=(FOLDER, "sunny in Paris", FOLDER, FOLDER),
    ),
    "docs/files.md": Played(prints=("b'%PDF-1.",)),
    "docs/library.md": Played(
        (REMOVE, Step(after_tool=True, text="It is gone.")),
        typed="y\n",
        prints=("You said: Which files here are larger than a megabyte?", "Allow? [y/N]", "It is gone."),
    ),
    "docs/responses.md": Played((REMOVE, Step(after_tool=True, text="Gone.")), typed="y\n", prints=("rm -rf build? ",)),
}
"""Pages that are not named run with an echo, and may print what they like."""


@pytest.mark.slow
@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in pages()])
def test_the_python_of_a_page_runs_as_written(
    page: str, start_gateway: StartGateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    played = PLAYED.get(page, Played())
    model.add(*played.script, ECHO)
    gateway = start_gateway()
    folder = tmp_path / "work"
    folder.mkdir()
    for place in (folder, gateway.workdir):
        (place / "build").mkdir()
    (folder / "plan.pdf").write_bytes(documents.pdf("The plan"))
    environ = environment(tmp_path, OPENAI_API_KEY="sk-scripted", OPENAI_BASE_URL=model.base_url)
    blocks = [_here(block, gateway, model) for block in python_of(ROOT / page) if block.name is None]

    done = run(ROOT / page, blocks, folder, environ, key=gateway.key, typed=played.typed)

    assert done.returncode == 0, done.stderr
    at = 0
    for text in played.prints:
        assert text in done.stdout[at:], done.stdout
        at = done.stdout.index(text, at) + len(text)
    if page == "docs/library.md":
        assert not (folder / "build").exists()
    if page == "docs/responses.md":
        eventually(lambda: not (gateway.workdir / "build").exists())


def _here(block: Block, gateway: Gateway, model: ScriptedModelServer) -> Block:
    """At the addresses of this test, with its key."""
    text = block.text.replace("http://127.0.0.1:8642", gateway.url).replace('api_key="…"', f'api_key="{gateway.key}"')
    return replace(block, text=text.replace("http://127.0.0.1:11434/v1", model.base_url))


@pytest.mark.sqlite("it asks no database")
def test_the_published_check_of_a_webhook_tells_ours_from_others() -> None:
    namespace: dict[str, object] = {}
    for block in python_of(ROOT / "docs" / "runs.md"):
        exec(compile(block.text, "runs.md", "exec"), namespace)
    is_genuine = namespace["is_genuine"]
    assert callable(is_genuine)
    now = str(int(time.time()))

    def headers(timestamp: str, body: bytes) -> dict[str, str]:
        mac = hmac.new(b"secret", timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"x-hermes-timestamp": timestamp, "x-hermes-signature": f"sha256={mac}"}

    assert is_genuine("secret", headers(now, b"{}"), b"{}")
    assert not is_genuine("secret", headers(now, b"{}"), b"[]")
    assert not is_genuine("other", headers(now, b"{}"), b"{}")
    assert not is_genuine("secret", headers("1000", b"{}"), b"{}")


class Shop:
    """A folder with the programs of docs/library.md, and a machine where only a provider's key is set."""

    def __init__(self, folder: Path, model: ScriptedModelServer) -> None:
        self.folder = folder / "shop"
        self.folder.mkdir()
        self.environ = environment(folder, OPENAI_API_KEY="sk-scripted", OPENAI_BASE_URL=model.base_url)
        for block in python_of(ROOT / "docs" / "library.md"):
            if block.name is not None:
                (self.folder / block.name).write_text(block.text)

    def run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=self.folder,
            env=self.environ,
            input=typed,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    @contextmanager
    def serving(self, app: str) -> Iterator[str]:
        """The address of `uvicorn APP`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--port", "0", "--no-use-colors"],
            cwd=self.folder,
            env=self.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said: list[str] = []
        try:
            while not (found := re.search(r"running on (http://\S+)", said[-1] if said else "")):
                said.append(process.stderr.readline())
                assert said[-1], said
            reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
            reader.start()
            yield found[1]
        finally:
            process.terminate()
            process.wait(SECONDS)
            reader.join(5)
            process.stderr.close()
        assert not any("Traceback" in line for line in said), "".join(said)


@pytest.fixture
def shop(tmp_path: Path, model: ScriptedModelServer) -> Shop:
    return Shop(tmp_path, model)


def ask(url: str, visitor: str, text: str) -> str:
    return httpx.post(f"{url}/ask", json={"visitor": visitor, "text": text}, timeout=30).raise_for_status().text


@ONLY_SQLITE
@pytest.mark.slow
def test_the_web_app_streams_remembers_each_visitor_and_tells_a_failure(shop: Shop, model: ScriptedModelServer) -> None:
    model.add(
        Step(when="^fail", status=400, error="the model is on holiday", times=1),
        Step(when="^go on", text=["one ", "two ", "three "], hang=True),
        ECHO,
    )
    with shop.serving("app:app") as url:
        assert ask(url, "alice", "I am Alice.") == "You said: I am Alice."
        assert ask(url, "bob", "I am Bob.") == "You said: I am Bob."
        assert ask(url, "alice", "And now?") == "You said: And now?"
        assert "I am Alice." in json.dumps(model.requests[-1]) and "I am Bob." not in json.dumps(model.requests[-1])
        failed = ask(url, "bob", "fail")
        assert failed.startswith("\n[no answer: ") and "the model is on holiday" in failed
        assert httpx.post(f"{url}/ask", json={"visitor": "../x", "text": ""}).status_code == 422

        before = model.disconnects
        with httpx.stream("POST", f"{url}/ask", json={"visitor": "carol", "text": "go on"}, timeout=30) as answer:
            assert next(answer.iter_text()).startswith("one ")
        eventually(lambda: model.disconnects > before)  # the client left: the turn is stopped
        assert ask(url, "carol", "Still there?") == "You said: Still there?"
    assert (shop.folder / "talks.db").exists()


@ONLY_SQLITE
@pytest.mark.parametrize("program", ["batch.py", "batch_async.py"])
def test_a_batch_answers_every_line_in_order_and_one_failure_stops_nothing(
    shop: Shop, model: ScriptedModelServer, program: str
) -> None:
    model.add(Step(when="^number 7$", status=400, error="not this one"), ECHO)
    lines = [f"number {number}" for number in range(20)]

    done = shop.run(program, typed="\n".join(lines))

    assert (done.stderr, done.returncode) == ("", 0)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["question"] for row in rows] == lines
    bad = rows.pop(7)
    assert (bad["answer"], "not this one" in bad["error"]) == ("", True)
    lines.remove("number 7")
    assert rows == [{"question": line, "answer": f"You said: {line}", "error": None} for line in lines]


@pytest.fixture
def change(shop: Shop) -> Path:
    """A branch with a change, in a repository that knows origin/main."""
    git = partial(subprocess.run, cwd=shop.folder, check=True, capture_output=True, env={**os.environ, **AUTHOR})
    git(["git", "init", "-q", "-b", "work"])
    git(["git", "commit", "-q", "--allow-empty", "-m", "begin"])
    git(["git", "update-ref", "refs/remotes/origin/main", "HEAD"])
    (shop.folder / "sum.py").write_text("def total(a, b):\n    return a - b\n")
    (shop.folder / "build").mkdir()
    git(["git", "add", "sum.py"])
    git(["git", "commit", "-q", "-m", "change"])
    return shop.folder


AUTHOR = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("review", "code"),
    [("Nothing to say.\n\nPASS", 0), ("It subtracts.\nFAIL", 1), ("PASS or FAIL?", 1), ("I say FAIL, not PASS", 1)],
)
def test_a_ci_step_says_by_its_exit_code_what_was_found(
    shop: Shop, change: Path, model: ScriptedModelServer, review: str, code: int
) -> None:
    model.add(Step(text=review))
    done = shop.run("review.py")
    assert (done.stdout, done.stderr, done.returncode) == (f"{review}\n", "", code)
    [message] = [m for m in model.requests[0]["messages"] if m["role"] == "user"]
    assert "+    return a - b" in message["content"]


@ONLY_SQLITE
def test_a_ci_step_is_denied_what_is_dangerous_and_goes_on(
    shop: Shop, change: Path, model: ScriptedModelServer
) -> None:
    model.add(Step(tool_calls=(Call("terminal", {"command": "rm -rf build"}),)), "It may not.\nFAIL")
    done = shop.run("review.py")
    assert (done.stdout, done.stderr, done.returncode) == ("It may not.\nFAIL\n", "", 1)
    assert (change / "build").exists()
    assert "nobody can be asked here" in json.dumps(model.requests[1]["messages"][-1])


@ONLY_SQLITE
def test_a_ci_step_without_an_answer_is_neither_a_yes_nor_a_no(
    shop: Shop, change: Path, model: ScriptedModelServer
) -> None:
    model.add(Step(status=401, error="no such key"))
    done = shop.run("review.py")
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("no review: ") and "sk-scripted" not in done.stderr
