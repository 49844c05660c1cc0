"""Each symptom of troubleshooting.md is made here, with the words the page gives, and mended with its commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Error as PlaywrightError

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.howto.conftest import needs
from tests.acceptance.link.process import free_port
from tests.support.examples import commands_of, howto
from tests.support.machine import Machine
from tests.support.stand_in import Answer, Pages

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]

PAGE = howto("troubleshooting")
TEXT = PAGE.read_text()
HELLO = [{"role": "user", "content": "Hello"}]
PAGE_ORIGIN = {"Origin": "http://localhost:3000"}


def command(start: str) -> str:
    """The one command of the page that begins so, in a shell block or in a cell of a table."""
    found = {line for line in commands_of(PAGE) if line.startswith(start)}
    found |= {part for part in TEXT.split("`") if part.startswith(start) and "\n" not in part}
    [line] = found
    return line


def ask(gateway: Gateway, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    body = {"model": "hermes-agent", "messages": HELLO, **body}
    return gateway.client.post("/v1/chat/completions", json=body, headers=headers)


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


@pytest.fixture
def port(machine: Machine) -> Iterator[int]:
    """Of the gateway that a test starts in the background."""
    port = free_port()
    machine.environ["API_SERVER_PORT"] = str(port)
    yield port
    machine.type("hermes gateway stop")


def types(machine: Machine, line: str) -> None:
    done = machine.type(line)
    assert done.returncode == 0, (line, done.stdout, done.stderr)


def key_of(machine: Machine) -> dict[str, str]:
    return {"Authorization": f"Bearer {machine.type(command('hermes config get API_SERVER_KEY')).stdout.strip()}"}


def test_refused_because_no_gateway_runs(machine: Machine, port: int) -> None:
    types(machine, "hermes config set API_SERVER_ENABLED true")
    url = f"http://127.0.0.1:{port}/health"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    types(machine, command("hermes gateway start"))
    assert httpx.get(url).json()["status"] == "ok"


def test_refused_because_the_api_is_off(machine: Machine, port: int) -> None:
    types(machine, "hermes config set API_SERVER_ENABLED false")
    types(machine, "hermes gateway start")
    url = f"http://127.0.0.1:{port}/v1/models"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    said = (machine.home / "logs" / "gateway.out").read_text()
    assert "The API server is off" in said and "The API server is off" in TEXT
    types(machine, command("hermes config set API_SERVER_ENABLED"))
    types(machine, "hermes gateway restart")
    assert httpx.get(url).status_code == 401


def test_refused_from_another_machine_and_then_not_known_by_name(machine: Machine, port: int) -> None:
    """127.0.0.2 is another address of this machine, as that of its network is."""
    needs("openssl")
    types(machine, "hermes config set API_SERVER_ENABLED true")
    types(machine, "hermes gateway start")
    url = f"http://127.0.0.2:{port}/v1/models"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)

    lines = commands_of(PAGE)
    start = lines.index("hermes config set API_SERVER_HOST 0.0.0.0") - 1
    for line in lines[start : start + 3]:
        types(machine, line)
    assert httpx.get(url, headers=key_of(machine)).status_code == 200

    named = httpx.get(url, headers={**key_of(machine), "Host": "nas.home"})
    assert (named.status_code, named.json()["error"]["code"]) == (421, "host_not_allowed")
    assert named.json()["error"]["message"].startswith("this server does not answer to the name")
    types(machine, command("hermes config set API_SERVER_ALLOWED_HOSTS"))
    types(machine, "hermes gateway restart")
    assert httpx.get(url, headers={**key_of(machine), "Host": "nas.home"}).status_code == 200


def test_a_key_that_is_not_the_gateways(machine: Machine, port: int) -> None:
    types(machine, "hermes config set API_SERVER_ENABLED true")
    types(machine, "hermes gateway start")
    url = f"http://127.0.0.1:{port}/v1/models"
    for headers in ({}, {"Authorization": "Bearer sk-of-openai"}, {"x-api-key": "no"}):
        refused = httpx.get(url, headers=headers)
        assert (refused.status_code, refused.json()["error"]["message"]) == (401, "Invalid API key")
    types(machine, "hermes profile create alice")
    assert httpx.get(url.replace("/v1", "/p/alice/v1"), headers=key_of(machine)).status_code == 401
    typed = machine.type(command("curl http://127.0.0.1:8642/v1/models").replace(":8642", f":{port}"))
    assert json.loads(typed.stdout)["object"] == "list"


def test_the_key_of_the_model_is_another_error(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(status=401, error="no such key"))
    refused = ask(gateway)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_auth")


def test_a_session_id_in_the_body_is_none_and_in_the_header_is_one(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Fine.", times=0))
    first, second = (ask(gateway, session_id="kitchen") for _ in range(2))
    assert first.headers["X-Hermes-Warnings"] == "not supported, ignored: session_id"
    assert first.headers["X-Hermes-Session-Id"] != second.headers["X-Hermes-Session-Id"]
    assert _users(model) == ["Hello"]

    for line in ("My name is Ann.", "And then?"):
        said = ask(gateway, {"X-Hermes-Session-Id": "kitchen"}, messages=[{"role": "user", "content": line}])
        assert said.headers["X-Hermes-Session-Id"] == "kitchen"
    assert _users(model) == ["My name is Ann.", "And then?"]

    both = [*HELLO, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on."}]
    ask(gateway, {"X-Hermes-Session-Id": "kitchen"}, messages=both)
    assert _users(model) == ["My name is Ann.", "And then?", "Go on."], "of a history that is sent, the last turn"


def test_a_session_id_with_a_blank_is_refused_and_so_is_another_keys(
    machine: Machine, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Fine.", times=0))
    other = machine.type("hermes keys add other").stdout.split()[-1]
    gateway = machine.start(API_SERVER_ENABLED="true", API_SERVER_KEY="k" * 40, API_SERVER_PORT="0", key="k" * 40)
    assert ask(gateway, {"X-Hermes-Session-Id": "the kitchen"}).json()["error"]["code"] == "invalid_session_id"
    assert text_of(ask(gateway, {"X-Hermes-Session-Id": "kitchen"})) == "Fine."
    theirs = ask(gateway, {"X-Hermes-Session-Id": "kitchen", "Authorization": f"Bearer {other}"})
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "session_not_found")


def test_a_page_of_another_origin_is_blocked_until_it_is_named(machine: Machine, port: int) -> None:
    types(machine, "hermes config set API_SERVER_ENABLED true")
    types(machine, "hermes gateway start")
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    preflight = {
        **PAGE_ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-hermes-session-id",
    }
    blocked = httpx.options(url, headers=preflight)
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in blocked.headers

    types(machine, command("hermes config set API_SERVER_CORS_ORIGINS"))
    types(machine, "hermes gateway restart")
    allowed = httpx.options(url, headers=preflight)
    assert allowed.is_success and allowed.headers["access-control-allow-origin"] == PAGE_ORIGIN["Origin"]
    assert "x-hermes-session-id" in allowed.headers["access-control-allow-headers"].lower()
    elsewhere = httpx.options(url, headers={**preflight, "Origin": "http://localhost:3001"})
    assert elsewhere.status_code == 403


ASK = """async ([url, key]) => (await fetch(url, {
    method: "POST",
    headers: {Authorization: "Bearer " + key, "Content-Type": "application/json", "X-Hermes-Session-Id": "page"},
    body: JSON.stringify({model: "hermes-agent", messages: [{role: "user", content: "Hello"}]}),
})).json()"""


def test_a_browser_says_that_it_is_blocked_and_then_shows_the_answer(
    start_gateway: StartGateway, model: ScriptedModelServer, browser: Browser
) -> None:
    model.add("Hello, page.")
    name = command("hermes config set API_SERVER_CORS_ORIGINS").split()[3]
    with Pages({"/": Answer(body=b"<!doctype html><title>A page</title>", media_type="text/html")}) as site:
        closed, opened = start_gateway(), start_gateway(environ={name: site.url})
        page = browser.new_page()
        console: list[str] = []
        page.on("console", lambda message: console.append(message.text))
        page.goto(site.url)
        with pytest.raises(PlaywrightError, match="Failed to fetch"):
            page.evaluate(ASK, [f"{closed.base_url}/chat/completions", closed.key])
        assert any("has been blocked by CORS policy" in line for line in console)
        assert "has been blocked by CORS policy" in TEXT
        answer = page.evaluate(ASK, [f"{opened.base_url}/chat/completions", opened.key])
        assert answer["choices"][0]["message"]["content"] == "Hello, page."
    assert len(model.requests) == 1


def test_an_answer_without_text_says_by_its_finish_reason_why(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="", reasoning="Let me think", finish_reason="length"), Step(text="Paris."))
    cut = ask(gateway, max_tokens=5)
    assert text_of(cut) == ""
    assert cut.json()["choices"][0]["finish_reason"] == "length"
    assert cut.json()["choices"][0]["message"]["reasoning_content"] == "Let me think"
    assert text_of(ask(gateway)) == "Paris."
    assert "max_tokens" not in model.requests[-1]


@pytest.mark.parametrize("base", ["", "/v1/v1"])
def test_a_wrong_base_url_is_a_404_that_names_the_path(gateway: Gateway, model: ScriptedModelServer, base: str) -> None:
    model.add("Hello.")
    wrong = gateway.client.post(f"{base}/chat/completions", json={"model": "x", "messages": HELLO})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "not_found")
    assert f"there is nothing at {base}/chat/completions" in wrong.json()["error"]["message"]
    assert "there is nothing at /chat/completions" in TEXT
    assert text_of(ask(gateway)) == "Hello."


def test_a_stream_that_breaks_says_so_in_its_last_chunk(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="", error_in_stream="the model fell over", times=0))
    streamed = ask(gateway, stream=True)
    lines = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert "[DONE]" not in lines[-1]
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"].startswith("upstream")


DELETES = Step(tool_calls=(Call("terminal", {"command": "rm -rf old"}),))


def test_a_tool_that_needs_a_yes_runs_when_somebody_can_give_it(gateway: Gateway, model: ScriptedModelServer) -> None:
    old = gateway.workdir / "old"
    old.mkdir()
    model.add(DELETES, "I may not.", DELETES, "Done.")
    plain = ask(gateway)
    assert plain.headers["X-Hermes-Warnings"].startswith("terminal was denied: ") and old.exists()
    assert "X-Hermes-Warnings: terminal was denied" in TEXT

    body = {"model": "hermes-agent", "messages": HELLO, "stream": True}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as stream:
        event = ""
        for line in stream.iter_lines():
            if line == "event: hermes.approval.request":
                event = line
            elif event and line.startswith("data: "):
                asked, event = json.loads(line.removeprefix("data: ")), ""
                typed = command("curl -sS http://127.0.0.1:8642/v1/runs/$RUN/approval")
                choice = json.loads(typed.partition(" -d '")[2].removesuffix("'"))
                said = gateway.client.post(f"/v1/runs/{asked['run_id']}/approval", json=choice)
                assert (said.status_code, said.json()["resolved"]) == (200, 1)
    assert not old.exists()


def test_a_toolset_that_is_off_is_not_offered_until_it_is_on(machine: Machine, model: ScriptedModelServer) -> None:
    model.add(Step(text="Fine.", times=0))
    environ = {"API_SERVER_ENABLED": "true", "API_SERVER_KEY": "k" * 40, "API_SERVER_PORT": "0"}
    types(machine, "hermes tools disable terminal")
    gateway = machine.start(key="k" * 40, **environ)
    listed = {one["name"]: one["enabled"] for one in gateway.client.get("/v1/toolsets").json()["data"]}
    ask(gateway)
    assert (listed["terminal"], "terminal" in _tools(model)) == (False, False)

    types(machine, command("hermes tools enable"))
    ask(gateway)  # no restart: the page asks for none
    assert "terminal" in _tools(model)


def test_a_tool_of_the_client_is_left_to_it(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)))
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    [choice] = ask(gateway, tools=[tool]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


def _users(model: ScriptedModelServer) -> list[str]:
    return [message["content"] for message in model.requests[-1]["messages"] if message["role"] == "user"]


def _tools(model: ScriptedModelServer) -> set[str]:
    return {tool["function"]["name"] for tool in model.requests[-1].get("tools", ())}
