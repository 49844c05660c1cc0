"""Who shares a database is told the same by every node and by `hermes nodes`."""

from __future__ import annotations

import json
import signal
from functools import partial

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, StartNodes
from tests.support import waiting
from tests.support.nodes import hermes, start

DEADLINE_SECONDS = 20

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


@pytest.mark.slow
def test_nodes_are_shown_with_their_runs_until_they_have_gone(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    model.add(Step("On and on", hang=True, times=0))
    first, second = start_nodes(2, {"api_server": {"drain_delay": 60}})
    start(second)
    for shown in (shown_by(first), shown_by(second), shown_by_command(first)):
        assert shown == {first.url: ("ready", 0), second.url: ("ready", 1)}
    assert second.process is not None
    second.process.send_signal(signal.SIGTERM)
    eventually(lambda: shown_by(first)[second.url] == ("draining", 1))
    assert 'hermes_nodes{state="draining"} 1.0' in first.client.get("/metrics").text
    second.process.send_signal(signal.SIGTERM)  # it takes the delay away, and the time of the run
    assert second.process.wait(DEADLINE_SECONDS) == 0
    assert set(shown_by(first)) == set(shown_by_command(second)) == {first.url}
    eventually(lambda: shown_by(first) == {first.url: ("ready", 1)})  # it goes on there


@pytest.mark.sqlite("its lock says who lives")
def test_the_one_gateway_of_a_file_is_shown_and_gone_when_it_was_killed(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    assert shown_by(gateway) == shown_by_command(gateway) == {gateway.url: ("ready", 0)}
    gateway.kill()
    assert shown_by_command(gateway) == {gateway.url: ("gone", 0)}
    gateway.start()
    assert shown_by(gateway) == {gateway.url: ("ready", 0)}


def shown_by(gateway: Gateway) -> dict[str, tuple[str, int]]:
    nodes = gateway.client.get("/health/detailed").raise_for_status().json()["nodes"]
    return {node["url"]: (node["state"], node["running"]) for node in nodes}


def shown_by_command(gateway: Gateway) -> dict[str, tuple[str, int]]:
    nodes = json.loads(hermes(gateway, "nodes", "--json"))
    return {node["url"]: (node["state"], node["running"]) for node in nodes}
