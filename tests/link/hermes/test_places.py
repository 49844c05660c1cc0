"""Where a profile's API server is looked for, by what is written in its home and in the default one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes.home.locks import GatewayProcess, lock_gateway
from hermes.home.paths import Home
from hermeslink.hermes.places import Place, places_of, stamp_of

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def write(home: Home, text: str) -> None:
    home.path.mkdir(parents=True, exist_ok=True)
    home.env_file.write_text(text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def alice(tmp_path: Path) -> Home:
    return Home(tmp_path / "profiles" / "alice", "alice")


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ("API_SERVER_KEY=k\n", Place("http://127.0.0.1:8642", "k")),
        ("API_SERVER_KEY='k' # mine\nAPI_SERVER_PORT=9000\n", Place("http://127.0.0.1:9000", "k")),
        ("API_SERVER_KEY=k\nAPI_SERVER_HOST=0.0.0.0\n", Place("http://127.0.0.1:8642", "k")),
        ("API_SERVER_KEY=k\nAPI_SERVER_HOST=::\n", Place("http://[::1]:8642", "k")),
        ("API_SERVER_KEY=k\nAPI_SERVER_HOST=192.168.1.4\n", Place("http://192.168.1.4:8642", "k")),
        ("API_SERVER_KEY=\n", Place("http://127.0.0.1:8642", None)),
    ],
)
def test_the_env_file_says_port_and_key(home: Home, env: str, place: Place) -> None:
    write(home, env)
    assert places_of(home, {}) == [place]


def test_the_environment_speaks_for_the_default_profile_alone(home: Home, alice: Home) -> None:
    environ = {"API_SERVER_KEY": "outer", "API_SERVER_PORT": "9100"}
    write(home, "API_SERVER_KEY=k\n")
    write(alice, "API_SERVER_KEY=hers\n")

    assert places_of(home, environ) == [Place("http://127.0.0.1:9100", "outer")]
    assert {place.key for place in places_of(alice, environ)} == {"hers"}


def test_a_profile_with_a_port_of_its_own_is_asked_there_first(home: Home, alice: Home) -> None:
    write(home, "API_SERVER_KEY=k\nAPI_SERVER_PORT=9000\n")
    write(alice, "API_SERVER_KEY=hers\nAPI_SERVER_PORT=9001\n")

    assert places_of(alice, {}) == [
        Place("http://127.0.0.1:9001", "hers"),
        Place("http://127.0.0.1:9000/p/alice", "hers", is_shared=True),
    ]


def test_a_profile_without_one_is_asked_under_the_default_listener_first(home: Home, alice: Home) -> None:
    write(home, "API_SERVER_KEY=k\nAPI_SERVER_PORT=9000\n")
    write(alice, "API_SERVER_KEY=hers\n")

    assert places_of(alice, {}) == [
        Place("http://127.0.0.1:9000/p/alice", "hers", is_shared=True),
        Place("http://127.0.0.1:8642", "hers"),
    ]


def test_the_default_agent_never_answers_for_a_profile_that_has_the_same_port_and_key(home: Home, alice: Home) -> None:
    write(home, "API_SERVER_KEY=k\nAPI_SERVER_PORT=9000\n")
    write(alice, "API_SERVER_KEY=k\nAPI_SERVER_PORT=9000\n")

    assert places_of(alice, {}) == [Place("http://127.0.0.1:9000/p/alice", "k", is_shared=True)]
    write(alice, "API_SERVER_KEY=hers\nAPI_SERVER_PORT=9000\n")
    assert places_of(alice, {}) == [
        Place("http://127.0.0.1:9000/p/alice", "hers", is_shared=True),
        Place("http://127.0.0.1:9000", "hers"),
    ]


def test_a_gateway_on_a_free_port_is_found_by_what_it_says_of_itself(home: Home) -> None:
    write(home, "API_SERVER_KEY=k\nAPI_SERVER_PORT=0\n")
    home.run_dir.mkdir()
    lock = lock_gateway(home.pid_file, now=1.0)
    try:
        lock.announce(GatewayProcess(os.getpid(), 1.0, "http://0.0.0.0:45678", is_ready=True))
        assert places_of(home, {}) == [Place("http://127.0.0.1:45678", "k")]
        write(home, "API_SERVER_KEY=k\n")
        assert places_of(home, {}) == [Place("http://127.0.0.1:8642", "k"), Place("http://127.0.0.1:45678", "k")]
    finally:
        lock.release()


def test_what_is_wrong_in_a_home_is_left_out(home: Home) -> None:
    write(home, "API_SERVER_KEY=k\nAPI_SERVER_PORT=many\n")
    home.config_file.write_text("approvals: [\n")
    assert places_of(home, {}) == [Place("http://127.0.0.1:8642", "k")]


def test_a_stamp_changes_with_either_home(home: Home, alice: Home) -> None:
    write(home, "API_SERVER_KEY=k\n")
    write(alice, "API_SERVER_KEY=hers\n")
    first = stamp_of(alice)
    assert stamp_of(alice) == first

    write(home, "API_SERVER_KEY=another\n")
    second = stamp_of(alice)
    write(alice, "API_SERVER_KEY=another\n")
    assert len({first, second, stamp_of(alice)}) == 3
