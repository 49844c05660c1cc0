"""GET /logs: what an admin reads of both logs."""

import json

import pytest

from tests.support.link import serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

KEY = "a-key-that-only-the-profile-knows"


@pytest.fixture
async def server(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / ".env").write_text(f"API_SERVER_KEY={KEY}\n")
    async with serving_link(tmp_path) as serving:
        yield serving


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
