"""The browser through a real gateway, which leaves nothing of it behind."""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermes.toolsets.browser import there
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting
from tests.support.stand_in import Answer, Pages

MISSING = there.problem(None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

PAGE = Answer(200, b"<title>Tea</title><body><script>document.body.append('Boil ' + 6 * 7)</script>", "text/html")
TELL = Step(after_tool=True, text="{{tool}}")
eventually = partial(waiting.eventually, seconds=20.0)


def opens(url: str, when: str) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call("browser_navigate", {"url": url}),))


def told(gateway: Gateway, text: str) -> tuple[str, list[tuple[str, Any]]]:
    """What the model was told, and what happened with tools."""
    body = {"input": text, "toolsets": ["browser"]}
    run_id = gateway.client.post("/v1/runs", json=body).raise_for_status().json()["run_id"]
    lines = gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["event"] == "run.completed", events[-1]
    return events[-1]["output"], [(one["event"], one.get("error")) for one in events if one["event"][:5] == "tool."]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_page_reaches_the_model_and_nothing_of_the_browser_outlives_the_gateway(
    start_gateway: StartGateway, model: ScriptedModelServer, number: signal.Signals
) -> None:
    with Pages({"/": PAGE}) as server:
        gateway = start_gateway({"web": {"allow_private_hosts": [server.host]}, "browser": {"sandbox": False}})
        model.add(opens(server.url, "open"), opens("http://169.254.169.254/", "leak"), TELL)
        answer, happened = told(gateway, "open it")
        assert f"Tea\nURL: {server.url}/\n\n" in answer
        assert "Boil 42" in answer
        assert happened == [("tool.started", None), ("tool.completed", None)]
        answer, happened = told(gateway, "leak it")
        why = "not opened: the host '169.254.169.254' leads to an address that hands out credentials of this machine"
        assert why in answer
        assert happened == [("tool.started", None), ("tool.completed", why)]
    processes = psutil.Process(gateway.pid).children(recursive=True)
    assert len(processes) > 3
    assert not [one for one in processes if gateway.key in "".join(one.environ().values())]
    if number is signal.SIGTERM:
        assert gateway.stop() == 0
    else:
        gateway.kill()
    eventually(lambda: not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE])
