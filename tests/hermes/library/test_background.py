"""The process around it: how it ends, how it forks, what it leaves behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from hermes.library.background import background
from hermes.models.scripted import Call, Step
from run_agent import AIAgent

pytestmark = pytest.mark.sqlite("an agent without a store has its data in memory")

HEAD = """
import asyncio, os, sys, threading
from run_agent import AIAgent
agent = AIAgent(model="m", base_url=sys.argv[1], quiet_mode=True)
"""


def script(body: str, base_url: str) -> subprocess.CompletedProcess[str]:
    """Runs it in an interpreter that turns every warning into noise on stderr."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD + body, base_url],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "body",
    [
        'print(agent.chat("Hello"))',
        'print(agent.chat("Hello")); agent.close()',
        'print(asyncio.run(agent.achat("Hello")))',
        'threading.Thread(target=lambda: print(agent.chat("Hello"))).start()',
        'from concurrent.futures import *; ThreadPoolExecutor(1).submit(lambda: print(agent.chat("Hello")))',
        'print(agent.chat("Hello")); asyncio.run(agent.aclose())',
        'print(agent.chat("Hello")); del agent',
    ],
)
def test_a_script_ends_at_once_and_says_nothing_more(echo, body: str):
    done = script(body, echo.base_url)
    assert (done.stdout, done.stderr, done.returncode) == ("You said: Hello\n", "", 0)


def test_a_script_may_end_while_a_call_goes_on(play):
    server = play(Step(text="one", hang=True))
    body = """
has_begun = threading.Event()
agent.stream_delta_callback = lambda delta: has_begun.set()
threading.Thread(target=agent.chat, args=("Hello",), daemon=True).start()
has_begun.wait()
"""
    done = script(body, server.base_url)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_background_processes_end_with_the_script(play, tmp_path: Path):
    note = tmp_path / "pid"
    command = f"echo $$ > {note}; exec sleep 300"
    server = play(Step(tool_calls=(Call("terminal", {"command": command, "background": True}),)), "Started.")
    body = f"""
agent.chat("Start it")
while not (os.path.exists({str(note)!r}) and open({str(note)!r}).read().strip()):
    pass
"""
    done = script(body, server.base_url)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_an_agent_works_on_both_sides_of_a_fork(echo):
    body = """
print(agent.chat("before"), flush=True)
if os.fork() == 0:
    print(agent.chat("child"), flush=True)
    agent.close()
    os._exit(0)
os.wait()
print(agent.chat("parent"), flush=True)
"""
    # a newer Python warns of forking beside threads, whoever does it
    done = subprocess.run(
        [sys.executable, "-c", HEAD + body, echo.base_url], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["You said: before", "You said: child", "You said: parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_children_that_are_forked_while_a_thread_asks_ask_for_themselves(echo, nowhere: Path):
    body = """
asking = threading.Thread(target=lambda: [agent.chat(f"thread {n}") for n in range(20)])
asking.start()
children = []
for number in range(3):
    children.append(os.fork())
    if children[-1] == 0:
        with open(f"{number}.txt", "w") as file:
            file.write(agent.chat(f"child {number}"))
        agent.close()
        os._exit(0)
asking.join()
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(codes, [open(f"{number}.txt").read() for number in range(3)], agent.chat("parent"))
"""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + body, echo.base_url], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == (
        "[0, 0, 0] ['You said: child 0', 'You said: child 1', 'You said: child 2'] You said: parent"
    ), done.stderr


def test_an_agent_that_is_dropped_lets_go_of_its_engine(echo):
    asked = AIAgent(model="m", base_url=echo.base_url, quiet_mode=True)
    asked.chat("Hello")
    holder = weakref.ref(asked._engine)
    writers = _writers()
    del asked
    gc.collect()
    pause = threading.Event()
    for _ in range(500):
        if holder() is None and _writers() < writers:
            return
        gc.collect()
        pause.wait(0.01)
    raise AssertionError("the engine lives on")


def _writers() -> int:
    return sum(thread.name == "hermes-store-writer" for thread in threading.enumerate())


def test_many_turns_of_one_agent_leave_nothing_behind(echo):
    with AIAgent(model="m", base_url=echo.base_url, quiet_mode=True) as asked:
        for number in range(30):
            asked.chat(str(number))
        assert len(asked._sessions._latest) == 1
        engine = asked._engine
        assert engine is not None

        async def sessions() -> int:
            opened = await engine.enter()
            try:
                return await opened.database.read(
                    lambda conn: conn.exec_driver_sql("select count(*) from sessions").scalar_one()
                )
            finally:
                engine.leave()

        assert background().run(sessions()) == 1


def test_a_blocking_call_on_the_agents_own_thread_is_refused():
    async def block() -> None:
        async def nothing() -> None:
            pass

        background().run(nothing())

    with pytest.raises(RuntimeError, match="own thread"):
        background().run(block())
