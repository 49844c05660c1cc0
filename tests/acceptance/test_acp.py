"""`hermes acp` as an editor sees it: the client of the protocol's own package drives a real process."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from acp import RequestError, schema, text_block

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway
from tests.support.database import url_for_process
from tests.support.editor import acp_process, open_editor

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ROOT = Path(__file__).parents[2]
STREAMED = ("agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan", "user_message_chunk")


@pytest.fixture
def home(tmp_path: Path, model: ScriptedModelServer) -> Iterator[Gateway]:
    """A home with no gateway: the editor's process opens it itself."""
    gateway = make_gateway(tmp_path, model)
    yield gateway
    gateway.close()


def with_config(home: Gateway, **values: Any) -> None:
    with (home.home / "config.yaml").open("a") as file:
        file.writelines(f"{name}: {json.dumps(value)}\n" for name, value in values.items())


async def test_an_editor_is_told_what_works_here(home: Gateway) -> None:
    async with open_editor(home) as desk:
        told = (await desk.begin()).model_dump(by_alias=True, exclude_none=True)
        capabilities = told["agentCapabilities"]
        assert told["protocolVersion"] == 1
        assert told["agentInfo"]["name"] == "hermes"
        assert capabilities["loadSession"] is True
        assert capabilities["promptCapabilities"] == {"image": True, "audio": False, "embeddedContext": True}
        assert capabilities["mcpCapabilities"] == {"http": True, "sse": True, "acp": False}
        assert capabilities["sessionCapabilities"] == {"list": {}, "fork": {}, "resume": {}, "close": {}}
        assert [method["id"] for method in told["authMethods"]] == ["home"]
        await desk.agent.authenticate("home")
        with pytest.raises(RequestError, match="no way to authenticate 'password'"):
            await desk.agent.authenticate("password")


async def test_a_new_session_offers_modes_and_models(home: Gateway) -> None:
    with_config(home, model_routes={"fast": {"default": "scripted-fast", "provider": "custom", "base_url": "http://x"}})
    async with open_editor(home) as desk:
        made = await desk.agent.new_session(str(home.workdir))
        assert made.modes is not None
        assert made.modes.current_mode_id == "default"
        assert [mode.id for mode in made.modes.available_modes] == ["default", "ask", "plan"]
        assert chosen(made.config_options) == {"mode": "default", "model": "default"}
        [_, models] = made.config_options or []
        assert [option.value for option in models.options] == ["default", "fast"]


async def test_a_turn_is_streamed_and_counted(home: Gateway, model: ScriptedModelServer) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    model.add(Step(["Hello ", "from ", "here."], reasoning="Somebody says hi.", usage=usage))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        told = await desk.say(session_id, "hi")
        assert told.stop_reason == "end_turn"
        assert told.usage is not None
        assert (told.usage.input_tokens, told.usage.output_tokens, told.usage.total_tokens) == (30, 12, 42)
        assert desk.window.text(session_id) == "Hello from here."
        assert desk.window.text(session_id, "agent_thought_chunk") == "Somebody says hi."
        [info] = desk.window.of(session_id, "session_info_update")
        assert info.title == "hi"


async def test_tool_calls_diffs_and_plans_are_shown_and_told_again_when_the_session_is_loaded(
    home: Gateway, model: ScriptedModelServer
) -> None:
    (home.workdir / "old.txt").write_text("one\ntwo\n")
    todos = [{"id": "1", "content": "look", "status": "completed"}, {"id": "2", "content": "do: it"}]
    model.add(
        Step("I look first.", tool_calls=[Call("read_file", {"path": "old.txt", "offset": 2}), todo(todos)]),
        Step(tool_calls=[Call("write_file", {"path": "new.txt", "content": "fresh\n"}, id="call_1")]),
        Step(tool_calls=[Call("patch", {"path": "old.txt", "old_string": "two", "new_string": "2"}, id="call_1")]),
        Step(tool_calls=[Call("terminal", {"command": "echo out; false"}), Call("read_file", {"path": "none.txt"})]),
        Step("All done.", reasoning="That was it."),
    )
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        assert (await desk.say(session_id, "work")).stop_reason == "end_turn"
        calls = {one.tool_call_id: one for one in desk.window.of(session_id, "tool_call")}
        shown = [
            (call.kind, call.title, [(place.path, place.line) for place in call.locations]) for call in calls.values()
        ]
        old, new = str(home.workdir / "old.txt"), str(home.workdir / "new.txt")
        assert shown == [
            ("read", "Read a file: old.txt from line 2", [(old, 2)]),
            ("think", "Plan: plan 2", []),
            ("edit", "Write a file: new.txt (1 lines)", [(new, None)]),
            ("edit", "Edit a file: old.txt", [(old, None)]),
            ("execute", "echo out; false", []),
            ("read", "Read a file: none.txt", [(str(home.workdir / "none.txt"), None)]),
        ]
        assert len(calls) == 6  # the model used an id twice
        ends = {one.tool_call_id: one for one in desk.window.of(session_id, "tool_call_update")}
        ended = [ends[call_id] for call_id in calls]
        assert [one.status for one in ended] == ["completed"] * 4 + ["failed"] * 2
        assert "two" in ended[0].content[0].content.text
        assert diff(ended[2]) == (new, None, "fresh\n")
        assert diff(ended[3]) == (old, "two", "2")
        assert "out" in ended[4].content[0].content.text
        assert "does not exist" in ended[5].content[0].content.text
        assert list(calls.values())[2].raw_input == {"path": "new.txt", "content": "fresh\n"}
        [plan] = desk.window.of(session_id, "plan")
        assert [(entry.content, entry.status) for entry in plan.entries] == [
            ("look", "completed"),
            ("do: it", "pending"),
        ]
        streamed = desk.window.of(session_id, *STREAMED)
    async with open_editor(home) as desk:
        await desk.agent.load_session(str(home.workdir), session_id)
        told = desk.window.of(session_id)
        assert [one.content.text for one in told[:1]] == ["work"]
        assert told[1:] == streamed


async def test_what_a_written_file_replaces_is_shown(home: Gateway, model: ScriptedModelServer) -> None:
    (home.workdir / "a.txt").write_text("before\n")
    model.add(Step(tool_calls=[Call("write_file", {"path": "a.txt", "content": "after\n"})]), Step("Done."))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        await desk.say(session_id, "write")
        [update] = desk.window.of(session_id, "tool_call_update")
        assert diff(update) == (str(home.workdir / "a.txt"), "before\n", "after\n")


async def test_a_dangerous_call_asks_with_all_answers_and_does_what_the_person_says(
    home: Gateway, model: ScriptedModelServer
) -> None:
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)

        async def try_it(answer: str | None, command: str = "rm -rf build") -> tuple[bool, int]:
            """Whether it ran, and how many questions were asked."""
            (home.workdir / "build").mkdir(exist_ok=True)
            model.add(Step(tool_calls=[Call("terminal", {"command": command})]), Step("So be it."))
            desk.window.answer = lambda call: answer
            before = len(desk.window.questions)
            assert (await desk.say(session_id, "clean up")).stop_reason == "end_turn"
            return not (home.workdir / "build").exists(), len(desk.window.questions) - before

        assert await try_it("deny") == (False, 1)
        assert await try_it(None) == (False, 1)
        assert await try_it("nonsense") == (False, 1)
        assert await try_it("once") == (True, 1)
        assert await try_it("session") == (True, 1)
        assert await try_it("deny") == (True, 0)
        call, options = desk.window.questions[0]
        assert [(option.option_id, option.kind) for option in options] == [
            ("once", "allow_once"),
            ("session", "allow_always"),
            ("always", "allow_always"),
            ("deny", "reject_once"),
        ]
        assert call.title == "rm -rf build"
        assert "rm -rf build" in call.content[0].content.text  # type: ignore[index]
        assert call.tool_call_id == desk.window.of(session_id, "tool_call")[0].tool_call_id
        other = await desk.new(home.workdir)
        session_id = other
        assert await try_it("always") == (True, 1)
    assert "rm" in (home.home / "config.yaml").read_text()
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        assert await try_it("deny") == (True, 0)


async def test_a_cancelled_turn_ends_within_a_second_and_leaves_nothing(
    home: Gateway, model: ScriptedModelServer
) -> None:
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        for step in (
            Step("I am ", hang=True),
            Step(tool_calls=[Call("terminal", {"command": "echo begun > begun; exec sleep 61"})]),
        ):
            model.add(step)
            turn = asyncio.create_task(desk.say(session_id, "go on"))
            if step.hang:
                await desk.window.until(lambda: desk.window.text(session_id))
            else:
                await begun(home.workdir / "begun")
            began = time.monotonic()
            await desk.agent.cancel(session_id)
            assert (await turn).stop_reason == "cancelled"
            assert time.monotonic() - began < 1.0
        assert "sleep 61" not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True).stdout
        assert desk.window.of(session_id, "tool_call_update")[-1].status == "failed"
        model.add(Step("Back."))
        assert (await desk.say(session_id, "still there?")).stop_reason == "end_turn"


async def test_a_turn_is_cancelled_while_it_asks_and_before_it_has_begun(
    home: Gateway, model: ScriptedModelServer
) -> None:
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        desk.window.hold = asyncio.Event()
        model.add(Step(tool_calls=[Call("terminal", {"command": "rm -rf build"})]))
        turn = asyncio.create_task(desk.say(session_id, "clean up"))
        await asyncio.wait_for(desk.window.asked.wait(), 20)
        await desk.agent.cancel(session_id)
        assert (await turn).stop_reason == "cancelled"
        desk.window.hold.set()
        model.add(Step("Too much.", hang=True, times=0))
        turn = asyncio.create_task(desk.say(session_id, "again"))
        await asyncio.sleep(0)
        await desk.agent.cancel(session_id)
        assert (await turn).stop_reason == "cancelled"


async def test_two_sessions_go_on_at_once_and_one_takes_one_prompt_at_a_time(
    home: Gateway, model: ScriptedModelServer
) -> None:
    other_folder = home.workdir / "other"
    other_folder.mkdir()
    model.add(Step(when="^first", text="I wait", hang=True), Step(when="^second", text="I am second: {{user}}"))
    async with open_editor(home) as desk:
        first, second = await desk.new(home.workdir), await desk.new(other_folder)
        waiting = asyncio.create_task(desk.say(first, "first"))
        await desk.window.until(lambda: desk.window.text(first))
        with pytest.raises(RequestError, match="a turn is going on"):
            await desk.say(first, "second")
        assert (await desk.say(second, "second")).stop_reason == "end_turn"
        assert desk.window.text(second) == "I am second: second"
        assert desk.window.text(first) == "I wait"
        await desk.agent.cancel(first)
        assert (await waiting).stop_reason == "cancelled"


@pytest.mark.parametrize(
    ("step", "config", "reason"),
    [
        (Step("cut", finish_reason="length"), {}, "max_tokens"),
        (Step("", refusal="No.", finish_reason="content_filter"), {}, "refusal"),
        (Step(tool_calls=[Call("terminal", {"command": "true"})]), {"limits": {"max_steps": 1}}, "max_turn_requests"),
    ],
)
async def test_the_end_of_a_turn_is_named(
    home: Gateway, model: ScriptedModelServer, step: Step, config: dict[str, Any], reason: str
) -> None:
    with_config(home, **config)
    model.add(step)
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        assert (await desk.say(session_id, "go")).stop_reason == reason


async def test_a_failing_model_is_an_error_of_the_prompt_and_the_session_goes_on(
    home: Gateway, model: ScriptedModelServer
) -> None:
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        model.add(Step(status=401, error="wrong key"))
        with pytest.raises(RequestError) as failed:
            await desk.say(session_id, "go")
        assert (failed.value.data or {})["code"] == "upstream_auth"
        model.add(Step("Well again."))
        assert (await desk.say(session_id, "and now?")).stop_reason == "end_turn"


async def test_ask_mode_asks_before_each_kind_of_change_and_plan_mode_changes_nothing(
    home: Gateway, model: ScriptedModelServer
) -> None:
    write_it = Step(tool_calls=[write("a.txt")])
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        await desk.agent.set_session_mode(session_id, "ask")
        assert chosen(desk.window.of(session_id, "config_option_update")[-1].config_options)["mode"] == "ask"
        desk.window.answer = lambda call: "deny"
        model.add(write_it, Step("ok"))
        await desk.say(session_id, "write")
        assert not (home.workdir / "a.txt").exists()
        call, options = desk.window.questions[0]
        assert [option.option_id for option in options] == ["once", "session", "deny"]
        assert diff(call, 1) == (str(home.workdir / "a.txt"), None, "x")
        desk.window.answer = lambda call: "session"
        model.add(write_it, write_it, Step("ok"))
        await desk.say(session_id, "write twice")
        assert len(desk.window.questions) == 2
        answer = await desk.agent.set_config_option("mode", session_id, "plan")
        assert chosen(answer.config_options)["mode"] == "plan"
        assert desk.window.of(session_id, "current_mode_update")[-1].current_mode_id == "plan"
        (home.workdir / "a.txt").unlink()
        model.add(write_it, Step(tool_calls=[Call("read_file", {"path": "b.txt"})]), Step("That is my plan."))
        (home.workdir / "b.txt").write_text("readable\n")
        await desk.say(session_id, "plan")
        updates = [one for one in desk.window.of(session_id, "tool_call_update") if one.content]
        assert "plan mode" in updates[-2].content[0].content.text
        assert "readable" in updates[-1].content[0].content.text
        assert not (home.workdir / "a.txt").exists()
        offered = {tool["function"]["name"] for tool in model.requests[-1]["tools"]}
        assert "read_file" in offered
        assert not offered & {"terminal", "process", "memory", "skill_manage"}
        assert "plan mode" in json.dumps(model.requests[-1]["messages"][0])
        with pytest.raises(RequestError, match="no mode 'yolo'"):
            await desk.agent.set_session_mode(session_id, "yolo")


async def test_what_sub_agents_and_code_do_is_shown_and_held_by_the_mode(
    home: Gateway, model: ScriptedModelServer
) -> None:
    code = "todo(todos=[{'content': 'x'}])\nwrite_file(path='code.txt', content='by code')"
    model.add(
        Step(when="^Make the file", after_tool=False, tool_calls=[write("sub.txt")]),
        Step(when="^Make the file", after_tool=True, text="It is made."),
        Step(when="^delegate", after_tool=False, tool_calls=[Call("delegate_task", {"goal": "Make the file"})]),
        Step(when="^code", after_tool=False, tool_calls=[Call("execute_code", {"code": code})]),
        Step(after_tool=True, text="Done."),
    )
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        await desk.agent.set_session_mode(session_id, "ask")
        desk.window.answer = lambda call: "once"
        assert (await desk.say(session_id, "delegate")).stop_reason == "end_turn"
        assert (home.workdir / "sub.txt").read_text() == "x"
        [(question, _)] = desk.window.questions
        assert "sub.txt" in question.content[0].content.text  # type: ignore[index]
        told = [one.content[0].content.text for one in desk.window.of(session_id, "tool_call_update") if one.content]
        assert told[0] == "1. … Make the file"
        assert "1. completed: It is made." in told
        assert (await desk.say(session_id, "code")).stop_reason == "end_turn"
        assert (home.workdir / "code.txt").read_text() == "by code"
        assert len(desk.window.questions) == 2
        assert diff(desk.window.questions[1][0], 1) == (str(home.workdir / "code.txt"), None, "by code")
        assert desk.window.of(session_id, "plan") == []
        streamed = desk.window.of(session_id, *STREAMED)
        desk.window.updates.clear()
        await desk.agent.load_session(str(home.workdir), session_id)
        again = [one for one in desk.window.of(session_id, *STREAMED) if one.session_update != "user_message_chunk"]
        assert again == streamed


async def test_the_model_asks_with_choices_or_in_a_form_or_is_told_that_it_cannot(
    home: Gateway, model: ScriptedModelServer
) -> None:
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)

        async def ask(**question: Any) -> str:
            """What the model was told."""
            model.add(Step(tool_calls=[Call("clarify", {"question": "Which?", **question})]), Step("Thanks."))
            assert (await desk.say(session_id, "do")).stop_reason == "end_turn"
            return str(model.requests[-1]["messages"][-1]["content"])

        desk.window.answer = lambda call: "choice_1"
        assert "The user answered: blue" in await ask(choices=["red", "blue"])
        call, options = desk.window.questions[0]
        assert call.title == "Which?"
        assert [(option.name, option.kind) for option in options] == [
            ("red", "allow_once"),
            ("blue", "allow_once"),
            ("Something else", "reject_once"),
        ]
        desk.window.answer = lambda call: "none"
        assert "None of the choices" in await ask(choices=["red", "blue"])
        assert "cannot show a question that is answered in words" in await ask()
        forms = schema.ElicitationCapabilities(form=schema.ElicitationFormCapabilities())
        await desk.begin(client_capabilities=schema.ClientCapabilities(elicitation=forms))
        desk.window.words = "green, please"
        assert "The user answered: green, please" in await ask(choices=["red"])
        desk.window.words = None
        assert "None of the choices" in await ask()


async def test_a_session_has_the_mcp_servers_that_its_editor_brings_and_no_other_has_them(
    home: Gateway, model: ScriptedModelServer
) -> None:
    mark = home.workdir / "mark"
    variables = {"PYTHONPATH": str(ROOT), "MCP_TEST_MARK": str(mark)}
    notes = schema.McpServerStdio(
        name="../my notes",
        command=sys.executable,
        args=["-m", "tests.support.mcp_server"],
        env=[schema.EnvVariable(name=name, value=value) for name, value in variables.items()],
    )
    dead = schema.HttpMcpServer(type="http", name="dead", url="http://127.0.0.1:9/mcp", headers=[])
    call = Step(tool_calls=[Call("mcp_my_notes_echo", {"text": "hello"})])
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir, mcp_servers=[notes, dead])
        model.add(call, Step("Said."))
        assert (await desk.say(session_id, "say hello")).stop_reason == "end_turn"
        [(question, _)] = desk.window.questions
        assert question.title == 'mcp_my_notes_echo: {"text": "hello"}'
        assert "echo: hello" in desk.window.of(session_id, "tool_call_update")[-1].content[0].content.text
        assert "the MCP server 'dead' of the editor is not connected" in desk.window.text(
            session_id, "agent_thought_chunk"
        )
        other = await desk.new(home.workdir)
        model.add(call, Step("Not here."))
        await desk.say(other, "say hello")
        assert "There is no tool" in desk.window.of(other, "tool_call_update")[-1].content[0].content.text
        [pid] = mark.read_text().split()
        assert psutil.pid_exists(int(pid))
        await desk.agent.close_session(session_id)
        assert not psutil.pid_exists(int(pid))
        await desk.agent.load_session(str(home.workdir), session_id, mcp_servers=[notes])
        pid = mark.read_text().split()[-1]
        assert psutil.pid_exists(int(pid))
        began = time.monotonic()
        assert await desk.leave() == 0
        assert time.monotonic() - began < 2.0
        assert not psutil.pid_exists(int(pid))
    assert not list(home.home.parent.glob("*.log"))


async def test_the_model_is_chosen_for_a_session_and_kept_with_it(home: Gateway, model: ScriptedModelServer) -> None:
    route = {"default": "scripted-fast", "provider": "custom", "base_url": model.base_url}
    with_config(home, model_routes={"fast": route})
    model.add(Step("Quick.", times=0))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        with pytest.raises(RequestError, match="no model 'slow'; there are default, fast"):
            await desk.agent.set_config_option("model", session_id, "slow")
        with pytest.raises(RequestError, match="no option 'colour'"):
            await desk.agent.set_config_option("colour", session_id, "red")
        answer = await desk.agent.set_config_option("model", session_id, "fast")
        assert chosen(answer.config_options)["model"] == "fast"
        await desk.say(session_id, "hi")
        assert model.requests[-1]["model"] == "scripted-fast"
    async with open_editor(home) as desk:
        resumed = await desk.agent.resume_session(session_id, str(home.workdir))
        assert chosen(resumed.config_options)["model"] == "fast"
        assert desk.window.of(session_id) == []
        await desk.agent.set_config_option("model", session_id, "default")
        await desk.say(session_id, "hi")
        assert model.requests[-1]["model"] == "scripted"


async def test_sessions_are_listed_by_folder_forked_and_closed(home: Gateway, model: ScriptedModelServer) -> None:
    other = home.workdir / "other"
    other.mkdir()
    model.add(Step("ok", times=0))
    async with open_editor(home) as desk:
        here, there = await desk.new(home.workdir), await desk.new(other)
        assert (await desk.agent.list_sessions()).sessions == []  # none was said anything in
        await desk.say(here, "in the one")
        await desk.say(there, "in the other")
        found = (await desk.agent.list_sessions()).sessions
        assert [(one.session_id, one.cwd, one.title) for one in found] == [
            (there, str(other), "in the other"),
            (here, str(home.workdir), "in the one"),
        ]
        assert [one.session_id for one in (await desk.agent.list_sessions(cwd=str(other))).sessions] == [there]
        for cursor in ("nowhere", base64.urlsafe_b64encode(f'[1{"0" * 400}, "a"]'.encode()).decode()):
            with pytest.raises(RequestError, match="no such cursor"):
                await desk.agent.list_sessions(cursor=cursor)
        fork = await desk.agent.fork_session(here, str(home.workdir))
        assert fork.session_id != here
        await desk.say(fork.session_id, "on the side")
        await desk.agent.close_session(here)
        with pytest.raises(RequestError, match="is not open here"):
            await desk.say(here, "anybody?")
        await desk.agent.load_session(str(home.workdir), fork.session_id)
        said = [one.content.text for one in desk.window.of(fork.session_id, "user_message_chunk")]
        assert said == ["in the one", "on the side"]


async def test_a_long_list_of_sessions_comes_in_pages(home: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("ok", times=0))
    async with open_editor(home) as desk:
        for _ in range(52):
            session_id = await desk.new(home.workdir)
            await desk.say(session_id, "hi")
        first = await desk.agent.list_sessions()
        second = await desk.agent.list_sessions(cursor=first.next_cursor)
        assert (len(first.sessions), len(second.sessions), second.next_cursor) == (50, 2, None)
        assert len({one.session_id for one in (*first.sessions, *second.sessions)}) == 52


async def test_files_and_pictures_of_the_editor_reach_the_model(home: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Seen."))
    code = schema.TextResourceContents(uri=f"file://{home.workdir}/a.py", text="print('hello')\n")
    notes = schema.BlobResourceContents(
        uri="notes.txt", blob=base64.b64encode(b"remember the milk").decode(), mime_type="text/plain"
    )
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        await desk.agent.prompt(
            session_id,
            [
                text_block("Look at "),
                schema.ResourceContentBlock(type="resource_link", name="b.py", uri=f"file://{home.workdir}/b.py"),
                schema.EmbeddedResourceContentBlock(type="resource", resource=code),
                schema.EmbeddedResourceContentBlock(type="resource", resource=notes),
                schema.ImageContentBlock(type="image", data=PICTURE, mime_type="image/png"),
            ],
        )
        said = json.dumps(model.requests[-1]["messages"][-1])
        for part in (f"[b.py]({home.workdir}/b.py)", "print('hello')", "remember the milk", PICTURE):
            assert part in said
        refused: list[tuple[list[Any], str]] = [
            ([], "the prompt is empty"),
            ([text_block(" ")], "the prompt is empty"),
            ([schema.AudioContentBlock(type="audio", data="", mime_type="audio/ogg")], "audio/ogg"),
            ([schema.AudioContentBlock(type="audio", data="UklGRg==", mime_type="audio/wav")], "takes no audio"),
        ]
        for wrong, why in refused:
            with pytest.raises(RequestError, match=why):
                await desk.agent.prompt(session_id, wrong)
    async with open_editor(home) as desk:
        await desk.agent.load_session(str(home.workdir), session_id)
        kinds = [one.content.type for one in desk.window.of(session_id, "user_message_chunk")]
        assert kinds == ["text", "text", "resource_link", "resource_link", "image"]


async def test_a_prompt_that_comes_while_its_session_is_loaded_again_can_be_cancelled(
    home: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step("Hello."), Step("I am", hang=True))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        await desk.say(session_id, "hi")
        loading = asyncio.create_task(desk.agent.load_session(str(home.workdir), session_id))
        saying = asyncio.create_task(desk.say(session_id, "and?"))
        await loading
        await desk.window.until(lambda: desk.window.text(session_id).endswith("I am"))
        await desk.agent.cancel(session_id)
        assert (await asyncio.wait_for(saying, 20)).stop_reason == "cancelled"


async def test_half_a_character_is_kept_as_a_question_mark(home: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Read."))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        assert (await desk.say(session_id, "cut \ud83d here, whole \U0001f600")).stop_reason == "end_turn"
        assert model.requests[-1]["messages"][-1]["content"] == "cut ? here, whole \U0001f600"
        with pytest.raises(RequestError, match="no session"):
            await desk.agent.load_session(str(home.workdir), "sess_\ud800")


async def test_a_wrong_request_is_answered_with_what_is_wrong(home: Gateway) -> None:
    async with open_editor(home) as desk:
        for call, why in [
            (desk.agent.new_session("relative"), "cwd must be an absolute path"),
            (desk.agent.new_session(str(home.workdir / "none")), "there is no folder"),
            (desk.agent.new_session(f"/{'a' * 5000}"), "cannot be opened: File name too long"),
            (desk.agent.load_session(str(home.workdir), "sess_none"), "no session 'sess_none'"),
            (desk.agent.fork_session("sess_none", str(home.workdir)), "no session 'sess_none'"),
            (desk.say("sess_none", "hi"), "is not open here"),
            (desk.agent.close_session("sess_none"), "is not open here"),
            (desk.agent.ext_method("fly", {}), "Method not found"),
        ]:
            with pytest.raises(RequestError, match=why):
                await call
        await desk.agent.cancel("sess_none")
        await desk.agent.ext_notification("flown", {})
        assert (await desk.begin()).protocol_version == 1


async def test_without_a_model_the_editor_is_told_how_to_connect_one(home: Gateway) -> None:
    (home.home / "config.yaml").write_text("model: {provider: openai, default: gpt-6.1-terra}\n")
    async with open_editor(home) as desk:
        for call in (desk.agent.new_session(str(home.workdir)), desk.agent.authenticate("home")):
            with pytest.raises(RequestError, match="OPENAI_API_KEY") as refused:
                await call
            assert refused.value.code == -32000


async def test_garbage_on_stdin_is_answered_and_ends_nothing(home: Gateway) -> None:
    garbage = [
        b"not json",
        b"[]",
        b"42",
        b'{"jsonrpc": "2.0"}',
        b'{"id": {}, "method": "initialize"}',
        b'{"id": 1, "method": 5}',
        b'{"id": {"a": 1}, "result": 1}',
        b'{"id": 9, "error": "text"}',
        b"\xff\xfe\x00",
        b'{"a":' * 5000,
    ]
    async with acp_process(home) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in garbage:
            process.stdin.write(line + b"\n")
            answer = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
            assert (answer["id"], answer["error"]["code"]) in [(None, -32700), (None, -32600)], line
        for request, code in [
            ({"id": 1, "method": "session/fly", "params": {}}, -32601),
            ({"id": 2, "method": "session/new", "params": {"cwd": 5}}, -32602),
            ({"id": 3, "method": "session/prompt", "params": [1]}, -32602),
            ({"id": 4, "method": "session/prompt"}, -32602),
            (
                {"id": 5, "method": "session/prompt", "params": {"sessionId": "x", "prompt": [{"type": "smell"}]}},
                -32602,
            ),
        ]:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}).encode() + b"\n\n")
            answer = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
            assert (answer["id"], answer["error"]["code"]) == (request["id"], code)
        process.stdin.write(b'{"jsonrpc":"2.0","id":6,"method":"initialize","params":{"protocolVersion":99}}\n')
        answer = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert answer["result"]["protocolVersion"] == 1
        process.stdin.write(b'{"cut off')
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0


@pytest.mark.parametrize("how", ["stdin", "SIGTERM"])
async def test_when_the_editor_goes_its_turns_are_cancelled_and_the_process_ends_within_two_seconds(
    home: Gateway, model: ScriptedModelServer, how: str
) -> None:
    model.add(Step(tool_calls=[Call("terminal", {"command": "echo begun > begun; exec sleep 62"})]))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        turn = asyncio.create_task(desk.say(session_id, "wait"))
        await begun(home.workdir / "begun")
        began = time.monotonic()
        if how == "SIGTERM":
            desk.process.send_signal(signal.SIGTERM)
        assert await desk.leave() == 0
        assert time.monotonic() - began < 2.0
        assert (await turn).stop_reason == "cancelled"
    assert "sleep 62" not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True).stdout
    [run] = json.loads(hermes(home, "runs", "list", "--json").stdout)
    assert (run["status"], run["session_id"]) == ("cancelled", session_id)


async def test_a_killed_process_leaves_a_session_that_the_next_one_goes_on_with(
    home: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step("I was about to", hang=True))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        turn = asyncio.create_task(desk.say(session_id, "tell me"))
        await desk.window.until(lambda: desk.window.text(session_id) == "I was about to")
        desk.process.kill()
        with pytest.raises(ConnectionError):
            await turn
    model.add(Step("Where was I?"))
    async with open_editor(home) as desk:
        await desk.agent.load_session(str(home.workdir), session_id)
        assert desk.window.text(session_id, "user_message_chunk") == "tell me"
        assert desk.window.text(session_id) == "I was about to"
        assert (await desk.say(session_id, "go on")).stop_reason == "end_turn"
    home.start()
    runs = home.client.get("/v1/runs", params={"session_id": session_id}).raise_for_status().json()["data"]
    assert [run["status"] for run in runs] == ["completed", "interrupted"]


async def test_a_session_is_shared_with_the_gateway_of_the_home(home: Gateway, model: ScriptedModelServer) -> None:
    home.start()
    model.add(Step("From the editor."), Step("From the API."))
    async with open_editor(home) as desk:
        session_id = await desk.new(home.workdir)
        await desk.say(session_id, "one")
        [seen] = home.client.get("/api/sessions").raise_for_status().json()["data"]
        assert (seen["id"], seen["source"]) == (session_id, "acp")
        home.client.post(f"/api/sessions/{session_id}/chat", json={"message": "two"}).raise_for_status()
        await desk.agent.load_session(str(home.workdir), session_id)
        kept = [(one.session_update, one.content.text) for one in desk.window.of(session_id, *STREAMED)[1:]]
        assert kept == [
            ("user_message_chunk", "one"),
            ("agent_message_chunk", "From the editor."),
            ("user_message_chunk", "two"),
            ("agent_message_chunk", "From the API."),
        ]


@pytest.mark.sqlite("on PostgreSQL the second turn waits for the first")
async def test_two_processes_with_one_session_take_no_turn_of_each_other(
    home: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(when="^wait", text="I am", hang=True), Step(when="^now", text="Here."))
    async with open_editor(home) as first, open_editor(home) as second:
        session_id = await first.new(home.workdir)
        waiting = asyncio.create_task(first.say(session_id, "wait"))
        await first.window.until(lambda: first.window.text(session_id) == "I am")
        await second.agent.load_session(str(home.workdir), session_id)
        assert second.window.text(session_id) == "I am"
        with pytest.raises(RequestError) as refused:
            await second.say(session_id, "now")
        assert (refused.value.data or {})["code"] == "session_busy"
        await first.agent.cancel(session_id)
        assert (await waiting).stop_reason == "cancelled"
        assert (await second.say(session_id, "now")).stop_reason == "end_turn"


async def test_a_profile_has_its_own_sessions(home: Gateway, model: ScriptedModelServer) -> None:
    hermes(home, "profile", "create", "side")
    side = home.home / "profiles" / "side"
    asked = {"model": {"default": "scripted", "provider": "custom", "base_url": model.base_url}}
    url = url_for_process(side)
    (side / "config.yaml").write_text(json.dumps(asked if url is None else {**asked, "database": {"url": url}}))
    home.environ.pop("API_SERVER_KEY", None)
    model.add(Step("ok", times=0))
    async with open_editor(home, "-p", "side") as desk:
        await desk.say(await desk.new(home.workdir), "hi")
        assert len((await desk.agent.list_sessions()).sessions) == 1
    async with open_editor(home) as desk:
        assert (await desk.agent.list_sessions()).sessions == []


@pytest.mark.parametrize("how", ["<", ">"])
def test_what_is_no_pipe_is_refused_before_anything_is_made(home: Gateway, how: str) -> None:
    home.environ["HERMES_HOME"] = str(home.workdir / "nowhere")
    with (home.workdir / "file").open("w+") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "hermes", "acp"],
            env=home.environ,
            stdin=file if how == "<" else subprocess.PIPE,
            stdout=file if how == ">" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2
    assert f"{'stdin' if how == '<' else 'stdout'} is none: an editor starts it" in ended.stderr
    assert not (home.workdir / "nowhere").exists()


def test_check_says_what_would_work(home: Gateway) -> None:
    well = hermes(home, "acp", "--check")
    assert (well.returncode, [line.split()[:2] for line in well.stdout.splitlines()]) == (
        0,
        [["ok", "protocol"], ["ok", "home"], ["ok", "model"]],
    )
    (home.home / "config.yaml").write_text("model: {provider: openai, default: gpt-6.1-terra}\n")
    ill = hermes(home, "acp", "--check")
    assert (ill.returncode, [line.split()[:2] for line in ill.stdout.splitlines()]) == (
        1,
        [["ok", "protocol"], ["ok", "home"], ["missing", "model"]],
    )
    home.environ["HERMES_HOME"] = str(home.workdir / "nowhere")
    assert hermes(home, "acp", "--check").returncode == 1
    assert not (home.workdir / "nowhere").exists()


def write(path: str) -> Call:
    return Call("write_file", {"path": path, "content": "x"})


def todo(todos: list[dict[str, str]]) -> Call:
    return Call("todo", {"todos": todos})


def diff(update: Any, place: int = 0) -> tuple[str, str | None, str]:
    one = update.content[place]
    assert one.type == "diff"
    return one.path, one.old_text, one.new_text


def chosen(options: Any) -> dict[str, str]:
    return {option.id: option.current_value for option in options}


async def begun(file: Path) -> None:
    async with asyncio.timeout(20):
        while not file.exists():
            await asyncio.sleep(0.02)


def hermes(home: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes", *arguments],
        cwd=home.workdir,
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
