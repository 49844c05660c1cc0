"""`hermeslink logs`."""

import json
import sys

import pytest

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def line(number, **fields):
    told = {"time": f"2026-11-22T10:00:{number:02d}.000Z", "level": "info", "logger": "hermeslink", **fields}
    return json.dumps(told)


def test_the_last_lines_are_shown_in_their_order_and_cannot_move_the_cursor(hermeslink):
    lines = [line(n, message=f"line {n}", code=n) for n in range(5)] + [line(5, message="red \x1b[31m")]
    hermeslink.home.log_file.write_text("\n".join([*lines, ""]))
    done = hermeslink("logs", "-n", "2")
    assert done.out == (
        "2026-11-22T10:00:04.000Z info hermeslink: line 4  code=4\n"
        "2026-11-22T10:00:05.000Z info hermeslink: red \\x1b[31m\n"
    )


def test_without_a_log_it_says_so(hermeslink):
    assert "nothing was logged yet" in hermeslink("logs").err


def test_the_gateways_log_is_shown_by_its_own_program(hermeslink, tmp_path):
    program = tmp_path / "hermes"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.exit(7 if sys.argv[1:] == ["-p", "alice", '
        '"logs", "-n", "3", "--json"] else 1)\' "$@"\n'
    )
    program.chmod(0o755)
    hermeslink.environ["HERMES_BIN"] = str(program)
    assert hermeslink("logs", "--gateway", "-p", "alice", "-n", "3", "--json").code == 7
    assert hermeslink("logs", "--gateway", "-n", "3", "--json").code == 1


def test_a_program_that_is_not_there_is_named(hermeslink):
    hermeslink.environ["HERMES_BIN"] = "/nowhere/hermes"
    done = hermeslink("logs", "--gateway")
    assert done.code == 1
    assert "/nowhere/hermes cannot be started" in done.err


def test_a_profile_without_the_gateway_is_a_mistake(hermeslink):
    done = hermeslink("logs", "-p", "alice")
    assert done.code == 2
    assert "add --gateway" in done.err
