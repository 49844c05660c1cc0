from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from hermes.api import access_log
from hermes.api.access_log import AccessFile, AccessLine
from hermes.core.redact import Redactor
from hermes.home.logs import record_fields
from tests.support.api import KEY, FakeRunner, Server, make_services, serving
from tests.support.quota import files_end_at

LINE = AccessLine("GET", "/v1/models", 200, 0.00123, "owner", "req_1")


async def test_a_line_has_the_path_and_neither_query_nor_key(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hermes.access"):
        await server.client.get("/v1/models?token=tell-tale")
        await server.client.get("/v1/x%0A%1b[31m?key=tell-tale", headers={"Authorization": "Bearer nope"})
    # pytest also gathers what httpx says here as the client, and uvicorn's own lines, which have no handler elsewhere.
    ours = [record for record in caplog.records if record.name.startswith("hermes")]
    first, second = [record.getMessage() for record in ours if record.name == "hermes.access"]
    assert first.startswith("GET /v1/models 200 ")
    assert first.endswith("ms owner")
    assert second.startswith("GET /v1/x%0A%1b[31m 401 ")
    assert second.endswith("ms -")
    said = "".join(f"{record.getMessage()} {vars(record)}" for record in ours)
    assert "tell-tale" not in said
    assert KEY not in said


class Fails(FakeRunner):
    async def start(self, request):
        logging.getLogger("hermes.runs").warning("about to fail")
        raise RuntimeError("fault")


async def test_everything_that_is_logged_for_a_request_carries_its_id() -> None:
    seen: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("hermes"):
                seen.append((record.name, str(record_fields(record).get("request_id"))))

    handler = Handler(logging.INFO)
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with serving(make_services(Fails())) as server:
            await server.chat(headers={"X-Request-Id": "id-1"})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert seen == [("hermes.runs", "id-1"), ("hermes.api.app", "id-1"), ("hermes.access", "id-1")]


async def test_a_file_gathers_lines_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = AccessFile(path)
    async with serving(make_services(access=sink)) as server:
        await server.client.get("/health", headers={"X-Request-Id": "id-1"})
        await server.client.get("/v1/models?x=y", headers={"X-Request-Id": "id-2"})
        assert not path.exists()
        sink.flush()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    sink.close()
    assert [(line["path"], line["status"], line["key"], line["request_id"]) for line in lines] == [
        ("/health", 200, None, "id-1"),
        ("/v1/models", 200, "owner", "id-2"),
    ]
    assert set(lines[0]) == {"time", "method", "path", "status", "ms", "key", "request_id"}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_it_writes_by_itself_after_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "FLUSH_SECONDS", 0.001)
    sink = AccessFile(tmp_path / "access.log")
    sink(LINE)
    async with asyncio.timeout(10):
        while not (tmp_path / "access.log").exists():
            await asyncio.sleep(0.001)
    sink.close()


async def test_a_key_that_was_pasted_into_an_address_is_hidden(tmp_path: Path) -> None:
    sink = AccessFile(tmp_path / "access.log", Redactor([KEY]))
    async with serving(make_services(access=sink)) as server:
        await server.client.get(f"/v1/{KEY}")
        await server.client.get(f"/v1/models/{KEY}")
    sink.close()
    assert KEY not in (tmp_path / "access.log").read_text()


async def test_a_large_file_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_BYTES", 10)
    sink = AccessFile(tmp_path / "access.log")
    for _ in range(3):
        sink(LINE)
        sink.flush()
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "access.log.1"]
    assert len((tmp_path / "access.log").read_text().splitlines()) == 1


async def test_a_disk_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = AccessFile(tmp_path / "missing" / "access.log")
    async with serving(make_services(access=sink)) as server:
        for _ in range(3):
            assert (await server.client.get("/health")).status_code == 200
            sink.flush()
    sink.close()
    assert caplog.text.count("requests are not logged") == 1


async def test_a_line_that_a_full_disk_cut_off_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for _ in range(2):  # the second one finds what the first one left
        sink = AccessFile(path)
        for is_full in (False, True, False, True):
            with files_end_at(path.stat().st_size + 200 if is_full else None):
                sink(LINE)
                sink(LINE)
                sink.flush()
        sink.close()
    whole = [_is_whole(line) for line in path.read_text().splitlines()]
    assert whole == [True, True, True, False, True, True, True, False] * 2


def _is_whole(line: str) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False
