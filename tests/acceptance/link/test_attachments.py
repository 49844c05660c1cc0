"""Attachments reach the agent, each in its way, and uploads that a kill cut off leave nothing behind."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone, ok
from tests.acceptance.link.process import LinkProcess

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

MIB = 1 << 20


def test_a_photo_a_note_and_an_archive_reach_the_agent(
    known_gateway: Gateway, link: LinkProcess, phone: Phone, model: ScriptedModelServer
) -> None:
    conversation = phone.conversation()
    photo = upload(phone, conversation, a_photo(), "IMG_0001.jpg")
    note = upload(phone, conversation, "Buy 牛奶".encode(), "note.txt")
    long = upload(phone, conversation, b"line of the report\n" * 5000, "report.txt")
    place = known_gateway.home / "inbox" / phone.get("/auth/me")["link"]["link_id"] / long / "report.txt"
    model.add(
        Step(after_tool=False, tool_calls=(Call("read_file", {"path": str(place), "limit": 3}),)),
        Step(after_tool=True, text="I have read all of it."),
    )

    answer = phone.ask(conversation, "What are these?", attachments=[photo, note, long])

    assert answer == "I have read all of it."
    said, told = model.requests[-1]["messages"], model.requests[0]["messages"][-1]["content"]
    kinds = [part["type"] for part in told]
    assert kinds == ["text", "image_url", "text", "text"]
    picture = base64.b64decode(told[1]["image_url"]["url"].partition(",")[2])
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size) == ("JPEG", (2048, 1536))
    assert told[2]["text"] == "[Attached file: note.txt (text/plain, 10 bytes)]\n```\nBuy 牛奶\n```"
    assert told[3]["text"].endswith(f"It is at {place}")
    assert "line of the report" in json.dumps(said[-1]), "the agent's own tool reads it"

    sent = phone.messages(conversation)[0]
    assert [one["filename"] for one in sent["attachments"]] == ["IMG_0001.jpg", "note.txt", "report.txt"]
    assert phone.client.delete(f"/conversations/{conversation}/blobs/{note}").json()["error"]["code"] == "blob_in_use"
    gone = phone.delete(f"/conversations/{conversation}")
    assert gone["blobs_deleted"] == 3
    assert list((link.home / "blobs").iterdir()) == []
    assert not place.parent.exists()


@pytest.mark.timeout(300)
def test_uploads_that_a_kill_cuts_off_leave_nothing_and_what_was_acknowledged_is_there(
    link: LinkProcess, phone: Phone
) -> None:
    conversation, kept = phone.conversation(), dict[str, str]()
    for moment in (1, 8, 60, 400):
        arrived = threading.Semaphore(0)
        senders = [
            threading.Thread(target=send_many, args=(phone, conversation, kept, arrived, number)) for number in range(8)
        ]
        for one in senders:
            one.start()
        for _ in range(moment):
            assert arrived.acquire(timeout=30)
        link.kill()
        for one in senders:
            one.join(30)
        link.start()

        rows = blobs_in(link)
        files = {path.name for path in (link.home / "blobs").iterdir()}
        assert files == set(rows.values()), f"moment {moment}"
        assert kept.items() <= rows.items(), f"moment {moment}"
    for blob_id, sha256 in kept.items():
        assert (
            hashlib.sha256(phone.client.get(f"/conversations/{conversation}/blobs/{blob_id}").content).hexdigest()
            == sha256
        )


def send_many(phone: Phone, conversation: str, kept: dict[str, str], arrived: threading.Semaphore, number: int) -> None:
    """Until Link is gone. What is told to be there is written down."""

    def pieces(size: int) -> Iterator[bytes]:
        for _ in range(size):
            yield bytes([number]) * 65536
            arrived.release()

    with (
        httpx.Client(base_url=phone.client.base_url, headers=phone.client.headers) as client,
        suppress(httpx.HTTPError),
    ):
        for size in range(1, 200):
            blob: Any = ok(client.post(f"/conversations/{conversation}/blobs", content=pieces(size)))["blob"]
            kept[blob["id"]] = blob["sha256"]


def blobs_in(link: LinkProcess) -> dict[str, str]:
    with closing(sqlite3.connect(Path(link.home / "link.db"))) as database:
        return dict(database.execute("SELECT id, sha256 FROM blobs").fetchall())


def upload(phone: Phone, conversation: str, content: bytes, name: str) -> str:
    answer = phone.client.post(f"/conversations/{conversation}/blobs", files={"file": (name, content)})
    found: str = ok(answer)["blob_id"]
    return found


def a_photo() -> bytes:
    made = io.BytesIO()
    Image.effect_noise((4000, 3000), 90).convert("RGB").save(made, "JPEG", quality=60)
    return made.getvalue()
