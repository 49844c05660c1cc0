"""The line of several nodes: one run at a time a session, caps and fairness over all of them."""

from __future__ import annotations

import json

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import StartNodes
from tests.support.nodes import ended, eventually, hermes, run_of, start, with_key


def test_a_session_takes_one_run_at_a_time_over_all_nodes_in_the_order_they_came(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    nodes = start_nodes(3)
    model.add(Step("Answer to {{user}}.", when=r"\d", times=0, delay_ms=2))
    started = [start(nodes[number % 3], f"{number}", session_id="s") for number in range(12)]
    told = [ended(nodes[0], run_id)["output"] for run_id in started]
    assert told == [f"Answer to {number}." for number in range(12)]
    for number, request in enumerate(model.requests):  # who was asked while another was answering would not have it
        said = [message["content"] for message in request["messages"] if message["role"] != "system"]
        assert said == [text for before in range(number) for text in (f"{before}", f"Answer to {before}.")] + [
            f"{number}"
        ]


def test_a_run_in_line_is_stopped_on_another_node_and_was_never_said(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two = start_nodes(2)
    model.add(Step("Half", hang=True), Step("After."))
    first = start(one, "first", session_id="s")
    second = start(one, "second", session_id="s")
    third = start(two, "third", session_id="s")
    assert [run_of(two, run_id)["status"] for run_id in (second, third)] == ["queued", "queued"]
    two.client.post(f"/v1/runs/{second}/stop").raise_for_status()
    assert ended(two, second)["status"] == "cancelled"
    two.client.post(f"/v1/runs/{first}/stop").raise_for_status()
    assert ended(one, third)["output"] == "After."
    heard = [message["content"] for message in model.requests[-1]["messages"] if message["role"] == "user"]
    assert heard == ["first", "third"]


def test_the_caps_hold_over_all_nodes(start_nodes: StartNodes, model: ScriptedModelServer) -> None:
    one, two = start_nodes(2, {"api_server": {"max_concurrent_runs": 2, "max_queued_runs": 2}})
    model.add(Step("Half", when="^hang", hang=True), Step("Done.", when="^go"))
    hanging = [start(one, "hang 1"), start(two, "hang 2")]
    waiting = [start(two, "go 3"), start(two, "go 4")]
    eventually(lambda: len(model.requests) == 2)
    for node in (one, two):
        refused = node.client.post("/v1/runs", json={"input": "go 5"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) > 0
        assert [run_of(node, run_id)["status"] for run_id in waiting] == ["queued", "queued"]
    assert len(model.requests) == 2
    one.client.post(f"/v1/runs/{hanging[0]}/stop").raise_for_status()  # its place is free for a run of the other node
    assert [ended(one, run_id)["output"] for run_id in waiting] == ["Done.", "Done."]
    assert run_of(one, hanging[1])["status"] == "running"


def test_no_owner_starves_another_over_nodes(start_nodes: StartNodes, model: ScriptedModelServer) -> None:
    one, two = start_nodes(2, {"api_server": {"max_concurrent_runs": 1}})
    key = json.loads(hermes(one, "keys", "add", "guest", "--json"))["key"]
    model.add(Step("Half", when="^hang", hang=True), Step("Done.", when="^go"))
    first = start(one, "hang")
    eventually(lambda: len(model.requests) == 1)
    mine = [start(one, f"go mine {number}") for number in range(3)]
    with with_key(two, key) as guest:
        theirs = guest.post("/v1/runs", json={"input": "go theirs"}).raise_for_status().json()["run_id"]
        two.client.post(f"/v1/runs/{first}/stop").raise_for_status()
        for run_id in mine:
            ended(two, run_id)
        eventually(lambda: guest.get(f"/v1/runs/{theirs}").json()["status"] == "completed")
    asked = [request["messages"][-1]["content"] for request in model.requests[1:]]
    assert asked.index("go theirs") <= 1
