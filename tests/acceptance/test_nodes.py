"""Several gateways on one PostgreSQL are one service: it does not matter which of them is asked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hermes.models.script import Call, Player, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway
from tests.support.nodes import (
    FINAL,
    LIVE_SECONDS,
    Data,
    at_once,
    ended,
    events_of,
    eventually,
    following,
    hermes,
    names,
    no_gap,
    reading,
    run_of,
    start,
    text_of,
    waits_for,
    with_key,
)
from tests.support.postgres import postgres_database

USER = [{"role": "user", "content": "go"}]


def questions_of(node: Gateway, run_id: str) -> list[str]:
    return [one["approval_id"] for one in run_of(node, run_id)["approvals"]]


@pytest.fixture(scope="module")
def shared_model() -> Iterator[ScriptedModelServer]:
    with ScriptedModelServer(()) as server:
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, shared_model: ScriptedModelServer, postgres: str
) -> Iterator[list[Gateway]]:
    """Three nodes for the tests that leave them as they were."""
    root, key = tmp_path_factory.mktemp("nodes"), secrets.token_hex(32)
    with postgres_database(postgres) as url:
        made = [make_gateway(root, shared_model, number=number, database_url=url, key=key) for number in (1, 2, 3)]
        try:
            at_once(*(node.start for node in made))
            yield made
        finally:
            for node in made:
                node.close()


@pytest.fixture
def session() -> str:
    """The id of one, or another name that is new."""
    return f"s-{secrets.token_hex(6)}"


@pytest.fixture
def model(shared_model: ScriptedModelServer) -> ScriptedModelServer:
    """It has no script yet and has not been asked."""
    shared_model.player = Player((), model="scripted")
    shared_model.requests.clear()
    return shared_model


@pytest.fixture
def nodes(service: list[Gateway], model: ScriptedModelServer) -> Iterator[list[Gateway]]:
    """Nothing of the test goes on behind it."""
    yield service
    for run in service[0].client.get("/v1/runs", params={"limit": 200}).json()["data"]:
        if run["status"] not in FINAL:
            service[0].client.post(f"/v1/runs/{run['run_id']}/stop")
            ended(service[0], run["run_id"])


def test_a_conversation_goes_from_node_to_node(nodes: list[Gateway], model: ScriptedModelServer, session: str) -> None:
    one, two, three = nodes
    model.add("First.", "Second.", "Third.", "Fourth.", "Fifth.")
    mine = {"X-Hermes-Session-Id": session}
    said = [{"role": "user", "content": "1"}]
    one.client.post("/v1/chat/completions", json={"messages": said}, headers=mine).raise_for_status()
    ended(three, start(two, "2", session_id=session))
    third = three.client.post("/v1/responses", json={"input": "3"}, headers=mine).raise_for_status().json()
    body = {"input": "4", "previous_response_id": third["id"]}
    fourth = one.client.post("/v1/responses", json=body).raise_for_status().json()
    two.client.post(f"/api/sessions/{session}/chat", json={"message": "5"}).raise_for_status()
    heard = [(one["role"], one["content"]) for one in model.requests[-1]["messages"][1:]]
    assert heard == [
        *(("user", "1"), ("assistant", "First.")),
        *(("user", "2"), ("assistant", "Second.")),
        *(("user", "3"), ("assistant", "Third.")),
        *(("user", "4"), ("assistant", "Fourth.")),
        ("user", "5"),
    ]
    paths = (
        f"/v1/runs?session_id={session}",
        "/api/sessions",
        f"/api/sessions/{session}",
        f"/api/sessions/{session}/messages",
        f"/v1/responses/{fourth['id']}",
        f"/v1/responses/{third['id']}/input_items",
        "/api/sessions/search?q=Third",
    )
    for path in paths:
        shown = [node.client.get(path).raise_for_status().json() for node in (one, two, three)]
        assert shown[0] == shown[1] == shown[2], path
    assert len(one.client.get(paths[0]).json()["data"]) == 5


def test_events_of_a_run_come_live_from_every_node_and_are_the_same_list(
    nodes: list[Gateway], model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two, three = nodes
    marks = [tmp_path / f"mark{number}" for number in range(4)]
    model.add(*(waits_for(mark, says=f"Waiting for {mark.name}.") for mark in marks), Step("Done."))
    run_id = start(one)
    with following(two, run_id) as second, following(three, run_id) as third, following(one, run_id) as first:
        for number, mark in enumerate(marks, 1):  # what is shown before the mark is made was shown live
            for reader in (first, second, third):
                reader.until(lambda event, mark=mark: mark.name in str(event.get("preview")))
                assert names(reader.seen).count("tool.started") == number
            mark.touch()
        assert first.all() == second.all() == third.all()
        assert first.text == second.text == third.text
        happened = first.seen
    assert names(happened) == ["run.started", *(["tool.started", "tool.completed"] * 4), "run.completed"]
    assert no_gap(happened)
    for node in (one, two, three):
        assert events_of(node, run_id) == happened
        with following(node, run_id, after=5) as rest:
            assert rest.all() == happened[5:]


def test_a_stream_of_tokens_reaches_a_reader_on_another_node_whole(
    nodes: list[Gateway], model: ScriptedModelServer
) -> None:
    one, two, _ = nodes
    words = [f"wörd{number} 👋 " for number in range(300)]
    model.add(Step(words, delay_ms=2))
    run_id = start(one)
    with following(two, run_id) as reader:
        happened = reader.all()
    assert text_of(happened) == "".join(words)
    assert len(happened) > 5  # as it came, not in one piece behind the end
    assert (no_gap(happened), happened) == (True, events_of(one, run_id))


def test_a_background_response_is_read_from_another_node_while_it_is_made(
    nodes: list[Gateway], model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two, _ = nodes
    mark = tmp_path / "mark"
    model.add(waits_for(mark, says="Moment."), Step("Done."))
    made = one.client.post("/v1/responses", json={"input": "go", "background": True}).raise_for_status().json()
    path = f"/v1/responses/{made['id']}?stream=true"
    with reading(two, "GET", path) as reader:
        reader.until(lambda event: event["type"] == "response.output_text.delta")
        assert two.client.get(f"/v1/responses/{made['id']}").json()["status"] == "in_progress"
        mark.touch()
        happened = reader.all()
    assert [one["sequence_number"] for one in happened] == list(range(len(happened)))
    assert happened[-1]["type"] == "response.completed"
    for node in (one, two):
        with reading(node, "GET", f"{path}&starting_after=3") as rest:
            assert rest.all() == happened[4:]
    assert [node.client.get(f"/v1/responses/{made['id']}").json()["status"] for node in (one, two)] == ["completed"] * 2


def test_a_background_response_is_cancelled_on_another_node(nodes: list[Gateway], model: ScriptedModelServer) -> None:
    one, two, _ = nodes
    model.add(Step("Half", hang=True))
    made = one.client.post("/v1/responses", json={"input": "go", "background": True}).raise_for_status().json()
    with reading(two, "GET", f"/v1/responses/{made['id']}?stream=true") as reader:
        reader.until(lambda event: event["type"] == "response.output_text.delta")
        two.client.post(f"/v1/responses/{made['id']}/cancel").raise_for_status()
        assert reader.all()[-1]["type"] == "response.incomplete"
    eventually(lambda: one.client.get(f"/v1/responses/{made['id']}").json()["status"] == "cancelled")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": USER, "stream": True}),
        ("/api/sessions/{session}/chat/stream", {"message": "go"}),
        ("/v1/responses", {"input": "go", "stream": True}),
    ],
)
def test_the_same_idempotency_key_on_another_node_joins_the_run_that_goes_on(
    nodes: list[Gateway], model: ScriptedModelServer, tmp_path: Path, session: str, path: str, body: Data
) -> None:
    one, two, _ = nodes
    one.client.post("/api/sessions", json={"id": session}).raise_for_status()
    path = path.format(session=session)
    mark = tmp_path / "mark"
    model.add(waits_for(mark, says="Moment."), Step("Done."))
    ask = {"json": body, "headers": {"Idempotency-Key": session}}
    with reading(one, "POST", path, **ask) as first:
        first.until(lambda data: "Moment." in json.dumps(data))
        with reading(two, "POST", path, **ask) as second:
            second.until(lambda data: "Moment." in json.dumps(data))
            assert second.headers["idempotency-replayed"] == "true"
            other = two.client.post(path, json={**body, "temperature": 0.5}, headers=ask["headers"])
            assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_conflict")
            mark.touch()
            assert second.all()
            assert first.all()
        with reading(two, "POST", path, **ask) as again:
            again.all()
    told = [line for line in first.text.splitlines() if "Done." in line]
    assert told
    assert [line for line in again.text.splitlines() if "Done." in line] == told
    assert len(model.requests) == 2


@pytest.mark.parametrize("choice", ["once", "session", "always", "deny"])
def test_a_question_is_answered_on_another_node(
    nodes: list[Gateway], model: ScriptedModelServer, session: str, choice: str
) -> None:
    one, two, _ = nodes
    open_up = Call("terminal", {"command": f"chmod -R 755 {session}"}, id="call_1")
    model.add(Step(tool_calls=(open_up,), after_tool=False), Step("It said: {{tool}}", after_tool=True))
    for node in (one, two):
        (node.workdir / session).mkdir(0o700)
    run_id = start(one, session_id=session)
    with following(two, run_id) as reader:
        asked = reader.until_event("approval.request")
        shown = run_of(two, run_id)
        assert shown == run_of(one, run_id)
        assert (shown["status"], shown["approvals"][0]["approval_id"]) == ("waiting_for_approval", asked["approval_id"])
        body = {"choice": choice, "approval_id": asked["approval_id"]}
        told = two.client.post(f"/v1/runs/{run_id}/approval", json=body).raise_for_status().json()
        assert (told["choice"], told["resolved"]) == (choice, 1)
        happened = reader.all()
    responded = next(one for one in happened if one["event"] == "approval.responded")
    told = tuple(responded[name] for name in ("approval_id", "choice", "outcome"))
    assert told == (asked["approval_id"], choice, "user")
    assert happened[-1]["event"] == "run.completed"
    assert (one.workdir / session).stat().st_mode & 0o777 == (0o700 if choice == "deny" else 0o755)
    again = one.client.post(f"/v1/runs/{run_id}/approval", json=body)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "approval_not_active")
    second = start(one if choice == "always" else two, session_id=session)  # `always` is written in the home of a node
    if choice in ("session", "always"):
        assert "approval.request" not in names(events_of(one, second))
    else:
        eventually(lambda: questions_of(one, second))


def test_of_two_answers_from_two_nodes_one_wins(nodes: list[Gateway], model: ScriptedModelServer, session: str) -> None:
    clean = Call("terminal", {"command": f"rm -rf {session}"}, id="call_1")
    model.add(Step(tool_calls=(clean,), after_tool=False), Step("It said: {{tool}}", after_tool=True))
    build = nodes[0].workdir / session
    for _ in range(4):
        build.mkdir(exist_ok=True)
        run_id = start(nodes[0])
        asked = eventually(partial(questions_of, nodes[1], run_id))[0]
        path = f"/v1/runs/{run_id}/approval"
        answers = [{"choice": choice, "approval_id": asked} for choice in ("once", "deny", "deny")]
        works = [partial(node.client.post, path, json=body) for node, body in zip(nodes, answers, strict=True)]
        told = at_once(*works)
        assert sorted(one.status_code for one in told) == [200, 409, 409]
        won = next(one.json()["choice"] for one in told if one.status_code == 200)
        codes = {one.json()["error"]["code"] for one in told if one.status_code == 409}
        assert codes <= {"approval_not_pending", "approval_not_active"}
        happened = events_of(nodes[2], run_id)
        assert [one["choice"] for one in happened if one["event"] == "approval.responded"] == [won]
        assert build.exists() == (won == "deny")


def test_all_questions_of_a_run_are_answered_at_once_on_another_node(
    nodes: list[Gateway], model: ScriptedModelServer, session: str
) -> None:
    one, two, _ = nodes
    folders = [one.workdir / f"{session}-{number}" for number in range(3)]
    for folder in folders:
        folder.mkdir()
    calls = tuple(Call("terminal", {"command": f"rm -rf {folder.name}"}) for folder in folders)
    model.add(Step(tool_calls=calls), Step("Gone."))
    run_id = start(one)
    eventually(lambda: len(questions_of(two, run_id)) == 3)
    told = two.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "once", "all": True}).json()
    assert told["resolved"] == 3
    assert names(events_of(two, run_id)).count("approval.responded") == 3
    assert [folder.exists() for folder in folders] == [False] * 3


def test_a_steer_from_another_node_is_heard_at_the_next_step(
    nodes: list[Gateway], model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two, three = nodes
    mark = tmp_path / "mark"
    model.add(waits_for(mark), Step("Oui."))
    run_id = start(one)
    with following(two, run_id) as reader:
        reader.until_event("tool.started")
        for node, text in ((two, "in French"), (three, "and short")):
            node.client.post(f"/v1/runs/{run_id}/steer", json={"input": text}).raise_for_status()
        assert [run_of(node, run_id)["pending_steer"] for node in (one, two, three)] == [True] * 3
        mark.touch()
        happened = reader.all()
    heard = [message["content"] for message in model.requests[-1]["messages"] if message["role"] == "user"]
    assert heard == ["go", "in French", "and short"]
    assert "run.steered" in names(happened)
    assert run_of(three, run_id)["pending_steer"] is False
    late = two.client.post(f"/v1/runs/{run_id}/steer", json={"input": "too late"})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "run_not_accepting_steer")


def test_a_stop_from_another_node_ends_the_command_and_only_one_stop_counts(
    nodes: list[Gateway], model: ScriptedModelServer, tmp_path: Path
) -> None:
    one, two, three = nodes
    alive = tmp_path / "alive"
    command = f"trap '' TERM; while :; do date +%N > {alive}; sleep 0.02; done"
    model.add(Step(tool_calls=(Call("terminal", {"command": command}),)))
    run_id = start(one)
    waiting = start(two, "behind it", session_id=run_of(one, run_id)["session_id"])
    with following(two, run_id) as reader:
        eventually(alive.exists)
        told = at_once(*(partial(node.client.post, f"/v1/runs/{run_id}/stop") for node in (one, two, three)))
        assert sorted(one.status_code for one in told) == [200, 409, 409]
        assert {one.json()["error"]["code"] for one in told if one.status_code == 409} == {"run_not_active"}
        assert reader.all(LIVE_SECONDS)[-1]["event"] == "run.cancelled"
    alive.unlink(missing_ok=True)
    assert run_of(three, run_id)["status"] == "cancelled"
    ended(three, waiting)  # the session goes on; the script has no answer for it
    assert not alive.exists()


def test_a_key_that_is_revoked_on_one_node_is_dead_on_the_others(
    nodes: list[Gateway], model: ScriptedModelServer, session: str
) -> None:
    one, two, _ = nodes
    key = json.loads(hermes(one, "keys", "add", session, "--json"))["key"]
    model.add(Step("Half", hang=True))
    with with_key(two, key) as guest:
        run_id = guest.post("/v1/runs", json={"input": "go"}).raise_for_status().json()["run_id"]
        assert one.client.get(f"/v1/runs/{run_id}").status_code == 404  # another key's is unknown on every node
        mine = Gateway(one.home, one.workdir, one.environ, key, one.url)
        with following(mine, run_id) as open_stream:
            open_stream.until_event("message.delta")
            hermes(one, "keys", "revoke", session)
            open_stream.all(LIVE_SECONDS)
        eventually(lambda: guest.get("/v1/models").status_code == 401)
