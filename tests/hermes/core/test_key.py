from __future__ import annotations

import pytest

from hermes.core.errors import InvalidInput
from hermes.core.key import INCLUDES, Key, Scope, checked_name, new_secret, parse_scopes


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("read", {"read"}),
        ("chat", {"read", "chat"}),
        ("admin", {"read", "chat", "admin"}),
        (" chat , read ", {"read", "chat"}),
        ("read,admin", {"read", "chat", "admin"}),
    ],
)
def test_a_scope_brings_what_it_includes(text: str, scopes: set[str]) -> None:
    assert parse_scopes(text) == scopes


@pytest.mark.parametrize("text", ["", " , ", "write", "chat,root", "CHAT", "*"])
def test_another_word_is_no_scope(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_scopes(text)
    assert raised.value.param == "scope"


def test_each_scope_includes_itself_and_admin_all() -> None:
    assert all(scope in INCLUDES[scope] for scope in Scope)
    assert INCLUDES[Scope.ADMIN] == set(Scope)


def test_a_secret_has_256_random_bits_behind_its_prefix() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("hk_") and len(bytes.fromhex(secret[3:])) == 32 for secret in secrets)


@pytest.mark.parametrize("name", ["", "owner", ".hidden", "a b", "a/b", "a" * 65, "ä", "a\n", "-p"])
def test_what_cannot_be_a_keys_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_name(name)


@pytest.mark.parametrize("name", ["bot", "Open-WebUI", "n8n.2", "a_b", "7"])
def test_what_can_be_a_keys_name(name: str) -> None:
    assert checked_name(name) == name


def test_what_is_left_of_a_budget_may_be_less_than_nothing() -> None:
    key = Key(id="key_1", name="bot", scopes=frozenset(Scope), created_at=1.0, budget_usd=1.0, spent_usd=1.5)
    assert key.left_usd == -0.5
    assert Key(id="key_2", name="free", scopes=frozenset(Scope), created_at=1.0).left_usd is None
