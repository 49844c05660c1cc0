"""The chat of web-page.md in a real browser, the handler of nextjs.md in Node: as written, against a real gateway."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.howto.conftest import Site, set_up
from tests.support.examples import blocks_of, file_of, howto
from tests.support.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]


@pytest.fixture
def website(machine: Machine) -> dict[str, str]:
    """The agent for strangers, as the page sets it up: where it is, and its key."""
    return set_up(machine, "web-page", "website")


@pytest.fixture
def backend(site: Site, website: dict[str, str]) -> Site:
    site.take("web-page", "backend.py", "public/index.html", "public/widget.js")
    site.serve("backend:app", SECRET_KEY="s" * 64, **website)
    return site


def test_a_visitor_reads_the_answer_as_it_comes_and_never_the_key(
    backend: Site, browser: Browser, website: dict[str, str], model: ScriptedModelServer
) -> None:
    model.add(
        Step(when="^Wait", text=["One ", "two"], hang=True),
        Step(when="^Name", text="<b>You are {{user}}</b>"),
        Step(text="Hello, <img src=x onerror=alert(1)>", times=0),
    )
    page = browser.new_page()
    seen: list[str] = []
    page.on("response", lambda response: seen.append(json.dumps(response.all_headers())))
    page.on("dialog", lambda dialog: seen.append("a script of the model ran"))
    page.goto(backend.url)
    page.fill("input[name=text]", "Hello")
    page.click("button")
    expect(page.locator(".agent").first).to_have_text("Hello, <img src=x onerror=alert(1)>")

    page.fill("input[name=text]", "Wait for it")
    page.click("button")
    expect(page.locator(".agent").nth(1)).to_have_text("One two")  # the model has not ended
    users = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "user"]
    assert users == ["Hello", "Wait for it"] and not model.requests[-1].get("tools")

    sources = [httpx.get(f"{backend.url}/{name}").text for name in ("", "widget.js")]
    assert not any(website["HERMES_KEY"] in text for text in (*seen, *sources, page.content()))
    assert "a script of the model ran" not in seen
    other = browser.new_context().new_page()
    other.goto(backend.url)
    other.fill("input[name=text]", "Who am I?")
    other.click("button")
    expect(other.locator(".agent").first).to_contain_text("Hello")
    assert [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "user"] == ["Who am I?"]


def test_the_backend_refuses_what_is_too_much_and_tells_of_a_broken_answer(
    backend: Site, model: ScriptedModelServer
) -> None:
    model.add(Step(status=401, error="bad key", times=1), Step(text="Yes.", times=0))
    url = f"{backend.url}/api/chat"
    bodies: list[Any] = [{}, [], {"text": 1}, {"text": " "}, {"text": "x" * 2001}]
    for wrong in bodies:
        assert httpx.post(url, json=wrong).status_code == 400, wrong
    assert httpx.post(url, json={"text": "hi"}).text == "\n[The answer broke off.]"
    answers = [httpx.post(url, json={"text": "hi"}) for _ in range(10)]
    assert [answer.status_code for answer in answers] == [200] * 9 + [429]
    assert answers[0].text == "Yes."
    assert httpx.post(url, data={"text": "hi"}).status_code == 415, "a form of another site can send no JSON"


@pytest.mark.parametrize("wrong", [{"HERMES_URL": "http://127.0.0.1:9"}, {"HERMES_KEY": "revoked"}])
def test_a_visitor_hears_of_nothing_but_that_the_agent_is_away(
    site: Site, website: dict[str, str], wrong: dict[str, str]
) -> None:
    site.take("web-page", "backend.py")
    url = site.serve("backend:app", SECRET_KEY="s" * 64, **{**website, **wrong})
    away = httpx.post(f"{url}/api/chat", json={"text": "hi"})
    assert (away.status_code, away.json()) == (502, {"error": "The assistant is away. Try again later."})


def test_what_flutter_sends_is_what_the_backend_takes(backend: Site, model: ScriptedModelServer) -> None:
    """Dart is not run here: its path, fields and headers are."""
    model.add(Step(text="Yes.", times=0))
    [dart] = [block.text for block in blocks_of(howto("flutter")) if block.language == "dart"]
    [path] = re.findall(r"resolve\('(/[^']+)'\)", dart)
    [fields] = re.findall(r"jsonEncode\(\{'(\w+)': text\}\)", dart)
    answer = httpx.post(
        backend.url + path, content=json.dumps({fields: "hi"}), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.text) == (200, "Yes.")
    again = httpx.post(backend.url + path, json={fields: "and?"}, cookies=dict(answer.cookies))
    assert again.is_success
    assert [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "user"] == ["hi", "and?"]
    assert "Bearer" not in dart and "HERMES" not in dart


CALL = """
import { POST } from "./route.mjs";
const told = [];
for (const [body, cookie] of JSON.parse(process.argv[2])) {
  const headers = { "Content-Type": "application/json", ...(cookie && { cookie: told[0].cookie }) };
  const response = await POST(new Request("http://app/api/chat", { method: "POST", headers, body }));
  const cookies = response.headers.get("set-cookie");
  told.push({ status: response.status, text: await response.text(), cookie: cookies?.split(";")[0], flags: cookies });
}
console.log(JSON.stringify(told));
"""


def play(site_folder: Any, environ: dict[str, str], *requests: tuple[str, bool]) -> list[dict[str, Any]]:
    if shutil.which("node") is None:
        assert os.environ.get("CI") != "true", "CI needs node"
        pytest.skip("node is not installed: the route handler is not run")
    (site_folder / "route.mjs").write_text(file_of(howto("nextjs"), "app/api/chat/route.js"))
    (site_folder / "call.mjs").write_text(CALL)
    command = ["node", "call.mjs", json.dumps(requests)]
    done = subprocess.run(
        command,
        cwd=site_folder,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


def test_the_route_handler_streams_text_and_keeps_a_visitors_session(
    website: dict[str, str], model: ScriptedModelServer, tmp_path: Any
) -> None:
    model.add(Step(text=["Grüß ", "Gott, ", "{{user}}."], times=0))
    first, second, stranger, empty, broken = play(
        tmp_path,
        website,
        ('{"text": "Ann"}', False),
        ('{"text": "Bob"}', True),
        ('{"text": "Eve"}', False),
        ('{"text": ""}', False),
        ("{", False),
    )
    assert (first["status"], first["text"]) == (200, "Grüß Gott, Ann.")
    assert second["text"] == "Grüß Gott, Bob." and stranger["cookie"] != first["cookie"] == second["cookie"]
    assert "HttpOnly; Secure; SameSite=Lax" in first["flags"]
    assert (empty["status"], broken["status"]) == (400, 400)
    said = [[m["content"] for m in request["messages"] if m["role"] == "user"] for request in model.requests]
    assert said == [["Ann"], ["Ann", "Bob"], ["Eve"]]


def test_the_route_handler_tells_nothing_of_an_error(website: dict[str, str], gateway: Gateway, tmp_path: Any) -> None:
    [refused] = play(tmp_path, {**website, "HERMES_KEY": "wrong"}, ('{"text": "Ann"}', False))
    [away] = play(tmp_path, {**website, "HERMES_URL": "http://127.0.0.1:9"}, ('{"text": "Ann"}', False))
    for told in (refused, away):
        assert told["status"] == 502
        assert json.loads(told["text"]) == {"error": "The assistant is away. Try again later."}
