"""What a job may be, what a change makes of one, and when it has no future."""

from __future__ import annotations

from typing import Any

import pytest

from hermes.core.errors import Conflict, InvalidInput
from hermes.core.job import CatchUp, Job, JobState
from hermes.home.settings import Settings
from hermes.jobs.definition import Rules, advanced, changed, new_job, paused, resumed, rules_of

NOW = 1_795_521_600.0  # 2026-11-24T12:00:00Z
HOUR = 3600.0
RULES = Rules("Europe/Berlin", ("file", "terminal"), lambda name: name == "clever")


def a_job(**fields: Any) -> Job:
    return new_job({"schedule": "every 1h", "prompt": "Say it", **fields}, "owner", NOW, RULES)


def test_a_new_job_is_due_in_its_zone_and_named_after_its_prompt() -> None:
    job = new_job({"schedule": "daily at 9am", "prompt": "Read\nthe   news"}, "owner", NOW, RULES)
    assert (job.name, job.timezone, job.next_due) == ("Read the news", "Europe/Berlin", NOW + 20 * HOUR)
    assert new_job({"schedule": "daily at 9am", "prompt": "p", "timezone": "UTC"}, "o", NOW, RULES).next_due == (
        NOW + 21 * HOUR
    )
    assert (job.state, job.anchor, job.catch_up, job.deliver) == (JobState.SCHEDULED, NOW, CatchUp.ONE, "local")
    assert len(job.id) == 12


def test_a_job_may_begin_paused() -> None:
    job = a_job(enabled=False)
    assert (job.state, job.next_due, job.paused_at) == (JobState.PAUSED, None, NOW)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"schedule": None}, "schedule", "a job needs a schedule"),
        ({"schedule": "  "}, "schedule", "it is empty"),
        ({"schedule": "2020-01-01"}, "schedule", "that time has passed"),
        ({"prompt": None}, "prompt", "a job needs a prompt"),
        ({"prompt": " \n"}, "prompt", "a job needs a prompt"),
        ({"prompt": "x" * 100_001}, "prompt", "more than 100000 characters"),
        ({"name": "x" * 201}, "name", "at most 200"),
        ({"name": "a\x07b"}, "name", "one line"),
        ({"timezone": "Mars/Olympus"}, "timezone", "there is no time zone 'Mars/Olympus'"),
        ({"repeat": 0}, "repeat", "1 to 1000000"),
        ({"schedule": "30m", "repeat": 2}, "repeat", "'30m' comes once"),
        ({"model": "other"}, "model", "the model 'other' is not one that a job can ask for"),
        ({"enabled_toolsets": ["web"]}, "enabled_toolsets", "there is no toolset 'web' that is enabled here"),
        ({"skills": ["../x"]}, "skills", "cannot be the name of a skill"),
        ({"skills": ["x"] * 51}, "skills", "more than 50"),
        ({"workdir": "relative/path"}, "workdir", "absolute path"),
        ({"workdir": "/a\x00b"}, "workdir", "absolute path"),
        ({"catch_up": "some"}, "catch_up", "one, all, none"),
    ],
)
def test_what_is_wrong_is_refused_by_name(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        a_job(**fields)
    assert refused.value.param == param


def test_a_change_of_anything_but_the_schedule_leaves_the_next_time_alone() -> None:
    job = a_job()
    after = changed(job, {"prompt": "Other", "name": None, "model": "clever"}, NOW + 10, RULES)
    assert (after.prompt, after.model, after.next_due, after.anchor) == ("Other", "clever", job.next_due, NOW)


def test_each_change_has_a_time_of_its_own_even_when_the_clock_goes_back() -> None:
    job = a_job()
    assert job.updated_at < changed(job, {"prompt": "Other"}, NOW - 100, RULES).updated_at < NOW + 1


def test_a_new_schedule_is_counted_from_now_and_wakes_a_completed_job() -> None:
    done = advanced(a_job(schedule="30m"), NOW + 1800, None, has_fired=True)
    assert done.state is JobState.COMPLETED
    after = changed(done, {"schedule": "every 2h"}, NOW + HOUR, RULES)
    assert (after.state, after.next_due, after.fired, after.anchor) == (
        JobState.SCHEDULED,
        NOW + 3 * HOUR,
        0,
        NOW + HOUR,
    )


def test_the_same_schedule_is_no_new_one() -> None:
    done = advanced(a_job(schedule="30m"), NOW + 1800, None, has_fired=True)
    after = changed(done, {"name": "renamed", "schedule": "30m", "enabled": False}, NOW + HOUR, RULES)
    assert (after.name, after.state, after.next_due, after.anchor) == ("renamed", JobState.COMPLETED, None, NOW)


def test_a_new_schedule_does_not_wake_a_paused_job() -> None:
    after = changed(paused(a_job(), NOW), {"schedule": "every 2h"}, NOW + HOUR, RULES)
    assert (after.state, after.next_due) == (JobState.PAUSED, None)
    assert resumed(after, NOW + 2 * HOUR).next_due == NOW + 3 * HOUR


def test_another_zone_moves_the_times_of_a_clock() -> None:
    job = a_job(schedule="daily at 9am")
    after = changed(job, {"timezone": "UTC"}, NOW, RULES)
    assert job.next_due is not None
    assert after.next_due == job.next_due + HOUR
    assert changed(after, {"timezone": None}, NOW, RULES).timezone == "Europe/Berlin"


def test_repeat_can_end_a_job_and_wake_it() -> None:
    job = advanced(a_job(), NOW + HOUR, NOW + 2 * HOUR, has_fired=True)
    ended = changed(job, {"repeat": 1}, NOW + HOUR, RULES)
    assert (ended.state, ended.next_due) == (JobState.COMPLETED, None)
    woken = changed(ended, {"repeat": None}, NOW + HOUR, RULES)
    assert (woken.state, woken.next_due) == (JobState.SCHEDULED, NOW + 2 * HOUR)


def test_enabled_pauses_and_resumes() -> None:
    off = changed(a_job(), {"enabled": False}, NOW, RULES)
    assert off.state is JobState.PAUSED
    assert changed(off, {"enabled": True}, NOW, RULES).state is JobState.SCHEDULED


def test_what_was_due_while_it_was_paused_does_not_come() -> None:
    assert resumed(paused(a_job(), NOW), NOW + 5.5 * HOUR).next_due == NOW + 6 * HOUR


def test_pausing_and_resuming_twice_changes_nothing() -> None:
    job = a_job()
    off = paused(job, NOW)
    assert paused(off, NOW + 5) is off
    assert resumed(job, NOW + 5) is job


def test_a_completed_job_can_neither_be_paused_nor_resumed() -> None:
    done = advanced(a_job(schedule="30m"), NOW + 1800, None, has_fired=True)
    for change in (paused, resumed):
        with pytest.raises(Conflict) as refused:
            change(done, NOW + HOUR)
        assert refused.value.code == "job_completed"


def test_a_one_shot_whose_time_passed_while_it_was_paused_asks_for_another_schedule() -> None:
    with pytest.raises(Conflict, match="was paused when its time came") as refused:
        resumed(paused(a_job(schedule="30m"), NOW), NOW + HOUR)
    assert refused.value.code == "job_completed"


def test_a_change_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="there is nothing to change"):
        changed(a_job(), {}, NOW, RULES)


def test_the_rules_are_what_the_settings_allow() -> None:
    rules = rules_of(Settings.model_validate({"jobs": {"timezone": "Asia/Tokyo"}, "toolsets": ["file"]}), ("mine",))
    assert (rules.timezone, rules.toolsets) == ("Asia/Tokyo", ("file",))
    assert rules.takes_model("mine")
    assert not rules.takes_model("gpt-99")
    assert rules_of(Settings.model_validate({"direct_model_requests": True})).takes_model("gpt-99")
    aliased = Settings.model_validate({"model_routes": {"fast": {"default": "small"}}})
    assert rules_of(aliased).takes_model("fast")
