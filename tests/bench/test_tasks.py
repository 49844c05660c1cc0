"""The ten tasks: a model that can do one of them gets one point, and one that answers nothing gets none by accident."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.tasks import FILES, TASKS, Seen, everything
from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer


@pytest.mark.slow
def test_the_score_is_of_what_is_true_in_the_end() -> None:
    told: list[str] = []
    port = Call("read_file", {"path": "settings.ini"})
    copy = Call("terminal", {"command": "mkdir backup && cp notes.txt data.json backup"})
    script = [
        Step(when="port is set", after_tool=False, tool_calls=(port,)),
        Step(when="folder backup", after_tool=False, tool_calls=(copy,)),
        Step(after_tool=True, text="{{tool}}"),
        Step(text="Hello", times=0),
    ]
    with ScriptedModelServer(script) as server:
        lines = everything("scripted", server.base_url, told.append).splitlines()
    assert told[1:] == [task.name for task in TASKS]
    assert lines[0] == "**2 of 10** by `scripted`"
    done = [line.split(" | ")[0].removeprefix("| ") for line in lines[4:] if line.split(" | ")[1] == "yes"]
    assert done == ["read a file", "several files"]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_doing_nothing_and_saying_everything_is_not_enough(task: object, tmp_path: Path) -> None:
    assert isinstance(task, type(TASKS[0]))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert not task.is_met(Seen(tmp_path, "Done! Everything is as you wished.", tmp_path))
