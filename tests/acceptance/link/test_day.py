"""A whole day of a phone, over sockets."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from PIL import Image

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.conftest import StartLink
from tests.acceptance.link.phone import Object, Phone, deltas, ok, refused
from tests.acceptance.link.process import LinkProcess
from tests.acceptance.test_profiles import hermes
from tests.support import waiting

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

WORDS = [f"w{number} " for number in range(120)]
SCRIPT = (
    Step(when="packing list", text=WORDS, delay_ms=20),
    Step(when="^Clean", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf build"}),)),
    Step(when="^Clean", after_tool=True, text="The folder is clean."),
    Step(when="photo", text="A red square."),
    Step(when="without end", text=["on and "] * 3000, delay_ms=20),
    Step(times=0, text="You said: {{user}}"),
)


@pytest.fixture
def served(known_gateway: Gateway, model: ScriptedModelServer, start_link: StartLink) -> LinkProcess:
    """With a second profile, alice, behind the same listener."""
    model.add(*SCRIPT)
    hermes(known_gateway, "profile", "create", "alice", "--clone")
    (known_gateway.workdir / "build").mkdir()
    return start_link(known_gateway.home)


def test_a_whole_day_of_a_phone(served: LinkProcess, known_gateway: Gateway, model: ScriptedModelServer) -> None:
    phone, laptop = paired_by_qr(served), served.phone("Laptop", platform="desktop")
    assert phone.get("/status")["api_server"]["state"] == "online"

    # a chat, in whose answer the network goes away
    trip = phone.conversation()
    with phone.follow(trip) as stream:
        sent = phone.send(trip, "Write a packing list for Lisbon", client_message_id="m1")
        answer, run = sent["assistant_message"]["id"], sent["run"]["id"]
        for _ in range(3):
            stream.until_type("message.delta")
        stream.cut()
    seen = list(stream.events)
    assert phone.send(trip, "Write a packing list for Lisbon", client_message_id="m1")["run"]["id"] == run
    with phone.follow(trip, stream.last, uses_header=True) as rest:
        rest.until_end(run)
    seen += rest.events
    assert [one.id for one in seen] == list(range(1, len(seen) + 1)), "nothing lost and nothing twice"
    assert deltas(seen, answer) == "".join(WORDS) == phone.text(trip, answer)
    assert phone.get("/conversations")["conversations"][0]["title"].strip() not in {"", "New conversation"}

    # a command that needs a yes
    with phone.follow(trip, phone.last_seq(trip)) as stream:
        sent = phone.send(trip, "Clean the build folder")
        asked = stream.until_type("approval.requested").payload
        assert "rm -rf build" in json.dumps(asked)
        assert (known_gateway.workdir / "build").exists()
        yes = phone.post(f"/conversations/{trip}/approvals/{asked['approval_id']}/approve")
        assert (yes["decision"], yes["scope"]) == ("approve", "once")
        stream.until_end(sent["run"]["id"])
    assert not (known_gateway.workdir / "build").exists()
    assert phone.text(trip, sent["assistant_message"]["id"]) == "The folder is clean."
    again = phone.client.post(f"/conversations/{trip}/approvals/{asked['approval_id']}/deny", json={})
    assert refused(again) == (409, "approval_resolved")

    # a photo, larger than it need be
    blob = uploaded(phone, trip, photo(), "IMG_0001.png")
    assert phone.ask(trip, "What is on this photo?", attachments=[blob]) == "A red square."
    assert "image_url" in json.dumps(model.requests[-1]["messages"])
    whole = phone.client.get(f"/conversations/{trip}/blobs/{blob}")
    part = phone.client.get(f"/conversations/{trip}/blobs/{blob}", headers={"Range": "bytes=0-7"})
    assert whole.headers["content-type"] == "image/png" and (part.status_code, part.content) == (206, whole.content[:8])

    # another profile, from the next message on
    switched = phone.patch(f"/conversations/{trip}/profile", {"profile": "alice"})["conversation"]
    assert switched["profile"] == "alice"
    assert phone.ask(trip, "Who are you now?") == "You said: Who are you now?"
    assert phone.messages(trip)[-1]["sender"]["profile"] == "alice"
    heard = json.dumps(model.requests[-1]["messages"])
    assert "packing list" in heard, "the other profile knows what was said"

    # an answer that is stopped
    with phone.follow(trip, phone.last_seq(trip)) as stream:
        sent = phone.send(trip, "Talk without end")
        stream.until_type("message.delta")
        before = model.disconnects
        phone.post(f"/conversations/{trip}/runs/{sent['run']['id']}/cancel")
        assert stream.until_end(sent["run"]["id"]).type == "run.cancelled"
    assert phone.message(trip, sent["assistant_message"]["id"])["status"] == "cancelled"
    waiting.eventually(lambda: model.disconnects > before, seconds=10)  # nobody talks to the model any more

    # finding it again
    found = phone.get("/conversations/search", q="Lisbon")["conversations"]
    assert [one["id"] for one in found] == [trip]
    assert any("Lisbon" in match["snippet"] for match in found[0]["matches"])

    # what it took
    usage = phone.get("/statistics/usage", days=1)["usage"]
    assert usage["totals"]["run_count"] == 5 and usage["totals"]["output_tokens"] > 0
    assert {one["profile"] for one in usage["profiles"]} == {"default", "alice"}
    assert usage["range"]["to"] == usage["daily"][-1].get("date", usage["daily"][-1].get("day")) == today()

    # the next morning: the access token is over, and an answer to a refresh is lost on the way
    expire_access_tokens(served.home)
    assert refused(phone.client.get("/conversations")) == (401, "device_access_token_invalid")
    lost = phone.refresh_token
    phone.refresh()
    phone.refresh_token = lost
    phone.refresh()
    assert phone.get("/auth/me")["device"]["device_id"] == phone.device_id

    # lost for good: another device takes its rights away while it listens
    laptop.refresh()
    with phone.follow() as stream:
        began = time.monotonic()
        laptop.delete(f"/devices/{phone.device_id}")
        assert stream.is_ended.wait(5)
        assert time.monotonic() - began < 2
    assert refused(phone.client.get("/conversations"))[0] == 401
    assert refused(phone.client.post("/auth/refresh", json={"refresh_token": phone.refresh_token}))[0] == 401
    assert laptop.get("/conversations")["conversations"][0]["id"] == trip
    told = {one["action"] for one in laptop.get("/audit")["entries"]}
    assert len(told) >= 3, told


def paired_by_qr(link: LinkProcess) -> Phone:
    """With what `hermeslink pair` shows as a QR code."""
    shown: Object = json.loads(link.run("pair", "--json").stdout)
    assert shown["link_id"].startswith("link_") and link.url in shown["preferred_urls"]
    phone = Phone(link.url)
    link.phones.append(phone)
    phone.claim(shown["session_id"], shown["code"], "Ada's phone", app_instance_id="app-1", device_model="Nine")
    return phone


def uploaded(phone: Phone, conversation: str, content: bytes, name: str) -> str:
    files = {"file": (name, content, "application/octet-stream")}
    answer: httpx.Response = phone.client.post(f"/conversations/{conversation}/blobs", files=files)
    found: str = ok(answer)["blob_id"]
    return found


def photo() -> bytes:
    kept = io.BytesIO()
    Image.effect_noise((2600, 2600), 90).convert("RGB").save(kept, "PNG")
    return kept.getvalue()


def expire_access_tokens(home: Path) -> None:
    with closing(sqlite3.connect(home / "link.db", timeout=10)) as connection, connection:
        connection.execute("UPDATE tokens SET expires_at = 1 WHERE kind = 'access'")


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")
