"""`hermes keys`, where no gateway runs. With one: tests/acceptance/test_keys.py."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from hermes.home.env import read_env
from hermes.home.paths import create_home
from hermes.store import keys as key_store
from hermes.store.database import Database
from tests.support.cli import Hermes
from tests.support.database import new_url


@pytest.fixture(autouse=True)
def _home(hermes: Hermes) -> None:
    create_home(hermes.home)


def test_add_shows_the_key_once_and_keeps_its_hash(hermes: Hermes) -> None:
    done = hermes("keys", "add", "bot", "--scope", "chat,read", "--budget-usd", "2.5", "--tool-items", "mcp_call")
    assert (done.code, done.err) == (0, "")
    said, secret = done.out.splitlines()
    assert said == "The key bot (chat). It is shown this once; nobody can read it again:"
    assert re.fullmatch(r"hk_[0-9a-f]{64}", secret)
    database = Database.open_now(new_url(hermes.home.state_db))
    key = database.read_now(key_store.by_digest, hashlib.sha256(secret.encode()).hexdigest())
    database.close_now()
    assert key is not None
    assert (key.name, sorted(key.scopes), key.budget_usd, key.tool_items) == ("bot", ["chat", "read"], 2.5, "mcp_call")
    for path in hermes.home.path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_a_key_may_chat_unless_it_is_said_otherwise(hermes: Hermes) -> None:
    key = json.loads(hermes("keys", "add", "bot", "--json").out)
    assert (key["scopes"], key["budget_usd"]) == (["chat", "read"], None)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("add", "owner"), "owner is the key in API_SERVER_KEY"),
        (("add", "a/b"), "cannot be a key's name"),
        (("add", "bot", "--scope", "root"), "'root' is no scope"),
        (("add", "bot", "--budget-usd", "-1"), "--budget-usd is a number"),
        (("add", "bot", "--budget-usd", "nan"), "--budget-usd is a number"),
        (("add", "bot", "--tool-items", "x"), "--tool-items is function_call or mcp_call"),
        (("revoke", "owner"), "cannot be revoked, only replaced"),
    ],
)
def test_what_is_wrong_is_said_and_exits_2(hermes: Hermes, arguments: tuple[str, ...], why: str) -> None:
    done = hermes("keys", *arguments)
    assert done.code == 2
    assert why in done.err


def test_an_unknown_name_is_said_with_the_way_out(hermes: Hermes) -> None:
    for command in ("revoke", "rotate"):
        done = hermes("keys", command, "bot")
        assert (done.code, done.err) == (1, "hermes: no key 'bot'; list them with: hermes keys list\n")


def test_the_list_tells_what_each_may_do_and_has_spent(hermes: Hermes) -> None:
    assert "only the owner's API_SERVER_KEY" in hermes("keys", "list").out
    for arguments in (("a", "--scope", "read"), ("b", "--budget-usd", "1"), ("c", "--scope", "admin")):
        hermes("keys", "add", *arguments)
    hermes("keys", "revoke", "c")
    database = Database.open_now(new_url(hermes.home.state_db))
    spender = next(key for key in database.read_now(key_store.list_keys) if key.name == "b")
    database.write_now(key_store.spend, spender.id, 1.25)
    database.close_now()
    lines = hermes("keys", "list").out.splitlines()
    assert lines[0].split()[:2] == ["name", "scope"]
    assert re.match(r"a +read +0\.0000 / no limit +.* never +in force +key_", lines[1])
    assert re.match(r"b +chat +1\.2500 / 1 +.* never +budget spent +key_", lines[2])
    assert re.match(r"c +admin .* revoked ", lines[3])


def test_the_owners_key_is_written_to_env_beside_what_is_there(hermes: Hermes) -> None:
    before = read_env(hermes.home.env_file)
    done = hermes("keys", "rotate", "owner")
    after = read_env(hermes.home.env_file)
    assert after["API_SERVER_KEY"] == done.out.splitlines()[-1] != before["API_SERVER_KEY"]
    assert after == before | {"API_SERVER_KEY": after["API_SERVER_KEY"]}
    assert re.fullmatch(r"[0-9a-f]{64}", after["API_SERVER_KEY"])


def test_a_key_of_the_environment_cannot_be_rotated_in_env(hermes: Hermes) -> None:
    hermes.environ["API_SERVER_KEY"] = "x" * 40
    before = hermes.home.env_file.read_text()
    done = hermes("keys", "rotate", "owner")
    assert done.code == 2
    assert "is set in the environment" in done.err
    assert hermes.home.env_file.read_text() == before


@pytest.mark.sqlite("each profile has a file")
def test_a_key_belongs_to_one_profile(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    hermes("keys", "add", "bot", "--profile", "alice")
    hermes("-p", "alice", "keys", "add", "other")
    listed = json.loads(hermes("-p", "alice", "keys", "list", "--json").out)
    assert [key["name"] for key in listed] == ["bot", "other"]
    assert json.loads(hermes("keys", "list", "--json").out) == []
    assert hermes("keys", "add", "x", "--profile", "nobody").code == 2


def test_without_a_home_there_are_no_keys(hermes: Hermes) -> None:
    hermes.home.env_file.unlink()
    hermes.home.config_file.unlink()
    done = hermes("keys", "add", "bot")
    assert done.code == 2
    assert "it is made with: hermes gateway" in done.err
    assert not hermes.home.state_db.exists()


def test_the_audit_log_tells_of_keys_and_profiles(hermes: Hermes) -> None:
    assert hermes("keys", "audit").out == "Nothing was changed yet.\n"
    hermes("keys", "add", "bot")
    hermes("profile", "create", "alice")
    hermes("profile", "rename", "alice", "bob")
    hermes("profile", "delete", "bob")
    rows = [line.split() for line in hermes("keys", "audit").out.splitlines()]
    assert rows[0] == ["when", "who", "what", "of", "more"]
    assert [(row[2], row[3], row[4]) for row in rows[1:]] == [
        ("cli", "key.added", "bot"),
        ("cli", "profile.created", "alice"),
        ("cli", "profile.renamed", "bob"),
        ("cli", "profile.deleted", "bob"),
    ]
    assert len(json.loads(hermes("keys", "audit", "--limit", "2", "--json").out)) == 2
