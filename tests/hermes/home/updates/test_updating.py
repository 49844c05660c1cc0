"""An update is told by a file and a lock, whoever began it and however it ended."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hermes.core.errors import Conflict, HermesError
from hermes.core.redact import Redactor
from hermes.home.locks import NodeLock
from hermes.home.updates.installation import UpdateRefused
from hermes.home.updates.updater import Journal
from hermes.home.updates.updating import (
    FINAL,
    MAX_LINES,
    UpdateFiles,
    UpdateState,
    UpdateStatus,
    keep_status,
    read_status,
    start_update,
)
from tests.support.waiting import eventually

RUNNING = UpdateStatus(number=7, state=UpdateState.RUNNING, stage="installing 9.0", job_id="upd_1")


@pytest.fixture
def files(tmp_path: Path) -> UpdateFiles:
    files = UpdateFiles.of(tmp_path)
    files.run_dir.mkdir()
    return files


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), **more}


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"state": "asleep", "lines": []}'])
def test_without_a_file_that_can_be_read_there_was_none(files: UpdateFiles, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        files.status.write_text(text)
    assert read_status(tmp_path) == UpdateStatus()


def test_one_that_runs_is_told_as_running_as_long_as_its_process_lives(files: UpdateFiles, tmp_path: Path) -> None:
    lock = NodeLock(files.lock)
    keep_status(files, RUNNING)
    assert read_status(tmp_path) == RUNNING

    lock.release()

    told = read_status(tmp_path)
    assert (told.number, told.state, told.job_id) == (8, UpdateState.FAILED, "upd_1")
    assert told.error is not None and "ended while it was installing 9.0" in told.error


def test_who_looks_at_one_that_was_killed_takes_no_lock_away_from_the_next(files: UpdateFiles, tmp_path: Path) -> None:
    keep_status(files, RUNNING)
    files.lock.touch(0o600)
    about_to_lock = files.lock.stat().st_ino

    assert read_status(tmp_path).state is UpdateState.FAILED

    assert files.lock.stat().st_ino == about_to_lock


def test_one_update_at_a_time(files: UpdateFiles, tmp_path: Path) -> None:
    lock = NodeLock(files.lock)
    with pytest.raises(Conflict) as raised:
        start_update(tmp_path, "9.0", environ(tmp_path), is_newest=True)
    assert raised.value.code == "update_running"
    lock.release()


@pytest.mark.parametrize("version", ["1.0; touch owned", "--pre", "../../x", "$(id)", ""])
def test_what_is_no_version_starts_no_process(tmp_path: Path, version: str) -> None:
    with pytest.raises(UpdateRefused):
        start_update(tmp_path, version, environ(tmp_path), is_newest=False)
    assert not list(tmp_path.iterdir())


def test_one_that_cannot_be_done_fails_and_changes_nothing(files: UpdateFiles, tmp_path: Path) -> None:
    keep_status(files, replace(RUNNING, state=UpdateState.SUCCEEDED))

    begun = start_update(tmp_path, "999.0", environ(tmp_path, PIP_INDEX_URL="http://127.0.0.1:9/"), is_newest=True)

    assert begun.number > RUNNING.number and begun.job_id != RUNNING.job_id
    eventually(lambda: read_status(tmp_path).state in FINAL, 60)
    told = read_status(tmp_path)
    assert (told.state, told.job_id, told.target_version) == (UpdateState.FAILED, begun.job_id, "999.0")
    assert told.error is not None and told.finished_at is not None and told.manual_command
    assert files.output.read_text() == ""


@pytest.mark.skipif(os.name == "nt", reason="a script in the place of systemd-run")
def test_in_a_unit_of_systemd_it_leaves_the_unit_or_is_not_begun(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "systemd-run"
    program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/called\necho 'Failed to connect to bus' >&2\nexit 1\n")
    program.chmod(0o700)
    inside = environ(tmp_path, INVOCATION_ID="1", PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(HermesError) as raised:
        start_update(tmp_path / "home", "9.0", inside, is_newest=True)

    assert raised.value.code == "update_not_started" and "Failed to connect to bus" in raised.value.message
    called = (tmp_path / "called").read_text()
    assert called.startswith(
        f"--user --scope --quiet --collect -- {sys.executable} -P -m hermes.home.updates.updater upd_"
    )


def test_the_journal_keeps_the_last_lines_and_no_secret(files: UpdateFiles) -> None:
    journal = Journal(files, RUNNING, Redactor(["hk_not-for-a-phone"]))
    for number in range(MAX_LINES + 10):
        journal.say(f"line {number}\n")
    journal.say("key hk_not-for-a-phone of https://me:password@index.example/simple \x1b[31m")
    journal.end(UpdateState.FAILED, "it said hk_not-for-a-phone")

    kept = json.loads(files.status.read_text())
    assert (len(kept["lines"]), kept["line_count"], kept["state"]) == (MAX_LINES, MAX_LINES + 12, "failed")
    assert kept["lines"][-2] == "key [redacted] of https://index.example/simple ?[31m"
    assert kept["error"] == kept["lines"][-1] == "it said [redacted]"
    assert files.status.stat().st_mode & 0o077 == 0
