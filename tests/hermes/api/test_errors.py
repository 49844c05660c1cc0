"""The one table from codes to statuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hermes
from hermes.api.errors import RULES, MethodNotAllowed, error_response, rule_of
from hermes.core import errors
from hermes.core.errors import Busy, HermesError, InvalidInput, Unauthorized

# What these raise is told on a terminal.
NO_HTTP = {"cli", "doctor", "expose", "gateway", "library"}

# Told to the model or to whoever starts the process, never by HTTP.
NOT_BY_HTTP = {
    "approval_blocked",
    "approval_denied",
    "approval_denied_by_policy",
    "gateway_running",
    "insufficient_quota",
    # of memory files: told to the model and the command line, and by Link under the same names
    "memory_changed",
    "memory_content_refused",
    "memory_content_required",
    "memory_entry_ambiguous",
    "memory_entry_not_found",
    "memory_limit_exceeded",
    "memory_match_required",
    "memory_off",
    "memory_unreadable",
    # of skills: the same
    "skill_ambiguous",
    "skill_builtin",
    "skill_content_refused",
    "skill_exists",
    "skill_file_not_found",
    "skill_no_home",
    "skill_not_found",
    # of `hermes db`: told on the command line
    "backup_has_findings",
    "database_in_use",
    "database_not_empty",
    "database_not_found",
    "file_exists",
    "transfer_failed",
    # of `hermes update`: the same
    "update_refused",
    # of starting with the machine, profiles' folders and updates: the same, and by Link under the same names
    "autostart_unsupported",
    "busy",
    "entry_of_another_home",
    "index_unreachable",
    "profile_busy",
    "profile_exists",
    "profile_not_found",
    "update_not_started",
    "update_running",
}


def classes(kind: type[HermesError] = HermesError) -> Iterator[type[HermesError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from classes(below)


@pytest.mark.parametrize(
    "kind", [kind for kind in classes() if kind.__module__ == errors.__name__], ids=lambda k: k.__name__
)
def test_every_error_of_the_tree_has_a_row(kind: type[HermesError]) -> None:
    assert kind.code in RULES


def test_every_code_in_the_source_has_a_row() -> None:
    source = Path(hermes.__file__).parent
    found = {
        code
        for path in source.rglob("*.py")
        if path.relative_to(source).parts[0] not in NO_HTTP
        for code in re.findall(r"""\bcode ?= ?"([a-z_]+)\"""", path.read_text("utf-8"))
    }
    assert "run_not_found" in found
    assert found - set(RULES) - NOT_BY_HTTP == set()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("InvalidInput", 400),
        ("TooLarge", 413),
        ("UnsupportedMedia", 415),
        ("Unauthorized", 401),
        ("Forbidden", 403),
        ("NotFound", 404),
        ("Conflict", 409),
        ("HostNotAllowed", 421),
        ("Busy", 429),
        ("Draining", 503),
        ("StoreUnavailable", 503),
        ("StoreCorrupt", 503),
        ("NoModel", 503),
        ("UpstreamError", 502),
        ("UpstreamAuth", 502),
        ("UpstreamRateLimited", 429),
        ("UpstreamRejected", 502),
        ("UpstreamUnreachable", 502),
        ("StreamCut", 502),
    ],
)
def test_the_tree_says_the_same_statuses(kind: str, status: int) -> None:
    assert error_response(getattr(errors, kind)("why")).status_code == status


def test_a_code_of_its_own_that_has_no_row_has_the_status_of_its_class() -> None:
    assert rule_of(InvalidInput("x", code="invalid_flavour")).status == 400
    assert rule_of(HermesError("x", code="unheard_of")).status == 500


def test_the_envelope_has_four_fields() -> None:
    answer = error_response(InvalidInput("n must be 1", code="unsupported_parameter", param="n"))
    assert json.loads(bytes(answer.body)) == {
        "error": {
            "message": "n must be 1",
            "type": "invalid_request_error",
            "param": "n",
            "code": "unsupported_parameter",
        }
    }


def test_headers_that_belong_to_a_status_come_with_it() -> None:
    assert error_response(Unauthorized("x")).headers["www-authenticate"] == "Bearer"
    assert error_response(MethodNotAllowed("GET", "POST")).headers["allow"] == "POST"
    assert error_response(Busy("x", retry_after_seconds=0.2)).headers["retry-after"] == "1"
    assert error_response(Busy("x", retry_after_seconds=2.1)).headers["retry-after"] == "3"
