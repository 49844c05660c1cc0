"""`hermeslink config`."""

import json

import pytest

from hermeslink.settings import NAMES

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def test_all_settings_are_shown_and_one_is_shown_bare(hermeslink):
    assert [line.split()[0] for line in hermeslink("config", "get").out.splitlines()] == list(NAMES)
    assert hermeslink("config", "get", "port").out == "0\n"
    assert json.loads(hermeslink("config", "get", "--json").out)["listen-host"] == "127.0.0.1"


def test_what_is_set_is_shown_and_counts(hermeslink):
    done = hermeslink("config", "set", "allowed-hosts", "a.example.org,b.example.org")
    assert (done.code, done.out) == (0, "allowed-hosts = a.example.org,b.example.org\n")
    assert hermeslink("config", "get", "allowed-hosts").out == "a.example.org,b.example.org\n"


@pytest.mark.parametrize(("key", "value"), [("colour", "red"), ("port", "many"), ("language", "de")])
def test_a_wrong_name_or_value_is_exit_2(hermeslink, key, value):
    done = hermeslink("config", "set", key, value)
    assert (done.code, done.out) == (2, "")
    assert key in done.err


def test_a_name_that_is_not_there_is_exit_2(hermeslink):
    assert hermeslink("config", "get", "colour").code == 2


def test_a_variable_that_beats_the_file_is_told(hermeslink):
    hermeslink.environ["HERMESLINK_LOG_LEVEL"] = "debug"
    done = hermeslink("config", "set", "log-level", "error")
    assert "HERMESLINK_LOG_LEVEL is set, and beats it." in done.err
