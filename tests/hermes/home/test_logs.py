"""Log records: JSON in the file, lines on stderr, secrets in neither."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hermes.core.redact import Redactor
from hermes.home.logs import JsonFormatter, PrivateRotatingFile, configure_logging, log_context
from hermes.home.paths import Home
from tests.support.own_logging import own_logging
from tests.support.quota import files_end_at


@pytest.fixture
def home(tmp_path: Path):
    with own_logging():
        yield Home(tmp_path)


def lines(home: Home) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home.logs_dir / "gateway.log").read_text().splitlines()]


def test_a_record_is_one_json_line_with_its_fields(home: Home) -> None:
    configure_logging(home)
    with log_context(request_id="r1"), log_context(run_id="run_1"):
        logging.getLogger("hermes.x").info("took %d ms\nand more", 3, extra={"status": 200})
    (line,) = lines(home)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "hermes.x",
        "message": "took 3 ms\nand more",
        "request_id": "r1",
        "run_id": "run_1",
        "status": 200,
    }


def test_a_traceback_is_kept(home: Home) -> None:
    configure_logging(home)
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("hermes").exception("failed")
    (line,) = lines(home)
    assert "ValueError: inside" in line["exception"]


def test_secrets_reach_neither_the_file_nor_the_screen(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(home, redactor=Redactor(["canary-value-1"]))
    log = logging.getLogger("hermes")
    shape = "sk-proj-" + "a1B2" * 8
    log.warning(
        "key canary-value-1 and %s", shape, extra={"nested": {"header": "Bearer canary-value-1"}, "api_key": "x9"}
    )
    try:
        raise RuntimeError("canary-value-1")
    except RuntimeError:
        log.exception("failed")
    shown = (home.logs_dir / "gateway.log").read_text() + capsys.readouterr().err
    assert "canary" not in shown
    assert shape not in shown
    assert '"api_key": "[redacted]"' in shown


def test_the_screen_shows_warnings_in_one_line_each(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(home)
    logging.getLogger("hermes").info("quiet")
    logging.getLogger("hermes").warning("loud\n12:00:00 error forged: \x1b[31mline")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("warning hermes: loud\\n12:00:00 error forged: \\x1b[31mline")
    assert [entry["message"].split("\n")[0] for entry in lines(home)] == ["quiet", "loud"]


def test_debug_shows_everything_on_the_screen(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(home, "debug")
    logging.getLogger("hermes").debug("small")
    assert "debug hermes: small" in capsys.readouterr().err


def test_without_a_home_nothing_is_written(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(None)
    logging.getLogger("hermes").warning("said")
    assert "said" in capsys.readouterr().err
    assert list(home.path.iterdir()) == []


async def test_what_is_bound_holds_in_tasks_started_inside_and_not_outside(home: Home) -> None:
    configure_logging(home)

    async def work() -> None:
        logging.getLogger("hermes").info("inside")

    with log_context(run_id="run_1"):
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
    logging.getLogger("hermes").info("outside")
    assert [line.get("run_id") for line in lines(home)] == ["run_1", None]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_log_files_are_private_and_turn_over(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        handler = PrivateRotatingFile(tmp_path / "x.log", max_bytes=200, backups=2)
        for number in range(20):
            handler.handle(logging.makeLogRecord({"msg": f"line {number} " + "x" * 40}))
        handler.close()
    finally:
        os.umask(before)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["x.log", "x.log.1", "x.log.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = PrivateRotatingFile(tmp_path / "nowhere" / "x.log")
    for _ in range(3):
        handler.handle(logging.makeLogRecord({"msg": "lost"}))
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_line_that_a_full_disk_cut_off_does_not_swallow_the_next_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.log"
    handler = PrivateRotatingFile(path)
    handler.setFormatter(JsonFormatter(Redactor()))
    for number in range(4):
        with files_end_at(path.stat().st_size + 30 if number in (1, 2) else None):
            handler.handle(logging.makeLogRecord({"msg": f"line {number} " + "x" * 100}))
    handler.close()
    first, *torn, last = path.read_text().splitlines()
    assert [json.loads(line)["message"][:6] for line in (first, last)] == ["line 0", "line 3"]
    assert [len(line) for line in torn] == [30, 29]  # the second one ends the first
    told = capsys.readouterr().err.splitlines()
    assert [line.startswith("the log cannot be written: ") for line in told] == [True, False]
    assert told[1] == f"{path} is written again"


def test_a_log_goes_on_behind_a_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("whole\nto")
    handler = PrivateRotatingFile(tmp_path / "x.log")
    handler.handle(logging.makeLogRecord({"msg": "next"}))
    handler.close()
    assert (tmp_path / "x.log").read_text() == "whole\nto\nnext\n"


def test_trouble_that_lasts_does_not_fill_the_log(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(home)
    for number in range(200):
        logging.getLogger("hermes.jobs").error("due jobs cannot be started: no room left")
        logging.getLogger("hermes.runs").warning("events of run_%d could not be kept", number)
        logging.getLogger("hermes.api").info("all the same")
    assert Counter(line["logger"] for line in lines(home)) == {"hermes.jobs": 1, "hermes.runs": 30, "hermes.api": 200}
    assert len(capsys.readouterr().err.splitlines()) == 31


def test_everything_is_told_where_somebody_looks_for_faults(home: Home) -> None:
    configure_logging(home, "debug")
    for _ in range(50):
        logging.getLogger("hermes.jobs").error("the same")
    assert len(lines(home)) == 50
