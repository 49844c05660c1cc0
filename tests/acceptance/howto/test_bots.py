"""The programs of slack.md and discord.md, word for word, against stand-ins of both services and a real gateway."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.howto.conftest import FLASK, Site, set_up
from tests.support import waiting
from tests.support.machine import Machine
from tests.support.stand_in import Answer, Asked, StandIn

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]

eventually = partial(waiting.eventually, seconds=30.0)
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@pytest.fixture
def team(machine: Machine) -> dict[str, str]:
    """The agent for the team, as slack.md sets it up: where it is, and its key."""
    return set_up(machine, "slack", "team")


class Service(StandIn):
    """Slack's methods and Discord's webhooks, as far as a bot needs them."""

    def answer(self, asked: Asked) -> Answer:
        known = {"ok": True, "bot_id": "B1", "user_id": "U1", "team_id": "T1", "bot_user_id": "U1", "ts": "1.2"}
        return Answer.of(known)

    def posted(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.startswith(path)]


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture
def slack(site: Site, team: dict[str, str], service: Service, installed: Callable[..., Path]) -> Site:
    site.take("slack", "slack_bot.py")
    site.environ["PYTHONPATH"] = str(installed(*FLASK, "slack-bolt==1.30.0"))
    site.serve(
        "slack_bot:app",
        SLACK_BOT_TOKEN="xoxb-1",
        SLACK_SIGNING_SECRET=SECRET,
        SLACK_API=f"{service.url}/api/",
        **team,
    )
    return site


def mention(url: str, text: str, event_id: str, *, ts: str = "1.0", secret: str = SECRET) -> httpx.Response:
    """As Slack sends it."""
    event = {"type": "app_mention", "user": "U2", "text": text, "ts": ts, "channel": "C1", "event_ts": ts}
    payload = {"type": "event_callback", "team_id": "T1", "api_app_id": "A1", "event": event, "event_id": event_id}
    body, timestamp = json.dumps(payload), str(int(time.time()))
    mac = hmac.new(secret.encode(), f"v0:{timestamp}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={mac}",
    }
    return httpx.post(f"{url}/slack/events", content=body, headers=headers, timeout=20)


def test_a_mention_is_answered_once_in_its_thread(slack: Site, service: Service, model: ScriptedModelServer) -> None:
    model.add(Step(text="You said: {{user}} <!channel>", times=0))
    assert mention(slack.url, "<@U1> Hello & welcome", "Ev1").status_code == 200
    eventually(lambda: service.posted("/api/chat.postMessage"))
    assert mention(slack.url, "<@U1> Hello & welcome", "Ev1").status_code == 200, "Slack was not sure"
    assert mention(slack.url, "<@U1> And in another thread?", "Ev2", ts="2.0").status_code == 200
    posts = eventually(lambda: (found := service.posted("/api/chat.postMessage")) and len(found) == 2 and found)
    said = [_fields(post) for post in posts]
    assert [(one["channel"], one["thread_ts"], one["text"]) for one in said] == [
        ("C1", "1.0", "You said: Hello &amp; welcome &lt;!channel&gt;"),
        ("C1", "2.0", "You said: And in another thread? &lt;!channel&gt;"),
    ]
    assert posts[0].headers["authorization"] == "Bearer xoxb-1"
    assert len(model.requests) == 2
    assert [m["content"] for m in model.requests[1]["messages"] if m["role"] == "user"] == ["And in another thread?"]
    offered = {tool["function"]["name"] for tool in model.requests[0].get("tools", ())}
    assert offered <= {"web_search", "web_extract", "session_search"}


def test_what_slack_has_not_signed_is_refused_and_a_failure_is_told(
    slack: Site, service: Service, model: ScriptedModelServer
) -> None:
    model.add(Step(status=400, error="no", times=0))
    assert mention(slack.url, "hi", "Ev1", secret="guess").status_code == 401
    assert mention(slack.url, "hi", "Ev2").status_code == 200
    [post] = eventually(lambda: service.posted("/api/chat.postMessage"))
    assert _fields(post)["text"] == "I cannot answer just now."


def _fields(asked: Asked) -> dict[str, Any]:
    if asked.headers["content-type"].startswith("application/json"):
        fields: dict[str, Any] = asked.json
        return fields
    return dict(httpx.QueryParams(asked.body.decode()))


class Discord:
    """It signs what it sends."""

    def __init__(self, url: str) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.url = url

    @property
    def public(self) -> str:
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return self.key.public_key().public_bytes(*raw).hex()

    def send(self, interaction: dict[str, Any], key: Ed25519PrivateKey | None = None) -> httpx.Response:
        body, timestamp = json.dumps(interaction).encode(), str(int(time.time()))
        signature = (key or self.key).sign(timestamp.encode() + body).hex()
        headers = {
            "Content-Type": "application/json",
            "X-Signature-Ed25519": signature,
            "X-Signature-Timestamp": timestamp,
        }
        return httpx.post(f"{self.url}/interactions", content=body, headers=headers, timeout=20)


def test_a_command_of_discord_is_answered_later_and_only_signed_ones(
    site: Site, team: dict[str, str], service: Service, installed: Callable[..., Path], model: ScriptedModelServer
) -> None:
    model.add(Step(text="@everyone You said: {{user}}", times=0))
    site.take("discord", "discord_bot.py")
    site.environ["PYTHONPATH"] = str(installed(*FLASK, "cryptography"))
    discord = Discord(site.url)
    site.serve("discord_bot:app", DISCORD_PUBLIC_KEY=discord.public, DISCORD_API=f"{service.url}/api/v10", **team)
    command = {
        "id": "1100",
        "type": 2,
        "application_id": "42",
        "token": "aW50ZXJhY3Rpb24",
        "channel_id": "7",
        "member": {"user": {"id": "9"}},
        "data": {"id": "1", "name": "ask", "type": 1, "options": [{"name": "text", "type": 3, "value": "Hello"}]},
    }

    assert discord.send({"id": "1", "type": 1, "application_id": "42", "token": "x"}).json() == {"type": 1}
    assert discord.send(command, key=Ed25519PrivateKey.generate()).status_code == 401
    assert httpx.post(f"{site.url}/interactions", json=command).status_code == 401
    assert discord.send(command).json() == {"type": 5}
    [patch] = eventually(lambda: service.posted("/api/v10/webhooks/"))
    assert (patch.method, patch.path) == ("PATCH", "/api/v10/webhooks/42/aW50ZXJhY3Rpb24/messages/@original")
    assert patch.json == {"content": "@everyone You said: Hello", "allowed_mentions": {"parse": []}}
    assert len(model.requests) == 1
