"""`hermes cron` without a gateway: straight in the store. Through a gateway: tests/acceptance/test_jobs.py."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hermes.core.job import JobRun, Reason
from hermes.core.run import RunStatus, Usage
from hermes.home.paths import create_home
from hermes.store import jobs as job_store
from hermes.store import runs as run_store
from hermes.store.database import Connection, Database
from tests.support.cli import Hermes, hermes_in
from tests.support.database import new_url
from tests.support.store import keep_run


@pytest.fixture
def hermes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Hermes:
    made = hermes_in(tmp_path, capsys)
    create_home(made.home)
    made.environ["TZ"] = "Europe/Berlin"
    return made


def make(hermes: Hermes, *arguments: str) -> dict[str, Any]:
    done = hermes("cron", "create", *(arguments or ("every 1h", "Say it")), "--json")
    assert done.code == 0, done.err
    job: dict[str, Any] = json.loads(done.out)
    return job


def listed(hermes: Hermes, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(hermes("cron", "list", "--json", *options).out)
    return found


def test_without_jobs_the_list_says_how_to_make_one(hermes: Hermes) -> None:
    done = hermes("cron", "list")
    assert (done.code, done.err) == (0, "")
    assert done.out == "No jobs. Make one: hermes cron create 'daily at 9am' 'Sum up the news'\n"


def test_without_a_home_it_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = hermes_in(tmp_path, capsys)("cron", "list")
    assert done.code == 2
    assert "it is made with: hermes gateway" in done.err


def test_a_job_is_made_in_the_zone_of_the_machine_and_told_in_words(hermes: Hermes) -> None:
    done = hermes("cron", "create", "daily at 9am", "Sum up the news", "--name", "news")
    [job] = listed(hermes)
    local = datetime.fromisoformat(job["next_run_at"])
    first, second = done.out.splitlines()
    assert first.startswith(
        f"Made {job['id']} (news): daily at 9am (Europe/Berlin), next: {local:%a %Y-%m-%d} 09:00 (in "
    )
    assert second == "Jobs run while the gateway does, and it does not: hermes gateway start"


def test_every_option_of_create_arrives(hermes: Hermes) -> None:
    some = ["--name", "n", "--deliver", "local", "--skill", "a", "--skill", "b", "--repeat", "3", "--toolset", "file"]
    others = ["--workdir", "/srv", "--timezone", "Asia/Tokyo", "--catch-up", "all", "--paused"]
    job = make(hermes, "every 2h", "p", *some, *others)
    shown = {
        "name": "n",
        "prompt": "p",
        "deliver": "local",
        "skills": ["a", "b"],
        "repeat": {"times": 3, "completed": 0},
        "enabled_toolsets": ["file"],
        "workdir": "/srv",
        "timezone": "Asia/Tokyo",
        "catch_up": "all",
        "state": "paused",
    }
    assert {name: job[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("whenever", "p"), "Examples that work: 30m"),
        (("30m", ""), "a job needs a prompt"),
        (("30m", "p", "--timezone", "Mars/Olympus"), "there is no time zone 'Mars/Olympus'"),
        (("30m", "p", "--deliver", "pigeon"), "take local, webhook:"),
        (("30m", "p", "--deliver", "webhook:https://user:word@example.com/"), "carries a user name"),
        (("30m", "p", "--deliver", "session:nobodys"), "there is no session 'nobodys'"),
        (("30m", "p", "--model", "gpt-99"), "the model 'gpt-99' is not one"),
        (("30m", "p", "--toolset", "moon"), "there is no toolset 'moon'"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(hermes: Hermes, arguments: tuple[str, ...], words: str) -> None:
    done = hermes("cron", "create", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert listed(hermes, "--all") == []


def test_a_job_is_named_by_its_id_or_by_a_name_that_one_has(hermes: Hermes) -> None:
    job = make(hermes, "every 1h", "p", "--name", "News")
    assert hermes("cron", "pause", "news").out == f"Paused {job['id']} (News).\n"
    assert hermes("cron", "list").out.startswith("No jobs (1 paused or completed: --all)")
    other = make(hermes, "every 1h", "p", "--name", "news")
    done = hermes("cron", "resume", "news")
    assert done.code == 2
    assert f"2 jobs are called 'news'; name one by its id: {job['id']}, {other['id']}" in done.err
    assert hermes("cron", "resume", job["id"]).out.startswith(f"Resumed {job['id']} (News): every 1h")
    unknown = hermes("cron", "resume", "nothing")
    assert (unknown.code, unknown.err) == (1, "hermes: no job 'nothing'; list them with: hermes cron list --all\n")


def test_edit_changes_what_is_named_and_empties_what_is_empty(hermes: Hermes) -> None:
    job = make(hermes, "every 1h", "p", "--workdir", "/srv", "--repeat", "3")
    done = hermes("cron", "edit", job["id"], "--schedule", "every 2h", "--workdir", "", "--repeat", "0")
    assert done.out.startswith(f"Changed {job['id']} (p): every 2h")
    [after] = listed(hermes)
    changed = {name for name in job if job[name] != after[name]}
    assert changed - {"updated_at"} == {"schedule", "schedule_display", "workdir", "repeat", "next_run_at"}
    assert (after["workdir"], after["repeat"]["times"]) == (None, None)
    nothing = hermes("cron", "edit", job["id"])
    assert nothing.code == 2
    assert "nothing to change" in nothing.err


def test_a_removed_job_is_gone(hermes: Hermes) -> None:
    job = make(hermes)
    assert hermes("cron", "remove", job["id"]).out == f"Removed {job['id']} (Say it).\n"
    assert listed(hermes, "--all") == []


def test_running_one_needs_the_gateway(hermes: Hermes) -> None:
    job = make(hermes)
    done = hermes("cron", "run", job["id"])
    assert done.code == 1
    assert "start it with: hermes gateway start" in done.err


def keep_history(hermes: Hermes, job_id: str) -> None:
    entry = JobRun(id=0, job_id=job_id, due_at=1000.0, fired_at=1001.0, reason=Reason.RAN)

    def fill(conn: Connection) -> None:
        keep_run(conn, "run_1", "s")
        run_store.finish(
            conn, "run_1", RunStatus.COMPLETED, 9.0, "line one\n" * 30, "stop", Usage(), None, "run.completed", 3
        )
        job_store.add_run(conn, replace(entry, run_id="run_1"), 10)
        why = replace(entry, reason=Reason.FAILED, detail="no language model is connected", is_manual=True)
        job_store.add_run(conn, why, 10)

    database = Database.open_now(new_url(hermes.home.state_db))
    database.write_now(fill)
    database.close_now()


def test_the_history_is_a_table_and_whole_outputs_when_asked(hermes: Hermes) -> None:
    job = make(hermes)
    assert hermes("cron", "runs", job["id"]).out == f"{job['id']} (Say it) has not run yet.\n"
    keep_history(hermes, job["id"])
    head, failed, ran = hermes("cron", "runs", job["id"]).out.splitlines()
    assert head.split() == ["due", "what", "status", "delivery", "run", "output"]
    assert "failed, by hand" in failed
    assert failed.endswith("no language model is connected")
    assert "Thu 1970-01-01 01:16" in ran  # on the machine's clock
    assert "run_1" in ran
    assert ran.endswith("…")
    whole = hermes("cron", "runs", job["id"], "--output").out
    assert whole.count("line one\n") == 30
    assert hermes("cron", "runs", job["id"], "--output", "-n", "1").out.count("line one") == 0
    entries = json.loads(hermes("cron", "runs", job["id"], "--json").out)
    assert [entry["reason"] for entry in entries] == ["failed", "ran"]


def test_status_tells_what_comes_next_and_what_went_wrong(hermes: Hermes) -> None:
    assert "nothing" in hermes("cron", "status").out
    job = make(hermes)
    keep_history(hermes, job["id"])
    out = hermes("cron", "status").out
    assert "does not run: hermes gateway start" in out
    assert "1 active, 0 paused or completed" in out
    assert f"problem          {job['id']} (Say it): no language model is connected" in out
    facts = json.loads(hermes("cron", "status", "--json").out)
    assert (facts["gateway_pid"], facts["jobs"], facts["next"]["id"]) == (None, 1, job["id"])
