"""A profile's whole life from a phone, while the gateway runs: made, talked to, renamed, talked to, deleted."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hermes.home.env import read_env
from hermes.home.locks import bounded_lock, running_gateway
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Object, Phone, refused
from tests.acceptance.link.process import LinkProcess
from tests.acceptance.test_profiles import hermes
from tests.support import waiting

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

SCRIPT = (Step(when="^wait", text=["token "] * 2000, delay_ms=100), Step(times=0, text="You said: {{user}}"))


@pytest.fixture(autouse=True)
def script(model: ScriptedModelServer) -> None:
    model.add(*SCRIPT)


def created(phone: Phone) -> Object:
    """The status when it is over."""

    def is_over() -> Object | None:
        found = phone.get("/profile-creation/status")
        return found if found["state"] not in ("running", "idle") else None

    found: Object = waiting.eventually(is_over, seconds=30)
    return found


def home(gateway: Gateway, name: str) -> Path:
    return gateway.home / "profiles" / name


def test_the_life_of_a_profile(phone: Phone, link: LinkProcess, known_gateway: Gateway) -> None:
    with phone.follow() as stream:  # of all conversations: it tells of the new name
        started = phone.post("/profiles", {"name": "ada", "clone_from": "default", "display_name": "Ada"})
        assert started["state"] == "running"
        done = created(phone)
        assert done["state"] == "succeeded", done
        assert "The gateway answers for it." in done["lines"]
        uid = phone.get("/profiles/ada/status")["profile"]["uid"]
        key = read_env(home(known_gateway, "ada") / ".env")["API_SERVER_KEY"]
        assert len(key) >= 32

        talk = phone.conversation(profile="ada")
        assert phone.ask(talk, "hello") == "You said: hello"
        running = running_gateway(home(known_gateway, "ada") / "run" / "gateway.pid")
        assert running is not None and running.is_guest, "the gateway has it open"

        # who has just answered may be at work for a moment more
        new = {"name": "grace"}
        waiting.eventually(lambda: phone.client.patch("/profiles/ada", json=new).status_code == 200, seconds=20)
        renamed = phone.get("/profiles/grace/status")["profile"]
        assert (renamed["name"], renamed["uid"], renamed["displayName"]) == ("grace", uid, "Ada")
        stream.until(
            lambda one: one.type == "conversation.updated" and one.payload["conversation"]["profile"] == "grace"
        )
    assert phone.ask(talk, "and again") == "You said: and again"
    assert [one["sender"]["profile"] for one in phone.messages(talk)][-1] == "grace"
    by_key = {"Authorization": f"Bearer {key}"}
    sessions = httpx.get(f"{known_gateway.url}/p/grace/api/sessions", headers=by_key, timeout=20).json()["data"]
    assert len(sessions) == 1, "the same session went on"
    assert httpx.get(f"{known_gateway.url}/p/ada/v1/models", headers=by_key, timeout=20).status_code == 401
    usage = phone.get("/statistics/usage", days=2)["usage"]
    assert [one["profile"] for one in usage["profiles"]] == ["grace"]

    waiting.eventually(lambda: phone.client.delete("/profiles/grace").status_code == 204, seconds=20)
    assert phone.get("/profiles")["profiles"] == ["default"]
    assert len(list((known_gateway.home / "trash").glob("grace-*"))) == 1
    assert [one["id"] for one in phone.get("/conversations", status="archived")["conversations"]] == [talk]
    assert len(phone.messages(talk)) == 4
    phone.patch(f"/conversations/{talk}/profile", {"profile": "default"})
    assert phone.ask(talk, "still here") == "You said: still here"
    assert known_gateway.errors == ""
    assert key not in link.output


def test_a_profile_at_work_is_neither_renamed_nor_deleted(phone: Phone, known_gateway: Gateway) -> None:
    phone.post("/profiles", {"name": "ada", "clone_from": "default"})
    assert created(phone)["state"] == "succeeded"
    direct = phone.post("/runs", {"input": "wait", "profile": "ada"})["run_id"]
    for answer in (phone.client.patch("/profiles/ada", json={"name": "b"}), phone.client.delete("/profiles/ada")):
        assert refused(answer) == (409, "profile_busy")
    phone.post(f"/runs/{direct}/cancel")
    talk = phone.conversation(profile="ada")
    with phone.follow(talk) as stream:
        run = phone.send(talk, "wait")["run"]["id"]
        stream.until_type("message.delta")
        assert refused(phone.client.delete("/profiles/ada")) == (409, "profile_busy")
        phone.post(f"/conversations/{talk}/runs/{run}/cancel")
        stream.until_end(run)
    waiting.eventually(lambda: phone.client.delete("/profiles/ada").status_code == 204, seconds=20)
    assert not home(known_gateway, "ada").exists()


def test_a_link_that_is_killed_while_it_makes_one_leaves_nothing_half_made(
    phone: Phone, link: LinkProcess, known_gateway: Gateway
) -> None:
    with bounded_lock(known_gateway.home / "run" / "profiles.lock", 5.0):  # as another command that holds it up
        phone.post("/profiles", {"name": "ada"})
        assert refused(phone.client.post("/profiles", json={"name": "bob"})) == (409, "profile_creation_running")
        waiting.eventually(lambda: len(phone.get("/profile-creation/status")["lines"]) > 1, seconds=20)
        link.kill()
    (home(known_gateway, ".create-left")).mkdir(parents=True)
    link.start()
    found = phone.get("/profile-creation/status")
    assert (found["state"], found["profile_name"]) == ("failed", "ada")
    assert phone.get("/profiles")["profiles"] == ["default"]
    assert list((known_gateway.home / "profiles").iterdir()) == []
    phone.post("/profiles", {"name": "ada"})
    assert created(phone)["state"] == "succeeded"
    assert link.stop(signal.SIGTERM) == 0


def test_of_a_phone_and_a_person_at_the_machine_that_rename_at_once_one_wins(
    phone: Phone, known_gateway: Gateway
) -> None:
    phone.post("/profiles", {"name": "ada", "clone_from": "default"})
    created(phone)
    talk = phone.conversation(profile="ada")
    assert phone.ask(talk, "hello") == "You said: hello"
    with ThreadPoolExecutor(2) as pool:
        by_phone = pool.submit(lambda: phone.client.patch("/profiles/ada", json={"name": "grace"}).status_code)
        at_machine = pool.submit(lambda: _renames(known_gateway, "ada", "lovelace"))
        won = [by_phone.result() == 200, at_machine.result()]
    assert won.count(True) == 1
    name = "grace" if won[0] else "lovelace"
    assert phone.get("/profiles")["profiles"] == ["default", name]
    waiting.eventually(lambda: phone.get("/conversations")["conversations"][0]["profile"] == name, seconds=20)
    assert phone.ask(talk, "and again") == "You said: and again"


def _renames(gateway: Gateway, name: str, new: str) -> bool:
    try:
        hermes(gateway, "profile", "rename", name, new)
    except AssertionError:
        return False
    return True
