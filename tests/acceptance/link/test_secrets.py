"""After a day of right and wrong requests no token, code or key is in any file of Link, nor in what it printed."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone, refused
from tests.acceptance.link.process import LinkProcess

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

WRONG = "hlat_" + "canary-of-a-wrong-token" * 2


def test_no_secret_is_in_a_file_or_on_the_screen(
    link: LinkProcess, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(times=0, text="You said: {{user}}"))
    link.stop()
    link.run("config", "set", "log-level", "debug")
    link.start()
    codes = [link.code()["connect_token"] for _ in range(2)]
    phone = Phone(link.url)
    link.phones.append(phone)
    phone.pair(codes[0], "Phone")
    secrets = [known_gateway.key, *codes, WRONG, phone.access, phone.refresh_token]
    phone.refresh()
    secrets += [phone.access, phone.refresh_token]
    conversation = phone.conversation()
    phone.ask(conversation, "hello")

    anybody = phone.client
    for path in (
        f"/conversations?access_token={phone.access}",
        f"/nothing/{phone.access}",
        f"/status?token={codes[1]}",
    ):
        anybody.get(path)
        anybody.get(path, headers={"Authorization": f"Bearer {WRONG}"})
    anybody.post("/auth/refresh", json={"refresh_token": phone.access})
    anybody.post("/auth/refresh", json={"refresh_token": [phone.refresh_token]})
    anybody.post("/pairing/claim", json={"session_id": "ps_" + "0" * 32, "claim_token": codes[1]})
    anybody.post("/pairing/claim", content=f'{{"claim_token": "{codes[1]}"'.encode())
    assert refused(anybody.get("/status", headers={"Authorization": f"Bearer {WRONG}"}))[0] == 401
    known_gateway.kill()
    anybody.post(f"/conversations/{conversation}/messages", json={"content": "hello"})
    assert known_gateway.key not in anybody.get("/status").text
    for source in ("link", "gateway"):
        assert known_gateway.key not in anybody.get("/logs", params={"source": source}).raise_for_status().text
    link.stop()

    found = {
        f"{path.relative_to(link.home.parent)}: {secret[:12]}…"
        for path in files_below(link.home.parent, link.home)
        for secret in secrets
        if secret.encode() in path.read_bytes()
    }
    assert found == set()
    for place in (link.home, *link.home.rglob("*")):
        assert place.stat().st_mode & 0o077 == 0, f"{place} is open to others"


def test_it_ends_its_streams_and_itself_soon_when_it_is_told_to(link: LinkProcess, phone: Phone) -> None:
    with phone.follow() as stream:
        began = time.monotonic()
        assert link.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
        assert stream.is_ended.wait(5)
    link.start()
    assert phone.get("/auth/me")["device"]["status"] == "active"
    assert "Traceback" not in link.output and "Warning" not in link.output, link.output


def files_below(root: Path, home: Path) -> list[Path]:
    """Of Link: its home, and what it printed."""
    return [path for path in (*home.rglob("*"), root / f"{home.name}.output") if path.is_file()]
