"""The programs of flask-webhook.md, github-webhook.md and contact-form.md, word for word, against a real gateway."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from functools import partial
from typing import Any

import httpx
import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.howto.conftest import Site
from tests.support import waiting
from tests.support.examples import commands_of, howto
from tests.support.machine import Machine
from tests.support.stand_in import Answer, Asked, StandIn

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]

eventually = partial(waiting.eventually, seconds=30.0)
SECRET = "the-secret-of-both"


@pytest.fixture
def hooks(machine: Machine, site: Site) -> Site:
    """What flask-webhook.md sets up: the profile, its key, and the gateway that serves it."""
    set_up = [line for line in commands_of(howto("flask-webhook")) if line.startswith("hermes ")]
    assert len(set_up) == 5
    said = ""
    for line in set_up:
        done = machine.type(line.replace("127.0.0.1:5000", f"127.0.0.1:{site.port}"))
        assert done.returncode == 0, (line, done.stderr)
        said = done.stdout
    key = re.findall(r"^\s*(\S{32,})\s*$", said, re.M)
    gateway = machine.start(API_SERVER_ENABLED="true", API_SERVER_KEY="k" * 40, API_SERVER_PORT="0")
    secret = machine.type("hermes -p hooks config get API_SERVER_CALLBACK_SECRET --reveal").stdout.strip()
    site.environ |= {
        "HERMES_URL": f"{gateway.url}/p/hooks",
        "HERMES_KEY": key[0],
        "API_SERVER_CALLBACK_SECRET": secret,
        "CALLBACK_URL": f"{site.url}/done",
    }
    site.take("flask-webhook", "hermes_runs.py")
    return site


def user_text(request: dict[str, Any]) -> str:
    return "".join(str(m["content"]) for m in request["messages"] if m["role"] == "user")


def test_an_order_is_worked_on_once_and_its_end_is_called_back(hooks: Site, model: ScriptedModelServer) -> None:
    model.add(Step(text="A person should look: 500 left shoes.", times=0))
    hooks.take("flask-webhook", "webhook.py")
    url = hooks.serve("webhook:app", SHOP_SECRET=SECRET)
    order = {"id": 17, "items": ["500 × left shoes"]}

    first = httpx.post(f"{url}/order", json=order, headers={"X-Shop-Secret": SECRET})
    again = httpx.post(f"{url}/order", json=order, headers={"X-Shop-Secret": SECRET})
    changed = httpx.post(f"{url}/order", json={**order, "items": []}, headers={"X-Shop-Secret": SECRET})

    assert (first.status_code, again.json(), changed.json()) == (202, first.json(), {"run_id": None})
    eventually(lambda: any("run.completed: A person should look: 500 left shoes." in line for line in hooks.said))
    assert len(model.requests) == 1
    assert "left shoes" in user_text(model.requests[0]) and not model.requests[0].get("tools")


def test_a_webhook_takes_nothing_from_who_does_not_know_the_secret(hooks: Site, model: ScriptedModelServer) -> None:
    hooks.take("flask-webhook", "webhook.py")
    url = hooks.serve("webhook:app", SHOP_SECRET=SECRET)
    for secret in (b"", b"guess", b"\xff\xfe"):
        headers = [(b"X-Shop-Secret", secret)]
        assert httpx.post(f"{url}/order", json={"id": 1}, headers=headers).status_code == 401
    for forged in ({}, {"X-Hermes-Signature": "sha256=00", "X-Hermes-Timestamp": "0"}):
        assert httpx.post(f"{url}/done", json={"event": "run.completed"}, headers=forged).status_code == 401
    assert model.requests == []


class GitHub(StandIn):
    """Its API, as far as a review needs it."""

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("accept") == "application/vnd.github.diff":
            return Answer(body=b"--- a/sum.py\n+++ b/sum.py\n+    return a - b\n", media_type="text/plain")
        return Answer.of({"id": 1}, status=201)


def deliver(url: str, event: str, payload: dict[str, Any], delivery: str, secret: str = SECRET) -> httpx.Response:
    """As GitHub does: the headers of its documentation, signed over the bytes."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    return httpx.post(f"{url}/github", content=body, headers=headers, timeout=20)


def test_a_pull_request_and_a_push_get_one_comment_each(hooks: Site, model: ScriptedModelServer) -> None:
    model.add(Step(text="sum.py:3 subtracts.", times=0))
    hooks.take("github-webhook", "github_hook.py")
    with GitHub() as github:
        url = hooks.serve("github_hook:app", GITHUB_SECRET=SECRET, GITHUB_TOKEN="ghp_x", GITHUB_API=github.url)
        repository = {
            "full_name": "octo-org/Hello.World",
            "compare_url": f"{github.url}/repos/octo-org/Hello.World/compare/{{base}}...{{head}}",
        }
        pull = {"url": f"{github.url}/repos/octo-org/Hello.World/pulls/7", "title": "Add sum"}
        opened = {"action": "opened", "number": 7, "pull_request": pull, "repository": repository}
        pushed = {"before": "a" * 40, "after": "b" * 40, "repository": repository}

        assert deliver(url, "ping", {"zen": "Keep it logically awesome."}, "d0").status_code == 200
        assert deliver(url, "pull_request", opened, "d1").status_code == 202
        assert deliver(url, "pull_request", opened, "d1").status_code == 202, "GitHub's Redeliver"
        assert deliver(url, "push", pushed, "d2").status_code == 202
        assert deliver(url, "push", {**pushed, "before": "0" * 40}, "d3").status_code == 200, "a new branch"
        assert deliver(url, "pull_request", {**opened, "action": "labeled"}, "d4").status_code == 200
        assert deliver(url, "pull_request", opened, "d5", secret="guess").status_code == 401

        eventually(lambda: len([asked for asked in github.asked if asked.method == "POST"]) == 2)
        comments = [asked for asked in github.asked if asked.method == "POST"]
        assert {(comment.path, comment.json["body"]) for comment in comments} == {
            ("/repos/octo-org/Hello.World/issues/7/comments", "sum.py:3 subtracts."),
            (f"/repos/octo-org/Hello.World/commits/{'b' * 40}/comments", "sum.py:3 subtracts."),
        }
        diffs = [asked.path for asked in github.asked if asked.method == "GET"]
        assert diffs[-1] == f"/repos/octo-org/Hello.World/compare/{'a' * 40}...{'b' * 40}"
        assert {asked.headers["authorization"] for asked in github.asked} == {"Bearer ghp_x"}
    assert len(model.requests) == 2
    assert all("return a - b" in user_text(request) and not request.get("tools") for request in model.requests)


def test_a_message_of_the_form_is_kept_sorted_and_answered_at_once(hooks: Site, model: ScriptedModelServer) -> None:
    model.add(Step(text="Kind: sales\nUrgent: no\nDraft: Gladly.", times=0))
    hooks.take("contact-form", "contact.py")
    url = hooks.serve("contact:app")
    assert 'action="/contact"' in httpx.get(url).text
    form = {"email": "ann@example.com", "message": "What do 20 cost?", "website": ""}

    assert "Thank you" in httpx.post(f"{url}/contact", data=form).text
    assert "Thank you" in httpx.post(f"{url}/contact", data={**form, "website": "http://spam"}).text
    assert httpx.post(f"{url}/contact", data={**form, "email": "nobody"}).status_code == 400
    assert httpx.post(f"{url}/contact", data={**form, "message": "x" * 4001}).status_code == 400

    inbox = hooks.folder / "inbox.jsonl"
    lines = eventually(lambda: (read := inbox.read_text().splitlines()) and len(read) == 2 and read)
    kept, sorted_ = map(json.loads, lines)
    assert (kept["message"], sorted_["id"]) == ("What do 20 cost?", kept["id"])
    assert sorted_["sorted"].startswith("Kind: sales") and sorted_["error"] is None
    assert len(model.requests) == 1


def test_a_form_keeps_the_message_when_hermes_is_away_and_stops_a_flood(site: Site) -> None:
    site.take("flask-webhook", "hermes_runs.py")
    site.take("contact-form", "contact.py")
    url = site.serve(
        "contact:app", HERMES_URL="http://127.0.0.1:9", HERMES_KEY="x", API_SERVER_CALLBACK_SECRET="x", CALLBACK_URL="x"
    )
    answers = [httpx.post(f"{url}/contact", data={"email": "a@b", "message": f"{n}"}).status_code for n in range(6)]
    assert answers == [200, 200, 200, 200, 200, 429]
    assert len((site.folder / "inbox.jsonl").read_text().splitlines()) == 5
