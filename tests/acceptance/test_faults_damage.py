"""A database file that is broken: every command says so with the mend, and a gateway that meets it goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.support import waiting
from tests.support.load import load_on

pytestmark = pytest.mark.sqlite("the file of a home")

DEADLINE_SECONDS = 40.0
PAGE = 4096

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def header(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(os.urandom(100))


def half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def middle(file: Path) -> None:
    with file.open("r+b") as opened:
        for page in range(3, file.stat().st_size // PAGE, 2):
            opened.seek(page * PAGE)
            opened.write(os.urandom(PAGE))


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir(0o700)


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")


RESTORE = "restore a backup (hermes db restore)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "way_out", "finding"),
    [
        (header, RESTORE, "broken_database"),
        (half, RESTORE, "broken_database"),
        (middle, RESTORE, "broken_database"),
        (directory, "move that directory away", "broken_database"),
        (newer, "install the newer hermes-server again", "newer_database"),
    ],
)
def test_a_broken_file_is_named_with_its_mend_by_every_command(
    gateway: Gateway, model: ScriptedModelServer, harm: Callable[[Path], None], way_out: str, finding: str
) -> None:
    fill(gateway, model, 20)
    assert gateway.stop() == 0
    file = gateway.home / "state.db"
    good = gateway.home.parent / "good.db"
    shutil.copy(file, good)
    harm(file)
    for command in (["gateway"], ["sessions", "list"]):
        code, said = hermes(gateway, *command)
        assert (code, way_out in said, "listening" in said, "Traceback" in said) == (1, True, False, False), said
    code, said = hermes(gateway, "status")
    assert (code, way_out in said) == (0, True)
    code, said = hermes(gateway, "doctor", "--offline")
    assert (code, f"[{finding}]" in said) == (1, True)
    if file.is_dir():
        file.rmdir()
    shutil.copy(good, file)
    gateway.start()
    assert gateway.client.get("/api/sessions").json()["data"]


@pytest.mark.slow
def test_a_log_that_is_gone_takes_nothing_along_but_what_was_in_it(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    fill(gateway, model, 3)
    gateway.stop()
    gateway.start()
    model.add(Step("Later."))
    chat(gateway, "later").raise_for_status()
    gateway.kill()
    for name in ("state.db-wal", "state.db-shm"):
        (gateway.home / name).unlink()
    gateway.start()
    assert len(gateway.client.get("/api/sessions/s/messages").json()["data"]) == 6
    assert hermes(gateway, "db", "check")[0] == 0


@pytest.mark.slow
def test_a_gateway_that_meets_damage_says_so_and_goes_on(gateway: Gateway, model: ScriptedModelServer) -> None:
    fill(gateway, model, 60)
    gateway.stop()
    gateway.start()
    model.add(Step("word " * 20, times=0))
    with load_on(gateway.url, gateway.key, kinds=("chats", "starts")) as load:
        eventually(lambda: load.has("chat ok", "run ok"))
        middle(gateway.home / "state.db")
        refused = eventually(lambda: (told := listed(gateway)).status_code != 200 and told)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], RESTORE in error["message"]) == (503, "store_corrupt", True)
        load.forget()
        eventually(lambda: sum(load.told.values()) > 50)
    assert load.broken == []
    assert gateway.client.get("/health").status_code == 200
    assert gateway.client.get("/v1/models").status_code == 200
    assert gateway.client.get("/health/detailed").json()["status"] == "degraded"
    assert len((gateway.home / "logs" / "gateway.log").read_text().splitlines()) < 500
    assert gateway.stop() == 0


def listed(gateway: Gateway) -> httpx.Response:
    return gateway.client.get("/api/sessions/s/messages", params={"limit": 100, "order": "oldest"})


def fill(gateway: Gateway, model: ScriptedModelServer, count: int) -> None:
    model.add(Step("word " * 20, times=count))
    for number in range(count):
        chat(gateway, f"{number} {'x' * 5000}").raise_for_status()


def chat(gateway: Gateway, text: str) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}]}
    return gateway.client.post("/v1/chat/completions", json=body, headers={"X-Hermes-Session-Id": "s"})


def hermes(gateway: Gateway, *arguments: str) -> tuple[int, str]:
    """Its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "hermes", *arguments],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    return done.returncode, done.stdout + done.stderr
