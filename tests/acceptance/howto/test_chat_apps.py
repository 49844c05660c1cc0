"""chat-apps.md: what each app asks of a server, at the address the page gives it, answered by a real gateway.

The bodies have what the apps' settings and documentation name (Open WebUI's: its package 0.12.4), parameters that only
other servers know included.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from ruamel.yaml import YAML

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support.examples import blocks_of, commands_of, file_of, howto

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]

PAGE = howto("chat-apps")
TEXT = PAGE.read_text()
STAINLESS = {"user-agent": "OpenAI/JS 6.9.1", "x-stainless-lang": "js", "x-stainless-runtime": "node"}
HELLO = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "Hello"}]
TITLE = '### Task:\nGenerate a concise, 3-5 word title with an emoji.\n### Output:\nJSON format: { "title": "…" }'


@dataclass(frozen=True)
class App:
    """`setting` finds the base URL on the page; `path` comes behind it. `origin`: the app asks from a page."""

    setting: str
    body: dict[str, Any]
    path: str = "/chat/completions"
    models: str | None = "/models"
    headers: dict[str, str] = field(default_factory=dict)
    origin: str | None = None


APPS = {
    "Open WebUI": App(
        r"OPENAI_API_BASE_URL=(\S+)",
        {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.8, "seed": 1, "top_k": 40},
        headers={"X-OpenWebUI-User-Id": "u1", "X-OpenWebUI-Chat-Id": "c1"},
    ),
    "LobeChat": App(
        r"OPENAI_PROXY_URL=(\S+)",
        {
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 1,
            "top_p": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "user": "u1",
        },
        headers=STAINLESS,
        origin="http://localhost:3210",
    ),
    "LibreChat": App(
        r"baseURL: (\S+)", {"stream": True, "user": "6650f", "temperature": 1, "top_p": 1}, headers=STAINLESS
    ),
    "AnythingLLM": App(
        r"GENERIC_OPEN_AI_BASE_PATH=(\S+)",
        {"stream": True, "temperature": 0.7, "max_tokens": 1024},
        models=None,
        headers=STAINLESS,
    ),
    "NextChat": App(
        r"-e BASE_URL=(\S+)",
        {"stream": True, "temperature": 0.5, "presence_penalty": 0, "frequency_penalty": 0, "top_p": 1},
        path="/v1/chat/completions",
        models="/v1/models",
    ),
    "Chatbox": App(
        r'"apiHost": "([^"]+)"',
        {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.7, "top_p": 1},
        path="/v1/chat/completions",
        models="/v1/models",
        origin="https://web.chatboxai.app",
    ),
    "Jan": App(
        r"base URL `([^`]+)`",
        {"stream": True, "temperature": 0.7, "top_k": 20, "min_p": 0, "repeat_penalty": 1.1, "cache_prompt": True},
    ),
    "Chat UI (Hugging Face)": App(
        r"OPENAI_BASE_URL=(\S+)",
        {"stream": True, "max_tokens": 2048, "stop": [], "temperature": 0.6, "top_p": 0.95, "frequency_penalty": 0},
        headers=STAINLESS,
    ),
    "big-AGI": App(
        r"LOCALAI_API_HOST=(\S+)",
        {"stream": True, "stream_options": {"include_usage": True}, "n": 1, "temperature": 0.5, "max_tokens": 4096},
        path="/v1/chat/completions",
        models="/v1/models",
        origin="http://localhost:3000",
    ),
    "n8n": App(
        r"\*\*Base URL\*\* `([^`]+)`",
        {"stream": False, "temperature": 0.7, "timeout": 60000, "max_retries": 2},
        headers=STAINLESS,
    ),
}


def base_url(app: App, gateway: Gateway) -> tuple[str, dict[str, str]]:
    """Where the app asks, and the Host it sends."""
    [shown] = set(re.findall(app.setting, TEXT))
    place = urlsplit(shown)
    assert place.port == 8642
    return gateway.url + place.path, {"Host": place.netloc}


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Gateway:
    settings = [line.split()[3:5] for line in commands_of(PAGE) if "config set" in line]
    given = {name: value for name, value in settings if name == "API_SERVER_ALLOWED_HOSTS"}
    origins = sorted({app.origin for app in APPS.values() if app.origin})
    assert all(origin in TEXT for origin in origins)
    return start_gateway(environ={**given, "API_SERVER_CORS_ORIGINS": ",".join(origins)})


def test_each_app_of_the_title_is_there() -> None:
    assert re.findall(r"^## (.+)$", TEXT, re.M)[1:] == list(APPS)


@pytest.mark.parametrize("name", APPS)
def test_an_app_lists_the_models_and_chats(name: str, gateway: Gateway, model: ScriptedModelServer) -> None:
    app = APPS[name]
    model.add(Step(text=["Hello ", "there"], reasoning="hm"))
    url, host = base_url(app, gateway)
    headers = {**host, **app.headers, **({"Origin": app.origin} if app.origin else {})}

    if app.origin:
        asked = ["authorization", "content-type", *(each for each in app.headers if each.startswith("x-stainless"))]
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ",".join(asked)}
        allowed = httpx.options(url + app.path, headers={**headers, **preflight})
        assert allowed.is_success and allowed.headers["access-control-allow-origin"] == app.origin
        granted = allowed.headers["access-control-allow-headers"].lower()
        assert all(each in granted for each in asked)
    if app.models:
        listed = gateway.client.get(url + app.models, headers=headers)
        assert [one["id"] for one in listed.json()["data"]] == ["hermes-agent"]

    answer = gateway.client.post(
        url + app.path, json={"model": "hermes-agent", "messages": HELLO, **app.body}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    if app.origin:
        assert answer.headers["access-control-allow-origin"] == app.origin
    if app.body["stream"]:
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert bool(chunks[-1].get("usage")) and {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    else:
        text = answer.json()["choices"][0]["message"]["content"]
    assert text == "Hello there"
    unknown = {"top_k", "min_p", "repeat_penalty", "cache_prompt", "max_retries", "timeout"} & app.body.keys()
    warnings = answer.headers.get("x-hermes-warnings", "")
    named = {each for each in unknown if each in warnings}
    sent = {each for each in unknown if each in model.requests[0]}
    assert named | sent >= {each for each in unknown if app.body[each]}, "left out, and said so, or passed on"


def test_a_request_for_a_title_is_a_chat_of_its_own(gateway: Gateway, model: ScriptedModelServer) -> None:
    """Open WebUI's, not streamed, for which it reads JSON out of the text; and the conversation is not touched."""
    model.add(Step(when="### Task", text='{ "title": "🌱 Garden plans" }'), Step(text="Ferns.", times=0))
    chat = {"model": "hermes-agent", "messages": [{"role": "user", "content": "What grows in the shade?"}]}
    first = gateway.client.post("/v1/chat/completions", json={**chat, "stream": True})
    body = {
        "model": "hermes-agent",
        "messages": [{"role": "user", "content": TITLE}],
        "stream": False,
        "max_tokens": 1000,
    }
    title = gateway.client.post("/v1/chat/completions", json=body)
    assert json.loads(title.json()["choices"][0]["message"]["content"])["title"] == "🌱 Garden plans"
    assert title.headers["x-hermes-session-id"] != first.headers["x-hermes-session-id"]
    assert gateway.client.get("/api/sessions").json()["data"] == [], "such chats are out of sight"


def test_tool_progress_can_be_had_in_the_text(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    [setting] = re.findall(r"`hermes config set (API_SERVER_TOOL_PROGRESS) (inline)`", TEXT)
    gateway = start_gateway(environ=dict([setting]))
    model.add(Step(tool_calls=(Call("terminal", {"command": "pwd"}),)), "Here.")
    answer = gateway.client.post(
        "/v1/chat/completions", json={"model": "hermes-agent", "messages": HELLO, "stream": True}
    )
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert "`💻 pwd`" in text and text.endswith("Here.")


def test_open_webuis_header_keeps_the_conversation_here(gateway: Gateway, model: ScriptedModelServer) -> None:
    """The app replaces {{CHAT_ID}}, a UUID, and goes on sending its whole history."""
    model.add(Step(text="Fine.", times=0))
    [header] = re.findall(r'`(\{"X-Hermes-Session-Id": "\{\{CHAT_ID\}\}"\})`', TEXT)
    headers = json.loads(header.replace("{{CHAT_ID}}", "3f1c6a52-9d1e-4f0a-8a57-0d8f0f1f2a3b"))
    history: list[dict[str, str]] = []
    for text in ("One", "Two"):
        history.append({"role": "user", "content": text})
        body = {"model": "hermes-agent", "messages": history, "stream": True}
        gateway.client.post("/v1/chat/completions", json=body, headers=headers)
        history.append({"role": "assistant", "content": "Fine."})
    users = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "user"]
    assert users == ["One", "Two"]


def test_n8n_may_use_the_responses_api(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello there"))
    url, host = base_url(APPS["n8n"], gateway)
    body = {"model": "hermes-agent", "input": HELLO, "stream": False}
    answer = gateway.client.post(f"{url}/responses", json=body, headers={**host, **STAINLESS})
    assert answer.json()["output"][-1]["content"][0]["text"] == "Hello there"


def test_the_files_of_the_page_are_what_their_apps_read() -> None:
    config = YAML(typ="safe").load(file_of(PAGE, "librechat.yaml"))
    [endpoint] = config["endpoints"]["custom"]
    assert endpoint["apiKey"] == "${HERMES_KEY}" and endpoint["models"]["default"] == ["hermes-agent"]
    [chatbox] = [json.loads(block.text) for block in blocks_of(PAGE) if block.language == "json"]
    settings = chatbox["settings"]
    assert (chatbox["type"], settings["apiHost"] + settings["apiPath"]) == (
        "openai",
        "http://127.0.0.1:8642/v1/chat/completions",
    )
    for line in commands_of(PAGE):
        if line.startswith("docker run"):
            assert "--add-host=host.docker.internal:host-gateway" in line and "API_KEY=…" in line, line
