"""`hermes status` of a home whose gateway does not run; with one: tests/acceptance/test_service.py."""

from __future__ import annotations

import json

import pytest

from hermes.core.job import Job
from hermes.home.config_file import set_config
from hermes.home.locks import GatewayProcess, lock_gateway
from hermes.home.paths import create_home
from hermes.store import jobs as job_store
from hermes.store.database import Connection, Database
from tests.support.cli import Hermes
from tests.support.database import new_url


def test_where_nothing_is_it_says_how_to_begin_and_makes_nothing(hermes: Hermes) -> None:
    done = hermes("status")
    assert done.code == 0
    assert "(not made yet)" in done.out and "hermes gateway start" in done.out
    assert not hermes.home.path.exists()


def test_a_profile_without_an_api_of_its_own_is_asked_at_the_default_one(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    told = hermes("-p", "alice", "status").out
    assert "none of its own; it is asked under /p/alice of the default profile's: hermes gateway start\n" in told
    lock = lock_gateway(hermes.home.pid_file, now=1.0)
    lock.announce(GatewayProcess(1, 1.0, "http://127.0.0.1:9", is_ready=True))
    assert "none of its own; it is asked at http://127.0.0.1:9/p/alice\n" in hermes("-p", "alice", "status").out
    lock.release()
    hermes("-p", "alice", "config", "set", "API_SERVER_ENABLED", "true")
    assert "does not run; start it with: hermes -p alice gateway start\n" in hermes("-p", "alice", "status").out


def test_jobs_the_model_and_problems_are_told_without_a_gateway(hermes: Hermes) -> None:
    create_home(hermes.home)
    set_config(hermes.home.config_file, ["model", "default"], "qwen3")
    set_config(hermes.home.config_file, ["modle"], "x")
    database = Database.open_now(new_url(hermes.home.state_db))

    def keep(conn: Connection) -> None:
        for number, due in enumerate((10.0, 4_000_000_000.0)):
            job_store.insert(
                conn,
                Job(
                    id=f"job_{number}",
                    owner="alice",
                    name="n",
                    schedule="30m",
                    timezone="UTC",
                    anchor=0.0,
                    prompt="p",
                    created_at=1.0,
                    updated_at=1.0,
                    next_due=due,
                ),
            )

    database.write_now(keep)
    database.close_now()
    told = json.loads(hermes("status", "--json").out)
    assert told == {
        "home": str(hermes.home.path),
        "profile": "default",
        "exists": True,
        "api_enabled": True,
        "gateway": None,
        "model": "qwen3",
        "runs": None,
        "queued": None,
        "jobs": {"due": 1, "next_due_at": 10.0},
        "settings": None,
        "problems": ["config.yaml: modle is no setting; did you mean model?"],
    }
    text = hermes("status").out
    assert "1 due, the next: " in text and "problem: config.yaml: modle" in text
    assert text.endswith("How to mend it: hermes doctor\n")


@pytest.mark.sqlite("a damaged file")
def test_a_damaged_database_is_a_problem_with_its_mend(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes.home.state_db.write_bytes(b"not a database " * 500)
    hermes.home.state_db.chmod(0o600)
    told = json.loads(hermes("status", "--json").out)
    assert told["jobs"] is None
    (problem,) = told["problems"]
    assert f"{hermes.home.state_db} is damaged" in problem and "hermes db restore" in problem
    assert "[broken_database]" in hermes("doctor", "--offline").out
