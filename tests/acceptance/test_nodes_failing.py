"""Nodes that are killed, that only hang, and that are stopped in order: others go on with their runs, and readers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, StartNodes, make_gateway
from tests.support.nodes import (
    FINAL,
    LIVE_SECONDS,
    TAKE_OVER_SECONDS,
    Data,
    at_once,
    ended,
    events_of,
    eventually,
    following,
    names,
    no_gap,
    reading,
    run_of,
    start,
    text_of,
    waits_for,
)

UNKNOWN = "[no result: the call was interrupted before it finished; whether it took effect is unknown]"
SLOW_SECONDS = 12.0
"""Twice as long as others wait for a beat."""


@contextmanager
def hanging(node: Gateway) -> Iterator[None]:
    os.kill(node.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.pid, signal.SIGCONT)


def given(happened: list[Data]) -> list[Data]:
    """Without the text of answers that were cut and given anew."""
    void = [(one["void_after"], one["seq"]) for one in happened if one["event"] == "run.resumed"]
    return [one for one in happened if not any(after < one["seq"] < resumed for after, resumed in void)]


@pytest.mark.slow
def test_what_a_killed_node_had_under_way_goes_on_elsewhere_and_readers_with_it(
    start_nodes: StartNodes, model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two, three = start_nodes(3)
    ran = tmp_path / "ran"
    command = f"echo once >> {ran}; sleep 60"
    model.add(
        Step("Half of the", when="^model", hang=True, times=1),
        Step("The whole answer.", when="^model"),
        Step(tool_calls=(Call("terminal", {"command": command}),), when="^command", after_tool=False),
        Step("I heard: {{tool}}", when="^command", after_tool=True),
        Step(tool_calls=(Call("terminal", {"command": "rm -rf build"}),), when="^question", after_tool=False),
        Step("Not there.", when="^question", after_tool=True),
        Step("In turn.", when="^behind"),
    )
    asks = ("model", "command", "question")
    runs = {ask: start(one, ask, session_id=ask) for ask in asks}
    runs["behind"] = start(one, "behind", session_id="command")
    with ExitStack() as stack:
        readers = {ask: stack.enter_context(following(two, run_id)) for ask, run_id in runs.items()}
        readers["model"].until_event("message.delta")
        readers["command"].until_event("tool.started")
        asked = readers["question"].until_event("approval.request")
        eventually(ran.exists)
        assert run_of(three, runs["behind"])["status"] == "queued"
        killed_at = time.time()
        one.kill()
        for ask in asks:
            resumed = readers[ask].until_event("run.resumed", TAKE_OVER_SECONDS)
            assert resumed["timestamp"] - killed_at <= TAKE_OVER_SECONDS, ask
        question = eventually(lambda: run_of(three, runs["question"])["approvals"])[0]
        assert question["approval_id"] == asked["approval_id"]
        body = {"choice": "once", "approval_id": asked["approval_id"]}
        three.client.post(f"/v1/runs/{runs['question']}/approval", json=body).raise_for_status()
        happened = {ask: reader.all() for ask, reader in readers.items()}
    assert names(happened["model"]) == ["run.started", "run.resumed", "run.completed"]
    assert names(happened["command"]) == [
        "run.started",
        "tool.started",
        "run.resumed",
        "tool.completed",
        "run.completed",
    ]
    assert names(happened["question"]) == [
        "run.started",
        "tool.started",
        "approval.request",
        "run.resumed",
        "approval.request",
        "approval.responded",
        "tool.completed",
        "run.completed",
    ]
    assert names(happened["behind"]) == ["run.started", "run.completed"]
    assert ran.read_text() == "once\n"
    told = {ask: (run["output"], run["resumed"]) for ask in runs if (run := run_of(three, runs[ask]))}
    assert told == {
        "model": ("The whole answer.", 1),
        "command": (f"I heard: {UNKNOWN}", 1),
        "question": ("Not there.", 1),
        "behind": ("In turn.", 0),
    }
    for ask, run_id in runs.items():
        assert no_gap(happened[ask])
        assert events_of(three, run_id) == happened[ask]
    assert len(model.requests) == 7  # the cut one again, nothing else twice
    one.start()
    assert events_of(one, runs["model"]) == happened["model"]


def test_a_node_that_starts_again_at_once_goes_on_with_its_runs_or_leaves_them_to_others(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two = start_nodes(2)
    model.add(Step("Half", hang=True), Step("Whole."))
    run_id = start(one)
    with following(two, run_id) as reader:
        reader.until_event("message.delta")
        one.kill()
        one.start()
        happened = reader.all(LIVE_SECONDS)  # nobody has to wait until the killed one is taken for dead
    assert (names(happened), no_gap(happened)) == (["run.started", "run.resumed", "run.completed"], True)
    assert run_of(one, run_id)["output"] == "Whole."


@pytest.mark.slow
def test_a_chat_of_a_killed_node_that_nobody_can_read_any_more_is_told_as_interrupted(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two = start_nodes(2)
    model.add(Step("Half", hang=True))
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True}
    with reading(one, "POST", "/v1/chat/completions", json=body, headers={"X-Hermes-Session-Id": "s"}) as reader:
        reader.until(lambda chunk: chunk["choices"][0]["delta"].get("content"))
        run_id = reader.headers["x-hermes-run-id"]
        one.kill()
        run = eventually(lambda: (found := run_of(two, run_id))["status"] in FINAL and found)
    assert run["status"] == "interrupted"
    said = [item["content"] for item in two.client.get("/api/sessions/s/messages").json()["data"]]
    assert said == ["go", "Half"]
    assert len(model.requests) == 1


@pytest.mark.slow
def test_a_node_that_hung_loses_its_runs_once_and_serves_again(
    start_nodes: StartNodes, model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two, three = start_nodes(3)
    ran, go = tmp_path / "ran", tmp_path / "go"
    command = f"echo once >> {ran}; while [ ! -e {go} ]; do sleep 0.05; done"
    words = [f"word{number} " for number in range(400)]
    model.add(
        Step(words, when="^model", delay_ms=50, times=1),
        Step("The whole answer.", when="^model"),
        Step(tool_calls=(Call("terminal", {"command": command}),), when="^command", after_tool=False),
        Step("I heard: {{tool}}", when="^command", after_tool=True),
        Step("Here again.", when="^later"),
    )
    runs = {ask: start(one, ask, session_id=ask) for ask in ("model", "command")}
    with ExitStack() as stack:
        elsewhere = {ask: stack.enter_context(following(two, run_id)) for ask, run_id in runs.items()}
        own = {ask: stack.enter_context(following(one, run_id)) for ask, run_id in runs.items()}
        for readers in (elsewhere, own):
            readers["model"].until_event("message.delta")
            readers["command"].until_event("tool.started")
        eventually(ran.exists)
        with hanging(one):
            for reader in elsewhere.values():
                reader.until_event("run.resumed", SLOW_SECONDS)
            happened = {ask: reader.all() for ask, reader in elsewhere.items()}
        go.touch()  # what the hung node's own command waited for: its result comes too late
        for ask, reader in own.items():  # its readers get what really happened, from where they were
            assert reader.all() == happened[ask]
    assert names(happened["model"]) == ["run.started", "run.resumed", "run.completed"]
    assert names(happened["command"]) == [
        "run.started",
        "tool.started",
        "run.resumed",
        "tool.completed",
        "run.completed",
    ]
    assert ran.read_text() == "once\n"
    assert run_of(one, runs["model"])["output"] == "The whole answer."
    assert run_of(one, runs["command"])["output"] == f"I heard: {UNKNOWN}"
    said = [item["content"] for item in two.client.get("/api/sessions/model/messages").json()["data"]]
    assert said == ["model", "The whole answer."]
    later = start(one, "later")
    assert (ended(two, later)["output"], run_of(two, later)["resumed"]) == ("Here again.", 0)
    for ask, run_id in runs.items():
        for node in (one, two, three):
            assert (events_of(node, run_id), no_gap(happened[ask])) == (happened[ask], True)


@pytest.mark.slow
def test_a_node_that_is_stopped_gives_its_runs_to_the_others_at_once(
    start_nodes: StartNodes, model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two = start_nodes(2, {"api_server": {"drain_timeout": 0.2}})
    model.add(
        Step("Half of the", when="^model", hang=True, times=1),
        Step("The whole answer.", when="^model"),
        Step(tool_calls=(Call("terminal", {"command": "rm -rf build"}),), when="^question", after_tool=False),
        Step("Not there.", when="^question", after_tool=True),
        Step("In turn.", when="^behind"),
    )
    runs = {ask: start(one, ask, session_id=ask) for ask in ("model", "question")}
    runs["behind"] = start(one, "behind", session_id="question")
    with ExitStack() as stack:
        readers = {ask: stack.enter_context(following(two, run_id)) for ask, run_id in runs.items()}
        readers["model"].until_event("message.delta")
        asked = readers["question"].until_event("approval.request")
        assert one.stop() == 0
        resumed = readers["model"].until_event("run.resumed")
        before = max(one["timestamp"] for one in readers["model"].seen if one["seq"] < resumed["seq"])
        assert resumed["timestamp"] - before < TAKE_OVER_SECONDS
        eventually(lambda: run_of(two, runs["question"])["approvals"])
        body = {"choice": "once", "approval_id": asked["approval_id"]}
        two.client.post(f"/v1/runs/{runs['question']}/approval", json=body).raise_for_status()
        happened = {ask: reader.all() for ask, reader in readers.items()}
    assert [one[-1]["event"] for one in happened.values()] == ["run.completed"] * 3
    assert all(map(no_gap, happened.values()))
    told = [(run["output"], run["resumed"]) for run in (run_of(two, run_id) for run_id in runs.values())]
    assert told == [("The whole answer.", 1), ("Not there.", 1), ("In turn.", 0)]


def test_what_nodes_tell_each_other_may_be_lost_and_nothing_else_is(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two = start_nodes(2)
    assert one.database_url is not None
    questions = [f"rm -rf build{number}" for number in range(5)]
    model.add(*(Step(tool_calls=(Call("terminal", {"command": command}),)) for command in questions), Step("Done."))
    with psycopg.connect(one.database_url, autocommit=True) as conn:

        def cut() -> None:
            query = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            query += " WHERE application_name = %s AND datname = current_database()"
            conn.execute(query, ("hermes signals",))

        run_id = start(one)
        with following(two, run_id) as reader:
            for command in questions:
                asked = reader.until(lambda event, command=command: event.get("command") == command)
                cut()
                body = {"choice": "once", "approval_id": asked["approval_id"]}
                two.client.post(f"/v1/runs/{run_id}/approval", json=body).raise_for_status()
                cut()
            happened = reader.all()
    assert names(happened).count("approval.responded") == 5
    assert (happened[-1]["event"], no_gap(happened)) == ("run.completed", True)
    assert events_of(one, run_id) == happened


@pytest.mark.slow
def test_nodes_are_restarted_one_after_another_and_no_run_is_lost(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    nodes = start_nodes(3, {"api_server": {"drain_timeout": 0.2}})
    words = [f"w{number} " for number in range(100)]
    model.add(Step([*words, "end of {{user}}"], when=r"\d", times=0, delay_ms=10))
    runs: list[str] = []
    for number, node in enumerate(nodes):
        runs += [start(other, f"{number}{place}") for place, other in enumerate(nodes)]
        assert node.stop() == 0
        others = [other for other in nodes if other is not node]
        runs += [start(other, f"{number}{place}", session_id="one") for place, other in enumerate(others, 5)]
        node.start()
    outputs = [ended(nodes[0], run_id) for run_id in runs]
    assert [run["status"] for run in outputs] == ["completed"] * len(runs)
    whole = "".join(words)
    assert all(run["output"].startswith(f"{whole}end of ") for run in outputs)
    for run_id in runs:
        happened = events_of(nodes[1], run_id)
        assert no_gap(happened)
        assert text_of(given(happened)).startswith(f"{whole}end of ")


@pytest.mark.slow
def test_an_idempotency_key_of_a_killed_node_is_the_same_run_elsewhere(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two = start_nodes(2)
    model.add(Step("Moment.", hang=True), Step("Done."))
    ask = {
        "json": {"messages": [{"role": "user", "content": "go"}], "stream": True},
        "headers": {"Idempotency-Key": "once"},
    }
    with reading(one, "POST", "/v1/chat/completions", **ask) as first:
        first.until(lambda data: "Moment." in json.dumps(data))
        run_id = first.headers["x-hermes-run-id"]
        one.kill()
        with reading(two, "POST", "/v1/chat/completions", **ask) as again:
            chunks = again.all()
    assert again.headers["x-hermes-run-id"] == run_id
    text = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])
    assert text.endswith("Done.")
    assert (run_of(two, run_id)["resumed"], len(two.client.get("/v1/runs").json()["data"])) == (1, 1)
    assert len(model.requests) == 2


def test_nodes_that_start_at_once_on_an_empty_database_all_serve(
    tmp_path: Path, model: ScriptedModelServer, postgres: str
) -> None:
    name = "never_migrated"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {name}")
    url = make_url(postgres).set(database=name).render_as_string(hide_password=False)
    key = "k" * 43
    nodes = [make_gateway(tmp_path, model, number=number, database_url=url, key=key) for number in range(3)]
    model.add(Step("Yes.", when="there", times=0))
    try:
        at_once(*(node.start for node in nodes))
        started = [start(node, "are you there?") for node in nodes]
        for node in nodes:
            assert [ended(node, run_id)["output"] for run_id in started] == ["Yes."] * 3
    finally:
        for node in nodes:
            node.close()
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_node_that_joins_later_serves_what_was_there(
    start_nodes: StartNodes, start_gateway: StartGateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    (one,) = start_nodes(1)
    mark = tmp_path / "mark"
    model.add(waits_for(mark), Step("Done."))
    run_id = start(one)
    eventually(lambda: run_of(one, run_id)["last_event"] == "tool.started")
    two = start_gateway(database_url=one.database_url, key=one.key)
    with following(two, run_id) as reader:
        reader.until_event("tool.started")
        assert run_of(two, run_id)["resumed"] == 0  # it belongs to a node that lives
        mark.touch()
        assert names(reader.all()) == ["run.started", "tool.started", "tool.completed", "run.completed"]
