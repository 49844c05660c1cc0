"""A power cut may take the last text, and nothing that was acknowledged (docs/reliability.md)."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.torture.disk import Journal, can_record
from tests.torture.power_cut import copied_work, kept_of, problems, put, recorded_work

CLIENTS = 6
KINDS = {"turn", "steer", "choice", "stop", "job", "upload", "session", "title", "fork", "deletion"}

pytestmark = pytest.mark.sqlite("what SQLite does to the disk; of PostgreSQL's own files its makers know")

needs_a_record = pytest.mark.skipif(
    not can_record(), reason="Python's SQLite is built into it: what it does to the disk cannot be seen"
)


COMMITS = """
import pathlib, sqlite3, sys, time
from tests.torture.disk import record
record(pathlib.Path(sys.argv[1], "journal"))
conn = sqlite3.connect(pathlib.Path(sys.argv[1], "state.db"), isolation_level=None)
for statement in ("PRAGMA journal_mode=WAL", f"PRAGMA synchronous={sys.argv[2]}", "CREATE TABLE said (number)"):
    conn.execute(statement)
for number in range(20):
    conn.execute("INSERT INTO said VALUES (?)", (number,))
    print(time.time())
"""


@needs_a_record
@pytest.mark.parametrize(("synchronous", "lost"), [("FULL", 0), ("NORMAL", 20)])
def test_the_model_of_a_power_cut_takes_what_was_not_synced_and_nothing_else(
    tmp_path: Path, synchronous: str, lost: int
) -> None:
    command = [sys.executable, "-c", COMMITS, str(tmp_path), synchronous]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    journal = Journal(tmp_path / "journal")
    missing = 0
    cuts = journal.cuts([journal.before(float(at)) for at in done.stdout.split()], None)
    for number, (_, files) in enumerate(cuts):
        with closing(sqlite3.connect(put(files, tmp_path / "cut") / "state.db")) as conn:
            is_there = conn.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
            missing += not is_there or conn.execute("SELECT max(number) FROM said").fetchone() != (number,)
    assert missing == lost


@pytest.mark.slow
def test_a_copy_at_any_moment_is_whole_and_has_what_was_acknowledged(tmp_path: Path) -> None:
    with copied_work(tmp_path, seconds=5, clients=CLIENTS, seed=1, copies=8) as worked:
        assert len(worked.copies) == 8
        for at, directory in worked.copies:
            assert problems(worked, at, directory) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_a_record
def test_what_is_acknowledged_is_on_the_disk_and_a_power_cut_leaves_it_whole(tmp_path: Path) -> None:
    dice = random.Random(1)
    with recorded_work(tmp_path, seconds=8, clients=CLIENTS, seed=1) as (worked, journal):
        # at the moment of each answer, with nothing left of what was not synced
        answers = sorted(worked.ledger.acknowledgements)
        assert {kind for _, kind, _ in answers} == KINDS
        least = journal.cuts([journal.before(at) for at, _, _ in answers], None)
        for (_, kind, which), (_, files) in zip(answers, least, strict=True):
            assert kept_of(worked, put(files, tmp_path / "cut"), kind, which), f"{kind} {which}"
        # at any moment, with any part of it
        first = journal.before(worked.began)
        for at, files in journal.cuts([dice.randint(first, len(journal.notes)) for _ in range(40)], dice):
            assert problems(worked, at, put(files, tmp_path / "cut")) == []
