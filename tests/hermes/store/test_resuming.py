"""What a run that is resumed needs: its request, its started calls, what was said to it, what it has used."""

from __future__ import annotations

from dataclasses import replace

from hermes.core.message import ImagePart, Message, TextPart, ToolCall
from hermes.core.model import ToolSpec
from hermes.core.run import Ask, Limits, RunRequest, RunStatus, Usage
from hermes.store import runs, started_calls, steers
from hermes.store.database import Connection, Database
from hermes.store.encoding import from_json, to_json
from hermes.store.requests import messages_of, request_data, request_from_data
from tests.support.store import a_run, keep_run

REQUEST = RunRequest(
    owner="alice",
    source="api",
    messages=(Message("user", (TextPart("look"), ImagePart("https://example.org/a.png", "low"))),),
    session_id="s",
    session_key="visitor",
    history=(
        Message("user", "a"),
        Message("assistant", "", (ToolCall("c", "f", "{}"),)),
        Message("tool", "r", (), "c"),
    ),
    is_stateless=True,
    instructions="Be brief.",
    model="fast",
    params={"temperature": 0.5, "stop": ["x"]},
    client_tools=(ToolSpec("f", "does f", {"type": "object"}, strict=True),),
    tool_choice="f",
    toolsets=("file",),
    disabled_toolsets=("terminal",),
    limits=Limits(3, 100, 2.5, 0.1),
    ask=Ask.DENY,
    is_durable=True,
    may_wait_forever=True,
    workdir="/tmp",
    skip_context_files=True,
    skip_memory=True,
)


def test_a_request_comes_back_whole_from_json() -> None:
    data = from_json(to_json(request_data(REQUEST)))
    assert request_from_data(data, a_run(is_durable=True)) == REQUEST
    bare = RunRequest(owner="alice", source="api", messages=(Message("user", "hi"),), session_id="s", is_durable=True)
    assert request_from_data(from_json(to_json(request_data(bare))), a_run(is_durable=True)) == bare
    assert (messages_of(data), messages_of({})) == (REQUEST.messages, ())


async def test_a_marked_call_is_started_until_it_has_a_result(database: Database) -> None:
    await database.write(keep_run)
    for call in ("a", "b", "a"):
        await database.write(started_calls.mark, "r", call, 1.0)
    assert await database.read(started_calls.of_run, "r") == {"a", "b"}
    await database.write(started_calls.forget, "r", "a")
    assert await database.read(started_calls.of_run, "r") == {"b"}


async def test_steers_wait_in_order_until_they_are_heard(database: Database) -> None:
    await database.write(keep_run)
    for text in ("first", "second"):
        await database.write(steers.add, "r", text, 1.0)
    waiting = await database.read(steers.waiting, "r")
    assert [text for _, text in waiting] == ["first", "second"]
    assert await database.read(steers.waiting, "r", waiting[0][0]) == waiting[1:]
    await database.write(steers.heard, "r")
    assert await database.read(steers.waiting, "r") == waiting[1:]
    await database.write(steers.heard, "r")
    await database.write(steers.heard, "r")
    assert await database.read(steers.waiting, "r") == []


async def test_usage_adds_up_while_the_run_goes_on_and_its_end_says_the_whole(database: Database) -> None:
    await database.write(keep_run)
    step = Usage(input_tokens=10, output_tokens=5, api_calls=1)
    for cost in (None, 0.25, None, 0.5):
        await database.write(runs.add_usage, "r", replace(step, cost_usd=cost))

    def kept(conn: Connection) -> Usage:
        run = runs.get(conn, "r")
        assert run is not None
        return run.usage

    assert await database.read(kept) == Usage(40, 20, api_calls=4, cost_usd=0.75)


async def test_a_resumed_run_is_running_again_and_counts(database: Database) -> None:
    await database.write(lambda conn: keep_run(conn, status=RunStatus.WAITING_FOR_APPROVAL))
    await database.write(runs.set_resumed, "r", 1, 7.0)
    run = await database.read(runs.get, "r")
    assert run is not None
    assert (run.status, run.resumed, run.updated_at) == (RunStatus.RUNNING, 1, 7.0)
