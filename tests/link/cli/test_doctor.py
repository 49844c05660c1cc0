"""`hermeslink doctor`."""

import json
import re

import pytest

from hermes.home.paths import create_home, profile_home

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def found(hermeslink):
    done = hermeslink("doctor", "--json")
    told = json.loads(done.out)
    assert done.code == (0 if told["ok"] else 1)
    return {finding["name"]: finding for finding in told["findings"]}


def test_it_names_what_does_not_run_and_how_to_start_it(hermeslink):
    findings = found(hermeslink)
    assert findings["process"]["mend"] == "hermeslink start"
    assert findings["api_server"]["is_wrong"]
    assert findings["api_server"]["mend"] == "hermes gateway start"
    assert "no phone reaches it" in findings["network"]["text"]


def test_a_profile_without_a_listener_of_its_own_is_mended_by_the_default_ones(hermeslink):
    """A gateway of its own would run its jobs alone, and take it from the one that answers for it."""
    root = hermeslink.home.path.parent / "hermes"
    for name, env in (("alone", "API_SERVER_ENABLED=true\nAPI_SERVER_PORT=1\n"), ("guest", "")):
        home = profile_home(root, name)
        create_home(home)
        home.env_file.write_text(env)
        home.env_file.chmod(0o600)
    told = json.loads(hermeslink("doctor", "--json").out)
    found = [one for one in told["findings"] if one["name"] == "api_server"]
    mends = {re.findall(r"of profile (\w+) is offline", one["text"])[0]: one["mend"] for one in found}
    assert mends == {
        "default": "hermes gateway start",
        "alone": "hermes -p alone gateway start",
        "guest": "hermes gateway start",
    }


def test_what_others_can_read_is_wrong(hermeslink):
    hermeslink.home.path.chmod(0o755)
    assert "chmod 700" in found(hermeslink)["permissions"]["text"]


def test_files_of_another_program_are_named_and_left(hermeslink):
    (hermeslink.home.path / "credentials.json").write_text("{}")
    (hermeslink.home.path / "conversations").mkdir()
    finding = found(hermeslink)["foreign"]
    assert "credentials.json, conversations" in finding["text"]
    assert not finding["is_wrong"]
    assert (hermeslink.home.path / "credentials.json").read_text() == "{}"


def test_wrong_settings_an_identity_and_a_database_that_are_none_are_told(hermeslink):
    hermeslink.home.identity_file.write_text("{}")
    hermeslink.home.identity_file.chmod(0o600)
    hermeslink.home.database_file.write_bytes(b"no database" * 1000)
    hermeslink.home.database_file.chmod(0o600)
    findings = found(hermeslink)
    assert {"identity", "database"} <= set(findings)
    assert str(hermeslink.home.database_file) in findings["database"]["text"]
    hermeslink.home.config_file.write_text('{"colour": 1}')
    assert "colour" in found(hermeslink)["settings"]["text"]


def test_it_reads_well_on_a_terminal(hermeslink):
    done = hermeslink("doctor")
    assert "wrong: the API server of profile default is offline" in done.out
    assert "[api_server]\n  hermes gateway start\n" in done.out
    assert done.out.endswith("1 to mend.\n")
