from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from hermes.core.errors import BudgetExceeded, Conflict, NotFound, StoreUnavailable
from hermes.core.key import Key, Scope
from hermes.store import audit, keys
from hermes.store.database import Connection, Database
from tests.support.database import new_url

DIGEST = hashlib.sha256(b"hk_1").hexdigest()
OTHER = hashlib.sha256(b"hk_2").hexdigest()
BOT = Key(id="key_1", name="bot", scopes=frozenset({Scope.READ, Scope.CHAT}), created_at=10.0, budget_usd=2.0)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open_now(new_url(tmp_path / "state.db"))


@pytest.fixture(autouse=True)
def _closed(database: Database) -> object:
    yield
    database.close_now()


def test_a_key_is_found_by_its_digest_as_it_was_added(database: Database) -> None:
    key = replace(BOT, tool_items="mcp_call")
    database.write_now(keys.add, key, DIGEST, "cli")
    assert database.read_now(keys.by_digest, DIGEST) == key
    assert database.read_now(keys.get, "key_1") == key
    assert database.read_now(keys.by_digest, OTHER) is None


def test_a_name_is_taken_while_its_key_is_in_force(database: Database) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    with pytest.raises(Conflict, match="there is a key 'bot' already"):
        database.write_now(keys.add, replace(BOT, id="key_2"), OTHER, "cli")
    database.write_now(keys.revoke, "bot", 20.0, "cli")
    database.write_now(keys.add, replace(BOT, id="key_2"), OTHER, "cli")
    assert [(key.id, key.revoked_at) for key in database.read_now(keys.list_keys)] == [
        ("key_2", None),
        ("key_1", 20.0),
    ]


def test_a_rotated_key_is_the_same_key_under_another_digest(database: Database) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    assert database.write_now(keys.rotate, "bot", OTHER, 20.0, "cli").id == "key_1"
    assert database.read_now(keys.by_digest, DIGEST) is None
    assert database.read_now(keys.by_digest, OTHER) == BOT


@pytest.mark.parametrize("change", ["rotate", "revoke"])
def test_a_name_that_no_key_in_force_has_is_not_found(database: Database, change: str) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    database.write_now(keys.revoke, "bot", 20.0, "cli")
    with pytest.raises(NotFound, match="no key 'bot'"):
        if change == "rotate":
            database.write_now(keys.rotate, "bot", OTHER, 30.0, "cli")
        else:
            database.write_now(keys.revoke, "bot", 30.0, "cli")


def test_a_revoked_key_opens_nothing_and_its_jobs_are_paused(database: Database) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    database.write_now(_keep_job, "job_1", "key_1", 100.0)
    database.write_now(_keep_job, "job_2", "key_1", None)
    database.write_now(_keep_job, "job_3", "owner", 100.0)
    key, paused = database.write_now(keys.revoke, "bot", 20.0, "cli")
    assert (key.id, paused) == ("key_1", 1)
    assert database.read_now(keys.by_digest, DIGEST) is None
    statement = sa.text("SELECT id, state, next_due, paused_at FROM jobs ORDER BY id")
    assert database.read_now(lambda conn: [tuple(row) for row in conn.execute(statement)]) == [
        ("job_1", "paused", None, 20.0),
        ("job_2", "completed", None, None),
        ("job_3", "scheduled", 100.0, None),
    ]


def test_what_is_spent_adds_up_until_the_budget_is_gone(database: Database) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    for usd in (0.5, 1.0):
        database.write_now(keys.spend, "key_1", usd)
        database.read_now(keys.check_budget, "key_1")
    database.write_now(keys.spend, "key_1", 0.5)
    with pytest.raises(BudgetExceeded, match=r"'bot' has spent 2.0000 of its 2 USD"):
        database.read_now(keys.check_budget, "key_1")
    database.write_now(keys.spend, "nobody", 1.0)
    database.read_now(keys.check_budget, "owner")


def test_each_change_is_in_the_audit_log(database: Database) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    database.write_now(keys.rotate, "bot", OTHER, 20.0, "root")
    database.write_now(keys.revoke, "bot", 30.0, "cli")
    entries = database.read_now(audit.newest)
    assert [(one.at, one.actor, one.action, one.subject, dict(one.detail)) for one in entries] == [
        (10.0, "cli", "key.added", "bot", {"id": "key_1", "scopes": ["chat", "read"]}),
        (20.0, "root", "key.rotated", "bot", {"id": "key_1"}),
        (30.0, "cli", "key.revoked", "bot", {"id": "key_1", "jobs_paused": 0}),
    ]
    assert [one.action for one in database.read_now(audit.newest, 1)] == ["key.revoked"]


@pytest.mark.sqlite("the file stays as it is")
def test_a_key_is_found_in_a_database_that_nobody_has_open_and_the_file_stays_as_it_is(
    database: Database, tmp_path: Path
) -> None:
    database.write_now(keys.add, BOT, DIGEST, "cli")
    file = tmp_path / "state.db"
    assert keys.find_in_closed(f"sqlite:///{file}", DIGEST) == BOT  # while it is open, too
    database.close_now()
    before = file.read_bytes()
    assert keys.find_in_closed(f"sqlite:///{file}", DIGEST) == BOT
    assert keys.find_in_closed(f"sqlite:///{file}", OTHER) is None
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.sqlite("files")
def test_a_file_that_is_no_database_of_ours_has_no_keys(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty.db").touch()
    sqlite3.connect(tmp_path / "old.db").close()
    for name in ("text.db", "empty.db", "old.db", "missing.db"):
        assert keys.find_in_closed(f"sqlite:///{tmp_path / name}", DIGEST) is None
    assert not (tmp_path / "missing.db").exists()


def test_the_keys_of_a_postgres_that_nobody_has_open_are_found_unless_it_is_none_of_ours(postgres_url: str) -> None:
    database = Database.open_now(postgres_url)
    database.write_now(keys.add, BOT, DIGEST, "cli")
    database.close_now()
    assert keys.find_in_closed(postgres_url, DIGEST) == BOT
    assert keys.find_in_closed(postgres_url, OTHER) is None
    empty = make_url(postgres_url).set(database="template1").render_as_string(hide_password=False)
    assert keys.find_in_closed(empty, DIGEST) is None
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/x cannot be reached"):
        keys.find_in_closed("postgresql://a:secret@127.0.0.1:1/x", DIGEST)


def _keep_job(conn: Connection, job_id: str, owner: str, next_due: float | None) -> None:
    state = "completed" if next_due is None else "scheduled"
    statement = sa.text(
        "INSERT INTO jobs (id, owner, name, schedule, timezone, anchor, prompt, deliver, skills, catch_up, state,"
        " created_at, updated_at, fired, next_due) VALUES (:id, :owner, 'j', '1h', 'UTC', 0, 'p', 'local', '[]',"
        " 'one', :state, 1, 1, 0, :due)"
    )
    conn.execute(statement, {"id": job_id, "owner": owner, "state": state, "due": next_due})
