"""`hermes logs`, on files as the gateway writes them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hermes.core.redact import Redactor
from hermes.home.logs import configure_logging, log_context
from hermes.home.paths import create_home
from tests.support.cli import Hermes
from tests.support.own_logging import own_logging


@pytest.fixture
def log(hermes: Hermes) -> Iterator[logging.Logger]:
    """The gateway's own logging, into this home."""
    create_home(hermes.home)
    with own_logging():
        configure_logging(hermes.home, "debug", redactor=Redactor(["sk-very-secret-key"]))
        logging.getLogger().handlers[0].setLevel(logging.CRITICAL)  # no noise on the screen
        yield logging.getLogger("hermes.api")


def shown(text: str) -> list[str]:
    """Without the times."""
    return [line[20:] if line[:4].isdigit() else line for line in text.splitlines()]


def test_the_last_lines_are_shown_in_order_with_their_fields(hermes: Hermes, log: logging.Logger) -> None:
    with log_context(request_id="req_1"):
        for number in range(5):
            log.info("line %d", number, extra={"run": number})
    done = hermes("logs", "-n", "2")
    assert shown(done.out) == [f"info hermes.api: line {n}  request_id=req_1  run={n}" for n in (3, 4)]
    assert len(hermes("logs").out.splitlines()) == 5
    assert hermes("logs", "-n", "0").out == ""


def test_a_level_leaves_out_what_is_below_it(hermes: Hermes, log: logging.Logger) -> None:
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert shown(hermes("logs", "--level", "warning").out) == ["warning hermes.api: c", "error hermes.api: d"]
    wrong = hermes("logs", "--level", "loud")
    assert (wrong.code, "there is no level 'loud': use debug, info" in wrong.err) == (2, True)


def test_since_leaves_out_what_is_older(hermes: Hermes, log: logging.Logger) -> None:
    log.info("new")
    file = hermes.home.logs_dir / "gateway.log"
    old = {"time": "2020-01-01T00:00:00.000Z", "level": "info", "logger": "x", "message": "old"}
    file.write_text(json.dumps(old) + "\n" + file.read_text())
    assert shown(hermes("logs", "--since", "10m").out) == ["info hermes.api: new"]
    assert len(hermes("logs", "--since", "2019-12-31").out.splitlines()) == 2
    assert hermes("logs", "--since", "soon").code == 2


def test_what_was_logged_moves_no_cursor_and_shows_no_secret(hermes: Hermes, log: logging.Logger) -> None:
    log.warning("\x1b[2Jkey sk-very-secret-key\nforged line")
    try:
        raise ValueError("sk-very-secret-key \x1b[31m")
    except ValueError:
        log.exception("it failed")
    out = hermes("logs").out
    assert "\x1b" not in out and "sk-very" not in out
    assert "\\x1b[2Jkey" in out and "\\nforged line" in out and "ValueError" in out


def test_requests_are_a_line_each(hermes: Hermes) -> None:
    def line(**fields: Any) -> str:
        told = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "method": "GET", "path": "/v1/models"}
        return json.dumps({**told, "status": 200, "ms": 1.5, "key": "owner", "request_id": "req_1"} | fields) + "\n"

    create_home(hermes.home)
    (hermes.home.logs_dir / "access.log").write_text(line() + line(status=503, key=None) + "cut of")
    assert shown(hermes("logs", "--access").out) == [
        "GET /v1/models 200 1.5ms owner req_1",
        "GET /v1/models 503 1.5ms - req_1",
    ]
    assert shown(hermes("logs", "--access", "--level", "error").out) == ["GET /v1/models 503 1.5ms - req_1"]
    assert json.loads(hermes("logs", "--access", "-n", "1", "--json").out)["status"] == 503


def test_a_line_that_is_no_json_is_shown_as_it_is(hermes: Hermes) -> None:
    create_home(hermes.home)
    (hermes.home.logs_dir / "gateway.log").write_text("a full disk cut th\n")
    assert "a full disk cut th" in hermes("logs").out


def test_without_a_log_it_says_where_it_would_be(hermes: Hermes) -> None:
    done = hermes("logs")
    assert (done.code, done.out) == (0, "")
    assert str(hermes.home.logs_dir / "gateway.log") in done.err
