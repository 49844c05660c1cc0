"""`hermes db` without a gateway."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Connection

from hermes.home.paths import create_home
from hermes.store.connecting import shown
from hermes.store.database import Database
from tests.support.cli import Hermes
from tests.support.database import new_url
from tests.support.store import keep_run, keep_session


@pytest.fixture
def database(hermes: Hermes) -> Database:
    create_home(hermes.home)
    return Database.open_now(new_url(hermes.home.state_db))


def place(hermes: Hermes) -> str:
    return shown(new_url(hermes.home.state_db))


def break_run(conn: Connection) -> None:
    keep_run(conn, "r")
    conn.exec_driver_sql("UPDATE runs SET finished_at = 1")


def test_without_a_home_it_says_how_to_make_one(hermes: Hermes) -> None:
    done = hermes("db", "check")
    assert done.code == 2
    assert "it is made with: hermes gateway" in done.err
    assert not hermes.home.path.exists()


def test_a_whole_database_is_said_to_be_whole_and_what_was_examined(hermes: Hermes, database: Database) -> None:
    database.write_now(keep_session)
    done = hermes("db", "check")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{place(hermes)} is whole. Examined: pages, references, schema, runs and events, "
        "sessions and messages, approvals, jobs, search index.\n"
    )
    assert "pages and indexes" in hermes("db", "check", "--full").out
    assert json.loads(hermes("db", "check", "--json").out)["ok"] is True
    database.close_now()


def test_what_is_broken_is_named_with_its_mend_and_is_exit_code_1(hermes: Hermes, database: Database) -> None:
    database.write_now(break_run)
    done = hermes("db", "check")
    assert (done.code, done.err) == (1, "")
    first, mend, last = done.out.splitlines()
    assert first == "1 runs whose status does not fit whether they have ended: r [status_and_end_differ]"
    assert "hermes db restore" in mend
    assert last == f"1 to mend in {place(hermes)}."
    told = json.loads(hermes("db", "check", "--json").out)
    assert (told["ok"], told["findings"][0]["ids"]) == (False, ["r"])
    database.close_now()
