"""`hermeslink pair` and `hermeslink devices`, in front of a real process."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def call(url, token, body=None, method=None):
    request = urllib.request.Request(
        url,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def token_in(out):
    """As the published script takes it: the last word of the line."""
    [line] = [line for line in out.splitlines() if "Connect token:" in line]
    return line.split()[-1]


def paired(hermeslink, *options, label="phone"):
    """(the URL of the API, the access token, the device) of a new device."""
    token = token_in(hermeslink("pair", *options).out)
    api = json.loads(hermeslink("status", "--json").out)["url"] + "/api/v1"
    status, told = call(
        f"{api}/auth/device-session", token, {"device_label": label, "device_platform": "cli"}, method="POST"
    )
    assert status == 200
    return api, told["access_token"]["token"], told["device"]


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_it_starts_link_and_its_token_lets_one_device_in(hermeslink, language):
    hermeslink.environ["HERMESLINK_LANG"] = language
    done = hermeslink("pair")
    assert done.code == 0
    url = json.loads(hermeslink("status", "--json").out)["url"]
    assert f"Pairing page: {url}/pair\n" in done.out
    assert "█" in done.out
    body = {"device_label": "phone", "device_platform": "ios"}
    assert call(f"{url}/api/v1/auth/device-session", token_in(done.out), body)[0] == 200
    status, told = call(f"{url}/api/v1/auth/device-session", token_in(done.out), body)
    assert (status, told["error"]["code"]) == (409, "pairing_already_claimed")


def test_the_json_is_what_a_phone_reads_and_more(hermeslink):
    told = json.loads(hermeslink("pair", "--json", "--scope", "chat").out)
    assert told["session_id"].startswith("ps_")
    assert told["link_id"].startswith("link_")
    assert told["scope"] == "chat"
    assert told["preferred_urls"][-1].startswith("http://127.0.0.1:")
    assert told["pairing_page"] == told["preferred_urls"][-1] + "/pair"
    assert 290 <= told["seconds"] <= 300


def test_a_scope_that_is_none_is_exit_2_and_starts_nothing(hermeslink):
    done = hermeslink("pair", "--scope", "owner")
    assert done.code == 2
    assert "admin, chat" in done.err
    assert hermeslink("status").code == 1


def test_a_chat_code_makes_a_device_that_may_chat(hermeslink):
    api, token, device = paired(hermeslink, "--scope", "chat")
    assert device["scope"] == "chat"
    assert call(f"{api}/audit", token)[0] == 403


def test_who_listens_only_to_this_machine_is_told(hermeslink):
    assert "listens to this machine alone" in hermeslink("pair").err


def test_devices_are_listed_renamed_and_revoked_and_the_service_notices(hermeslink):
    assert "No device is let in" in hermeslink("devices", "list").out
    api, token, device = paired(hermeslink, label="Anna's phone")
    listed = hermeslink("devices", "list").out
    assert device["id"] in listed
    assert "Anna's phone" in listed
    assert hermeslink("devices", "rename", "Anna's phone", "Old phone").code == 0
    assert call(f"{api}/auth/me", token)[1]["device"]["label"] == "Old phone"
    assert hermeslink("devices", "revoke", device["id"]).code == 0
    assert call(f"{api}/auth/me", token)[1]["error"]["code"] == "device_access_token_invalid"
    assert "No device is let in" in hermeslink("devices", "list").out
    [row] = json.loads(hermeslink("devices", "list", "--all", "--json").out)
    assert (row["id"], row["status"], row["revoked_at"][-1]) == (device["id"], "revoked", "Z")
    assert json.loads(hermeslink("status", "--json").out)["devices"] == {
        "total": 1,
        "active": 0,
        "revoked": 1,
        "trusted": 0,
    }


def test_a_device_that_is_not_there_or_not_one_alone_is_told(hermeslink):
    done = hermeslink("devices", "revoke", "nobody")
    assert done.code == 1
    assert "hermeslink devices list" in done.err
    for _ in range(2):
        paired(hermeslink, label="twin")
    assert "give the id" in hermeslink("devices", "revoke", "twin").err
    assert hermeslink("devices", "rename", "twin", "x").code == 1


def test_the_published_line_of_shell_finds_the_token(hermeslink, tmp_path):
    """Both outputs in one pipe, as it is printed in documents."""
    program = tmp_path / "bin" / "hermeslink"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hermeslink "$@"\n')
    program.chmod(0o755)
    environ = hermeslink.full_environ
    environ["PATH"] = f"{program.parent}:{environ['PATH']}"
    line = """CONNECT=$(hermeslink pair 2>&1 | grep "Connect token:" | awk '{print $NF}'); printf %s "$CONNECT" """
    done = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, timeout=60, check=True)
    url = json.loads(hermeslink("status", "--json").out)["url"]
    body = {"device_label": "script", "device_platform": "cli"}
    assert call(f"{url}/api/v1/auth/device-session", done.stdout, body)[0] == 200


def test_the_token_is_in_no_log(hermeslink):
    done = hermeslink("pair")
    files = [path for path in hermeslink.home.path.rglob("*") if path.is_file()]
    assert [path for path in files if token_in(done.out).encode() in path.read_bytes()] == []
