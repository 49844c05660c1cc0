"""Which key opens which door: every bad key against every kind of address."""

from __future__ import annotations

import secrets

import pytest

from hermes.home.keys import SAMPLE_KEYS, check_key, is_loopback

LOOPBACK = ["127.0.0.1", "127.0.0.53", "localhost", "LOCALHOST", "::1", "[::1]", "::ffff:127.0.0.1", " 127.0.0.1 "]
OPEN = ["0.0.0.0", "::", "", "192.168.1.5", "10.0.0.1", "100.64.0.1", "::ffff:0.0.0.0", "fe80::1", "hermes.example.org"]
OPEN += ["127.1", "2130706433", "localhost.", "127.0.0.1.evil.com", "localhost.evil.com", "0", "*"]

NONE = [None, "", " ", "\t\n"]
UNSENDABLE = ["line\nbreak" + "x" * 40, "null\0" + "x" * 40, "bell\x07" + "5f0c9d1e7a3b2468" * 4]
WEAK = ["x", "short", "fifteen-letters", *sorted(SAMPLE_KEYS), "CHANGE-ME-LOCAL-DEV", " alice-secret "]
GUESSABLE = [
    "sixteen-letters!",
    "a" * 32,
    "ab" * 20,
    "0123456789abcdef" * 4,
    "abcdefghijklmnopqrstuvwxyz012345",
    "correct horse battery staple 12"[:31],
    "change-me-local-dev-change-me-local-dev",
    "my-super-secret-key-with-more-behind-it-42",
    "0" * 31 + "1",
    "5f0c9d1e7a3b2468",
]
GOOD = [
    "9b1f7c3e5a0d8642e7c19f3ab5d0842c6f1e9d7b3a5c80246e8fd1b97c3a5e04",
    "c7d1e09b4f6a2835e1b7d90c4a6f3582",
    "Zq3vT8mXr5LpW0sKd2YhN7cJbF1gEuA9oIx4RtVyMnQ",
    "Zq3vT8mXr5LpW0sKd2YhN7cJbF1gEuA9",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", OPEN)
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", ""])
@pytest.mark.parametrize("key", [*NONE, *UNSENDABLE])
def test_no_key_and_a_key_that_cannot_be_sent_start_nowhere(key: str | None, host: str) -> None:
    verdict = check_key(key, host)
    assert verdict.is_refused
    assert "hermes config set API_SERVER_KEY $(openssl rand -hex 32)" in verdict.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("key", WEAK)
def test_on_loopback_a_weak_key_works_with_one_warning_line(key: str, host: str) -> None:
    verdict = check_key(key, host)
    assert verdict.level == "warning"
    assert len(verdict.text.splitlines()) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "hermes.example.org"])
@pytest.mark.parametrize("key", [*WEAK, *GUESSABLE])
def test_on_any_other_address_a_weak_or_guessable_key_is_refused_with_the_way_out(key: str, host: str) -> None:
    verdict = check_key(key, host, command="hermes -p alice")
    assert verdict.is_refused
    assert "hermes -p alice config set API_SERVER_KEY $(openssl rand -hex 32)" in verdict.text


@pytest.mark.parametrize("key", [*WEAK, *GUESSABLE])
def test_published_by_a_tunnel_loopback_protects_nothing(key: str) -> None:
    assert check_key(key, "127.0.0.1", is_exposed=True).is_refused


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "hermes.example.org"])
@pytest.mark.parametrize("key", GOOD)
def test_a_random_key_works_everywhere_without_a_word(key: str, host: str) -> None:
    verdict = check_key(key, host)
    assert (verdict.level, verdict.text) == ("ok", "")


def test_a_verdict_never_shows_the_key() -> None:
    for key in GUESSABLE:
        assert key not in check_key(key, "0.0.0.0").text


def test_sixteen_unprinted_characters_are_enough_on_loopback() -> None:
    assert check_key("sixteen-letters!", "127.0.0.1").level == "ok"


def test_random_keys_are_never_taken_for_guessable_ones() -> None:
    for _ in range(2000):
        for key in (secrets.token_hex(16), secrets.token_urlsafe(24)):
            assert (key, check_key(key, "0.0.0.0").text) == (key, "")
