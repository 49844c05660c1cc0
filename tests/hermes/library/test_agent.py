"""`AIAgent` against a model on a socket."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest

from hermes.core.errors import NotFound
from hermes.models.scripted import Call, ScriptedModelServer, Step
from run_agent import (
    AIAgent,
    InvalidInput,
    LimitReached,
    NoModel,
    RunStopped,
    UpstreamAuth,
    UpstreamUnreachable,
    events,
)
from tests.support import documents
from tests.support.database import is_postgres, new_url

Play = Callable[..., ScriptedModelServer]


def agent(server: ScriptedModelServer, **options) -> AIAgent:
    if is_postgres():
        options = {"store": new_url(), **options}
    return AIAgent(**{"model": "scripted", "base_url": server.base_url, "quiet_mode": True, **options})


def terminal(command: str, text: str = "") -> Step:
    return Step(text=text, tool_calls=(Call("terminal", {"command": command}),))


def roles(messages: list[dict]) -> list[str]:
    return [message["role"] for message in messages]


def test_chat_gives_the_text_of_the_answer(echo):
    with agent(echo) as asked:
        assert asked.chat("Hello") == "You said: Hello"


@pytest.mark.sqlite("an agent without a store has its data in memory")
def test_a_base_url_needs_no_key(play):
    server = play("Hi")
    with AIAgent(model="scripted", base_url=server.base_url, quiet_mode=True) as asked:
        result = asked.run_conversation("Hello")
    assert result["final_response"] == "Hi"
    assert result["model"] == "scripted"
    assert "authorization" not in server.received[-1].headers


def test_the_given_key_is_sent(play):
    server = play("Hi")
    with agent(server, api_key="sk-of-mine") as asked:
        asked.chat("Hello")
    assert server.received[-1].headers["authorization"] == "Bearer sk-of-mine"


def test_a_conversation_tells_all_there_is_to_know(play, nowhere: Path):
    server = play(
        Step(
            text="I look.",
            tool_calls=(Call("terminal", {"command": "pwd"}, id="call_a"),),
            usage={"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
        ),
        Step(text="Done.", usage={"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}),
    )
    with agent(server) as asked:
        result = asked.run_conversation("Where are we?")
        assert result["session_id"] == asked.session_id
    assert result["run_id"].startswith("run_")
    result.pop("run_id")  # type: ignore[misc]
    result.pop("session_id")  # type: ignore[misc]
    tool = result["messages"].pop(2)
    assert tool["role"] == "tool" and tool["tool_call_id"] == "call_a" and str(nowhere) in tool["content"]
    assert result == {
        "final_response": "Done.",
        "messages": [
            {"role": "user", "content": "Where are we?"},
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "terminal", "arguments": '{"command":"pwd"}'},
                    }
                ],
            },
            {"role": "assistant", "content": "Done."},
        ],
        "completed": True,
        "failed": False,
        "interrupted": False,
        "error": None,
        "error_code": None,
        "finish_reason": "stop",
        "warnings": [],
        "model": "scripted",
        "api_calls": 2,
        "input_tokens": 30,
        "output_tokens": 6,
        "total_tokens": 36,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": None,
    }


def test_messages_can_be_handed_back_in(play):
    server = play(terminal("true"), "It worked.", "You asked for true.")
    with agent(server) as asked:
        first = asked.run_conversation("Run true")
        history = first["messages"]
        second = asked.run_conversation("What did I ask?", conversation_history=history)
    assert roles(history) == ["user", "assistant", "tool", "assistant"]  # the caller's list is the caller's
    assert roles(second["messages"]) == [*roles(history), "user", "assistant"]
    assert second["messages"][:4] == history
    sent = server.requests[-1]["messages"]
    assert roles(sent) == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_a_document_is_read_for_the_model_and_handed_back_as_it_was_read(play):
    server = play("I see", "Still")
    data = base64.b64encode(documents.docx("tulip-42")).decode()
    said = [{"type": "file", "file": {"filename": "plan.docx", "file_data": data}}]
    with agent(server) as asked:
        first = asked.run_conversation(said)
        asked.run_conversation("And now?", conversation_history=first["messages"])
    before, after = (request["messages"][1]["content"] for request in server.requests)
    assert "tulip-42" in before[0]["text"]
    assert after == before == first["messages"][0]["content"]


def test_an_uploaded_file_is_unknown_where_there_are_no_uploads(play):
    with agent(play()) as asked, pytest.raises(NotFound, match="file-1") as refused:
        asked.run_conversation([{"type": "file", "file": {"file_id": "file-1"}}])
    assert refused.value.param == "user_message[0].content[0].file.file_id"


def test_without_a_history_a_call_knows_nothing_of_the_one_before(echo):
    with agent(echo) as asked:
        first = asked.run_conversation("One")
        second = asked.run_conversation("Two")
    assert roles(echo.requests[-1]["messages"]) == ["system", "user"]
    assert first["session_id"] != second["session_id"]


def test_a_named_session_remembers(echo):
    with agent(echo, session_id="alice") as asked:
        asked.chat("One")
        result = asked.run_conversation("Two")
    assert [message["content"] for message in result["messages"]] == ["One", "You said: One", "Two", "You said: Two"]
    assert result["session_id"] == "alice"


def test_a_store_remembers_over_agents(echo, tmp_path: Path):
    file = tmp_path / "state.db"
    for turns in (1, 2):
        with agent(echo, session_id="alice", store=new_url(file) if is_postgres() else file) as asked:
            assert roles(asked.run_conversation("Again")["messages"]) == ["user", "assistant"] * turns


def test_a_handed_in_history_goes_on_in_the_same_directory(play, nowhere: Path):
    (nowhere / "inner").mkdir()
    server = play(terminal("cd inner"), "There.", terminal("pwd"), "Here.", terminal("pwd"), "Anew.")
    with agent(server) as asked:
        first = asked.run_conversation("Go inside")
        second = asked.run_conversation("Where?", conversation_history=first["messages"])
        third = asked.run_conversation("Where?")
    assert str(nowhere / "inner") in second["messages"][-2]["content"]
    assert "inner" not in third["messages"][-2]["content"]


def test_tasks_of_one_agent_have_their_own_terminals(play, nowhere: Path):
    (nowhere / "inner").mkdir()
    server = play(terminal("cd inner"), "There.", terminal("pwd"), "Here.")
    with agent(server, session_id="s") as asked:
        one = asked.run_conversation("Go inside", task_id="one")
        two = asked.run_conversation("Where?", task_id="two")
    assert "inner" not in two["messages"][-2]["content"]
    assert (one["session_id"], two["session_id"]) == ("s:one", "s:two")


def test_system_texts_are_layered_over_the_own_instructions(echo):
    with agent(echo, ephemeral_system_prompt="Speak Latin.") as asked:
        asked.chat("One")
        asked.run_conversation("Two", system_message="Speak Greek.")
        asked.run_conversation("Three", conversation_history=[{"role": "system", "content": "Be brief."}])
    one, two, three = (request["messages"][0]["content"] for request in echo.requests)
    assert "Speak Latin." in one
    assert "Speak Greek." in two and "Latin" not in two
    assert "Speak Latin." in three and "Be brief." in three


def test_parameters_reach_the_model(echo):
    with agent(
        echo, max_tokens=50, reasoning_config={"effort": "low"}, request_overrides={"temperature": 0.5}
    ) as asked:
        asked.chat("Hello")
    sent = echo.requests[-1]
    assert sent.get("max_tokens", sent.get("max_completion_tokens")) == 50
    assert (sent["reasoning_effort"], sent["temperature"]) == ("low", 0.5)


def test_toolsets_are_chosen(echo):
    with agent(echo, enabled_toolsets=["file"]) as asked:
        asked.chat("Hello")
    with agent(echo, disabled_toolsets=["file", "browser"]) as asked:
        asked.chat("Hello")
    with agent(echo, enabled_toolsets=[]) as asked:
        asked.chat("Hello")
    first, second, third = (
        {tool["function"]["name"] for tool in request.get("tools") or []} for request in echo.requests
    )
    assert first == {"read_file", "write_file", "patch", "search_files"}
    assert second >= {"terminal", "process", "todo", "session_search"}
    assert not second & first
    assert third == set()


def test_safe_offers_nothing_that_writes_or_runs(echo, nowhere: Path):
    with agent(echo, enabled_toolsets=["safe"]) as asked:
        asked.chat("Hello")
    offered = {tool["function"]["name"] for tool in echo.requests[0]["tools"]}
    assert offered >= {"todo", "web_search", "web_extract"}
    assert not offered & {"terminal", "process", "write_file", "patch", "memory", "skill_manage"}


def test_context_files_are_read_unless_skipped(echo, nowhere: Path):
    (nowhere / "AGENTS.md").write_text("Answer in rhymes.")
    with agent(echo) as asked:
        asked.chat("Hello")
    with agent(echo, skip_context_files=True) as asked:
        asked.chat("Hello")
    first, second = (request["messages"][0]["content"] for request in echo.requests)
    assert "Answer in rhymes." in first
    assert "rhymes" not in second


def test_callbacks_are_called_in_the_callers_thread(play):
    server = play(Step(reasoning="Hm.", tool_calls=(Call("terminal", {"command": "true"}, id="call_a"),)), "All done")
    told: list[tuple] = []
    threads: set[threading.Thread] = set()

    def note(*what: object, **more: object) -> None:
        threads.add(threading.current_thread())
        told.append((*what, *sorted(more.items())))

    with agent(server, stream_delta_callback=note, reasoning_callback=note, tool_progress_callback=note) as asked:
        asked.chat("Hello", stream_callback=lambda delta: note("also", delta))
    assert threads == {threading.current_thread()}
    assert told[0] == ("Hm.",)
    assert told[1] == ("tool.started", "terminal", "true", {"command": "true"}, ("tool_call_id", "call_a"))
    assert told[2][:4] == ("tool.completed", "terminal", None, None)
    assert ("is_error", False) in told[2] and ("tool_call_id", "call_a") in told[2]
    assert "".join(one[0] for one in told[3:] if one[0] != "also") == "All done"
    assert "".join(one[1] for one in told[3:] if one[0] == "also") == "All done"


def test_a_callbacks_exception_reaches_the_caller_and_ends_the_run(play):
    server = play(Step(text="one two three", delay_ms=50), "Next")

    def burst(delta: str) -> None:
        raise ZeroDivisionError

    with agent(server, stream_delta_callback=burst) as asked:
        with pytest.raises(ZeroDivisionError):
            asked.chat("Hello")
        asked.stream_delta_callback = None
        assert asked.chat("Hello") == "Next"


def test_nobody_to_ask_is_a_denial(play, nowhere: Path):
    (nowhere / "precious").mkdir()
    server = play(terminal("rm -rf precious"), "I could not.")
    with agent(server) as asked:
        result = asked.run_conversation("Delete it")
    assert (nowhere / "precious").is_dir()
    assert "nobody can be asked" in result["messages"][2]["content"]
    assert result["final_response"] == "I could not."


@pytest.mark.parametrize(("answer", "is_done"), [("once", True), (True, True), ("deny", False), (None, False)])
def test_the_approval_callback_decides(play, nowhere: Path, answer: object, is_done: bool):
    (nowhere / "precious").mkdir()
    server = play(terminal("rm -rf precious"), "Tried.")
    asked_about: list[tuple[str, str, bool]] = []

    def decide(command: str, description: str, *, allow_permanent: bool) -> object:
        asked_about.append((command, description, allow_permanent))
        return answer

    with agent(server, approval_callback=decide) as asked:
        assert asked.chat("Delete it") == "Tried."
    assert [command for command, *_ in asked_about] == ["rm -rf precious"]
    assert (nowhere / "precious").exists() is not is_done


def test_the_clarify_callback_answers_the_model(play):
    server = play(Step(tool_calls=(Call("clarify", {"question": "Which?", "choices": ["a", "b"]}),)), "I see.")
    asked_about: list[tuple[str, list[str]]] = []

    def decide(question: str, choices: list[str]) -> str:
        asked_about.append((question, choices))
        return "c"

    with agent(server, clarify_callback=decide) as asked:
        result = asked.run_conversation("Go")
    assert asked_about == [("Which?", ["a", "b"])]
    assert result["messages"][2]["content"] == "The user answered: c"


async def test_the_clarify_callback_may_be_a_coroutine_and_may_know_no_answer(play):
    server = play(Step(tool_calls=(Call("clarify", {"question": "Which?"}),)), "I see.")

    async def shrug(question: str, choices: list[str]) -> None:
        return None

    async with agent(server, clarify_callback=shrug) as asked:
        result = await asked.arun_conversation("Go")
    assert result["messages"][2]["content"] == "The user answered: (no answer)"


def test_without_a_clarify_callback_the_model_is_told_that_nobody_can_be_asked(play):
    server = play(Step(tool_calls=(Call("clarify", {"question": "Which?"}),)), "I see.")
    with agent(server, approval_callback=lambda *_, **__: "once") as asked:
        result = asked.run_conversation("Go")
    assert "Nobody can be asked" in result["messages"][2]["content"]


@pytest.mark.sqlite("an agent without a store has its data in memory")
def test_a_dead_provider_is_told_in_the_result_and_raised_by_chat():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with AIAgent(model="m", base_url=base_url, quiet_mode=True, request_overrides={}) as asked:
            result = asked.run_conversation("Hello")
            with pytest.raises(UpstreamUnreachable) as raised:
                asked.chat("Hello")
    assert (result["completed"], result["failed"], result["error_code"]) == (False, True, "upstream_unreachable")
    assert result["error"] == raised.value.message
    assert result["final_response"] == ""
    assert result["messages"] == [{"role": "user", "content": "Hello"}]


def test_the_exception_is_of_its_class(play):
    server = play(Step(status=401, error="wrong key", times=0))
    with agent(server, api_key="sk-wrong") as asked, pytest.raises(UpstreamAuth) as raised:
        asked.chat("Hello")
    assert raised.value.status == 401


@pytest.mark.sqlite("an agent without a store has its data in memory")
def test_no_model_at_all_says_what_to_do():
    asked = AIAgent(provider="openai", model="gpt-5", quiet_mode=True)
    with asked, pytest.raises(NoModel, match="OPENAI_API_KEY"):
        asked.chat("Hello")


def test_the_iteration_limit_is_told(play):
    server = play(Step(text="Once more.", tool_calls=(Call("terminal", {"command": "true"}),), times=0))
    with agent(server, max_iterations=2) as asked:
        result = asked.run_conversation("Loop")
        with pytest.raises(LimitReached, match="max_steps=2"):
            asked.chat("Loop")
    assert (result["completed"], result["failed"], result["api_calls"]) == (False, False, 2)
    assert result["finish_reason"] == "length"
    assert any("max_steps=2" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"enabled_toolsets": ["terminl"]}, "enabled_toolsets"),
        ({"disabled_toolsets": ["terminl"]}, "disabled_toolsets"),
        ({"enabled_toolsets": "terminal"}, "enabled_toolsets"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"session_id": "a b"}, "session_id"),
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"reasoning_config": {"effort": "huge"}}, "reasoning_config"),
    ],
)
def test_wrong_arguments_are_named_at_once(options, param):
    with pytest.raises(InvalidInput) as raised:
        AIAgent(**{"model": "m", "base_url": "http://127.0.0.1:1/v1", **options})
    assert raised.value.param == param


def test_an_unknown_argument_is_a_type_error_that_names_it():
    with pytest.raises(TypeError, match="save_trajectories"):
        AIAgent(save_trajectories=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"user_message": 5}, "user_message"),
        ({"user_message": "Hi", "conversation_history": [{"role": "nobody"}]}, "conversation_history[0].role"),
        ({"user_message": "Hi", "task_id": "a b"}, "task_id"),
    ],
)
def test_wrong_messages_are_named_at_once(echo, arguments, param):
    with agent(echo) as asked, pytest.raises(InvalidInput) as raised:
        asked.run_conversation(**arguments)
    assert raised.value.param is not None and raised.value.param.startswith(param)


def test_interrupt_ends_the_turn_and_keeps_what_was_said(play):
    server = play(Step(text="one two", hang=True), Step(text="three", hang=True), "Next")
    with agent(server) as asked:
        asked.stream_delta_callback = lambda delta: asked.interrupt()
        result = asked.run_conversation("Hello")
        with pytest.raises(RunStopped):
            asked.chat("Hello")
        asked.stream_delta_callback = None
        assert asked.chat("Hello") == "Next"
    assert (result["completed"], result["interrupted"], result["failed"]) == (False, True, False)
    assert result["final_response"].startswith("one")
    assert result["messages"][-1]["content"] == result["final_response"]


def test_close_ends_what_runs_and_the_agent_can_be_used_again(play):
    server = play(Step(text="one", hang=True), "Next")
    asked = agent(server)
    asked.stream_delta_callback = lambda delta: threading.Thread(target=asked.close).start()
    result = asked.run_conversation("Hello")
    assert result["interrupted"] and result["final_response"] == "one"
    asked.stream_delta_callback = None
    assert asked.chat("Hello") == "Next"
    asked.close()
    asked.close()


def test_steering_is_heard_before_the_next_step(play):
    server = play(terminal("true"), "As you wish.")
    with agent(server) as asked:
        asked.tool_progress_callback = lambda *what, **more: asked.steer("In French!")
        result = asked.run_conversation("Hello")
    assert "In French!" in [message["content"] for message in result["messages"]]


def test_eight_threads_at_once(echo):
    def ask(number: int) -> list[str]:
        with agent(echo) as asked:
            return [asked.chat(f"{number}.{turn}") for turn in range(5)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [[f"You said: {number}.{turn}" for turn in range(5)] for number in range(8)]


def test_one_agent_from_sixteen_threads_at_once_has_one_engine(echo):
    writers = _writers()
    with agent(echo, session_id="one") as asked, ThreadPoolExecutor(16) as pool:
        begin = threading.Barrier(16)

        def ask(number: int) -> str:
            begin.wait()
            return asked.chat(f"{number}", stream_callback=lambda piece: heard[number].append(piece))

        heard: list[list[str]] = [[] for _ in range(16)]
        answers = list(pool.map(ask, range(16)))
        assert answers == [f"You said: {number}" for number in range(16)]
        assert ["".join(pieces) for pieces in heard] == answers, "each call's callback hears its own answer"
        assert _writers() - writers <= 1, "one store, whoever came first"
        said = [message["content"] for message in asked.run_conversation("last")["messages"]]
    pairs = {(said[at], said[at + 1]) for at in range(0, 32, 2)}
    assert pairs == {(f"{number}", f"You said: {number}") for number in range(16)}, "no turn within another"


def _writers() -> int:
    return sum(thread.name == "hermes-store-writer" for thread in threading.enumerate())


def test_one_agent_on_several_loops_at_once(echo):
    async def ask(asked: AIAgent, number: int) -> list[str]:
        return await asyncio.gather(*(asked.achat(f"{number}.{turn}") for turn in range(5)))

    with agent(echo) as asked, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: asyncio.run(ask(asked, number)), range(4)))
    assert answers == [[f"You said: {number}.{turn}" for turn in range(5)] for number in range(4)]


async def test_cancelling_one_call_leaves_the_others_of_the_agent_alone(play):
    server = play(Step(when="^wait", text=["one", "two"], hang=True), Step(text="You said: {{user}}", times=0))
    async with agent(server) as asked:
        has_begun = asyncio.Event()
        waiting = asyncio.create_task(asked.achat("wait", stream_callback=lambda piece: has_begun.set()))
        await has_begun.wait()
        others = asyncio.gather(*(asked.achat(f"{number}") for number in range(5)))
        waiting.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await others == [f"You said: {number}" for number in range(5)]
        assert await asked.achat("after") == "You said: after"


async def test_twenty_agents_on_one_loop(echo):
    agents = [agent(echo) for _ in range(20)]
    answers = await asyncio.gather(*(one.achat(f"{number}") for number, one in enumerate(agents)))
    assert answers == [f"You said: {number}" for number in range(20)]
    await asyncio.gather(*(one.aclose() for one in agents))


async def test_twenty_calls_of_one_agent_go_side_by_side(echo):
    async with agent(echo) as asked:
        answers = await asyncio.gather(*(asked.achat(f"{number}") for number in range(20)))
        assert answers == [f"You said: {number}" for number in range(20)]


async def test_calls_of_one_session_take_turns(play):
    server = play(Step(text="{{user}}", delay_ms=5, times=0))
    async with agent(server, session_id="one") as asked:
        await asyncio.gather(*(asked.achat(f"{number}") for number in range(5)))
        result = await asked.arun_conversation("last")
    assert roles(result["messages"]) == ["user", "assistant"] * 6
    said = [message["content"] for message in result["messages"]]
    assert said[0::2] == said[1::2]


async def test_async_callbacks_are_awaited(play, nowhere: Path):
    (nowhere / "precious").mkdir()
    server = play(terminal("rm -rf precious"), "Gone.")
    told: list[str] = []

    async def note(delta: str) -> None:
        await asyncio.sleep(0)
        told.append(delta)

    async def allow(command: str, description: str, *, allow_permanent: bool) -> str:
        await asyncio.sleep(0)
        return "once"

    async with agent(server, stream_delta_callback=note, approval_callback=allow) as asked:
        assert await asked.achat("Delete it") == "Gone."
    assert "".join(told) == "Gone."
    assert not (nowhere / "precious").exists()


async def test_events_are_the_runs_own(play):
    server = play(terminal("true"), "Done.")
    async with agent(server) as asked:
        seen = [event async for event in asked.events("Hello")]
    kinds = [type(event) for event in seen if not isinstance(event, events.MessageDelta)]
    assert kinds == [events.RunStarted, events.ToolStarted, events.ToolCompleted, events.RunCompleted]


async def test_a_stream_is_the_text(play):
    server = play("Hello my friend", Step(status=401))
    async with agent(server) as asked:
        assert "".join([piece async for piece in asked.stream("Hi")]) == "Hello my friend"
        with pytest.raises(UpstreamAuth):
            async for _ in asked.stream("Hi"):
                pass


async def test_leaving_a_stream_stops_the_run(play):
    server = play(Step(text="one two", hang=True), "Next")
    async with agent(server) as asked:
        async with aclosing(asked.stream("Hi")) as pieces:
            async for _ in pieces:
                break
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: _until(lambda: server.disconnects == 1))
        assert await asked.achat("Hi") == "Next"


async def test_cancelling_the_caller_stops_the_run(play):
    server = play(Step(text="one two", hang=True), "Next")
    has_begun = asyncio.Event()
    async with agent(server, stream_delta_callback=lambda delta: has_begun.set()) as asked:
        task = asyncio.create_task(asked.achat("Hi"))
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.get_running_loop().run_in_executor(None, lambda: _until(lambda: server.disconnects == 1))
        assert await asked.achat("Hi") == "Next"


async def test_a_blocking_call_works_beside_a_running_loop(echo):
    with agent(echo) as asked:
        assert asked.chat("Hello") == "You said: Hello"  # published examples do this in handlers


def _until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if holds():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")


def test_images_are_sent(echo):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with agent(echo) as asked:
        result = asked.run_conversation([{"type": "text", "text": "What is it?"}, picture])
    assert result["messages"][0]["content"][1] == picture
    assert echo.requests[-1]["messages"][1]["content"][1]["type"] == "image_url"


@pytest.mark.sqlite("an agent without a store has its data in memory")
def test_the_homes_model_answers_when_none_is_named(play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server, other = play("From the home"), play("From there")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    config = home / "config.yaml"
    config.write_text(f"model:\n  default: scripted\n  base_url: {server.base_url}\n  api_key: sk-homes-own\n")
    config.chmod(0o600)
    monkeypatch.setenv("HERMES_HOME", str(home))
    with AIAgent(quiet_mode=True) as asked:
        assert asked.chat("Hello") == "From the home"
    with AIAgent(base_url=other.base_url, model="m", quiet_mode=True) as asked:
        assert asked.chat("Hello") == "From there"
    assert server.received[-1].headers["authorization"] == "Bearer sk-homes-own"
    assert "authorization" not in other.received[-1].headers  # the home's key goes to the home's provider only


def test_a_fallback_answers_when_the_model_fails(play):
    broken, sound = play(Step(status=401, times=0)), play("I am here")
    fallback = {"model": "other", "base_url": sound.base_url}
    with agent(broken, fallback_model=fallback) as asked:
        result = asked.run_conversation("Hello")
    assert result["final_response"] == "I am here"
