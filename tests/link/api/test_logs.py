"""GET /logs: what an admin reads of both logs."""

import json
import logging

import pytest

from hermes.home.env import set_env
from hermes.home.logs import configure_logging
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from hermeslink.system.logs import secrets_of
from tests.support.link import serving_link
from tests.support.own_logging import own_logging

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

KEY = "a-key-that-only-the-profile-knows"


@pytest.fixture
async def server(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / ".env").write_text(f"API_SERVER_KEY={KEY}\n")
    async with serving_link(tmp_path) as serving:
        yield serving


@pytest.fixture
def logging_of_link():
    with own_logging():
        yield


def write(file, *lines):
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def line(message, **fields):
    return json.dumps({"time": "2026-11-22T10:00:00.000Z", "level": "info", "message": message, **fields})


async def read(server, **query):
    answer = await server.admin.get("/api/v1/logs", params=query)
    assert answer.status_code == 200
    return answer.json()


async def test_the_last_lines_come_oldest_first(server):
    write(server.link.home.log_file, *[line(f"line {n}", status=n) for n in range(60)])
    told = await read(server, limit=2)
    assert told == {
        "ok": True,
        "source": "link",
        "logs": [
            {"time": "2026-11-22T10:00:00.000Z", "level": "info", "message": f"line {n}", "status": n} for n in (58, 59)
        ],
    }
    assert len((await read(server))["logs"]) == 50


async def test_the_gateways_log_is_its_own_and_secrets_in_it_are_hidden(server, tmp_path):
    write(tmp_path / "logs/gateway.log", line(f"called with {KEY}", exception="Traceback /home/anna/x.py"))
    told = await read(server, source="gateway")
    assert told["source"] == "gateway"
    assert told["logs"][0]["message"] == "called with [redacted]"
    assert "anna" not in json.dumps(told)


async def test_lines_of_another_form_are_messages(server, tmp_path):
    write(tmp_path / "logs/gateway.log", "plain text", '["a list"]', '{"time": 5, "message": {"a": 1}}', "x" * 20_000)
    told = (await read(server, source="gateway"))["logs"]
    assert [each["message"][:12] for each in told] == ["plain text", '["a list"]', "{'a': 1}", "x" * 12]
    assert told[2]["time"] == "5"
    assert len(told[3]["message"]) == 16 << 10


async def test_a_log_that_is_not_there_is_empty(server):
    assert (await read(server, source="gateway"))["logs"] == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"source": "../../etc/passwd"}])
async def test_a_wrong_question_is_422(server, query):
    answer = await server.admin.get("/api/v1/logs", params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")


async def test_a_chat_device_reads_no_log(server):
    answer = await server.chat.get("/api/v1/logs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_required")


async def test_the_entries_of_both_logs_are_those_lines(server, tmp_path):
    write(server.link.home.log_file, line("of Link", request_id="r1"))
    write(tmp_path / "logs/gateway.log", line("of the gateway"))
    own = (await server.admin.get("/api/v1/system/logs", params={"limit": 1})).json()
    entry = {"time": "2026-11-22T10:00:00.000Z", "level": "info", "message": "of Link", "request_id": "r1"}
    assert own == {"ok": True, "entries": [entry]}
    gateways = (await server.admin.get("/api/v1/system/logs/gateway")).json()
    assert [entry["message"] for entry in gateways["entries"]] == ["of the gateway"]


async def test_a_profile_may_have_a_gateway_of_its_own(server, tmp_path):
    write(tmp_path / "profiles/alice/logs/gateway.log", line("of Alice's gateway"))
    assert [one["message"] for one in (await read(server, source="gateway", profile="alice"))["logs"]] == [
        "of Alice's gateway"
    ]
    told = (await server.admin.get("/api/v1/system/logs/gateway", params={"profile": "alice"})).json()
    assert [one["message"] for one in told["entries"]] == ["of Alice's gateway"]
    answer = await server.admin.get("/api/v1/system/logs/gateway", params={"profile": "../.."})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "profile_not_found")


async def test_keys_of_every_profile_are_hidden_wherever_they_are_written(server, tmp_path):
    home = tmp_path / "profiles/alice"
    home.mkdir(parents=True)
    (home / ".env").write_text("MY_OWN_KEY=hers-in-env\n")
    (home / "config.yaml").write_text(
        "api_server: {key: hers-in-config}\nmodel: {default: m, provider: custom, base_url: http://h/v1, "
        "api_key: hers-of-the-model}\n"
    )
    write(server.link.home.log_file, line("hers-in-env hers-in-config hers-of-the-model"))
    [entry] = (await server.admin.get("/api/v1/system/logs")).json()["entries"]
    assert entry["message"] == "[redacted] [redacted] [redacted]"


async def test_short_keys_are_hidden_too_also_where_a_profiles_settings_cannot_be_read(server, tmp_path):
    home = tmp_path / "profiles/alice"
    home.mkdir(parents=True)
    (home / ".env").write_text("MY_OWN_KEY=tinykey\n")
    (home / "config.yaml").write_text("model: [\n")
    write(server.link.home.log_file, line("tinykey"))
    [entry] = (await server.admin.get("/api/v1/system/logs")).json()["entries"]
    assert entry["message"] == "[redacted]"


def test_what_the_environment_of_link_holds_is_secret_too(tmp_path):
    assert secrets_of(tmp_path, {"SEARCH_API_KEY": "a-search-key-of-ada", "LANG": "C.UTF-8"}) == {"a-search-key-of-ada"}


async def test_it_is_so_in_the_log_of_a_gateway_that_wrote_it_down(tmp_path):
    async with serving_link(tmp_path, environ={"SEARCH_API_KEY": "a-search-key-of-ada"}) as server:
        write(tmp_path / "logs" / "gateway.log", line("asked with a-search-key-of-ada"))
        [entry] = (await server.admin.get("/api/v1/system/logs/gateway")).json()["entries"]
    assert entry["message"] == "asked with [redacted]"


async def test_a_key_that_link_writes_is_hidden_in_what_it_logs_from_then_on(server, logging_of_link):
    file = server.link.home.log_file
    configure_logging(server.link.home, name=file.name)

    def write_key(home):
        set_env(home.env_file, "SEARCH_API_KEY", "a-search-key-of-ada")

    caller = Caller("dev_1", Scope.ADMIN)
    await server.link.files.change(caller, "default", "key.written", write_key)
    logging.getLogger("hermeslink").warning("asked with a-search-key-of-ada")
    assert "asked with [redacted]" in file.read_text()
