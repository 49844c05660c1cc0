"""Reading a log that is being written and rotated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from hermes.core.errors import InvalidInput
from hermes.home import log_files
from hermes.home.log_files import LogFile, parse_since


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "gateway.log"


def append(file: Path, *lines: str) -> None:
    with file.open("a") as opened:
        opened.writelines(f"{line}\n" for line in lines)


def rotate(file: Path) -> None:
    for number in (2, 1):
        older = file.with_name(f"{file.name}.{number}")
        if older.exists():
            older.rename(file.with_name(f"{file.name}.{number + 1}"))
    file.rename(file.with_name(f"{file.name}.1"))


def doing(*steps: Callable[[], None]) -> Callable[[], None]:
    """What happens while the reader waits: one step each time."""
    left: Iterator[Callable[[], None]] = iter(steps)
    return lambda: next(left)()


def test_lines_come_newest_first_over_all_rotated_files(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 7)
    append(log, "one", "two, which is longer")
    rotate(log)
    append(log, "three")
    rotate(log)
    append(log, "four", "", "five")
    assert [*LogFile(log).newest_first()] == [b"five", b"four", b"three", b"two, which is longer", b"one"]


def test_half_a_line_is_none_yet(log: Path) -> None:
    log.write_text("whole\nhal")
    assert [*LogFile(log).newest_first()] == [b"whole"]


def test_following_goes_on_behind_what_was_read_and_misses_nothing_over_rotations(log: Path) -> None:
    append(log, "old")
    file = LogFile(log)
    assert next(file.newest_first()) == b"old"

    def rotate_twice() -> None:
        append(log, "2")
        rotate(log)
        append(log, "3")
        rotate(log)
        append(log, "4")

    lines = file.follow(
        doing(
            lambda: append(log, "1"),
            rotate_twice,
            lambda: rotate(log),
            lambda: append(log, "5"),
        )
    )
    assert [*islice(lines, 5)] == [b"1", b"2", b"3", b"4", b"5"]


def test_a_line_that_is_written_in_two_pieces_is_one_line(log: Path) -> None:
    append(log, "first")
    file = LogFile(log)
    assert [*file.newest_first()] == [b"first"]

    def write(text: str) -> Callable[[], None]:
        def piece() -> None:
            with log.open("a") as opened:
                opened.write(text)

        return piece

    assert [*islice(file.follow(doing(write("sec"), write("ond\n"))), 1)] == [b"second"]


def test_a_log_that_is_not_there_yet_is_waited_for(log: Path) -> None:
    file = LogFile(log)
    assert [*file.newest_first()] == []
    assert next(file.follow(doing(lambda: None, lambda: append(log, "begun")))) == b"begun"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 970.0), ("10m", 400.0), ("0.1h", 640.0), ("1970-01-01T00:10:00+00:00", 600.0), (" 1m ", 940.0)],
)
def test_since_is_a_span_or_a_time(text: str, seconds: float) -> None:
    assert parse_since(text, 1000.0) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "yesterday", "10", "-5m", "10 parsecs"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidInput, match="write 30s, 10m"):
        parse_since(text, 1000.0)
