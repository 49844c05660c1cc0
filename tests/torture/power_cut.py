"""A power cut under a gateway that works: the files as they may be left are opened, and asked for what was promised."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes.store.integrity import check_database
from tests.torture.cluster import Cluster, Node, cluster
from tests.torture.disk import Journal
from tests.torture.facts import Facts, read_facts
from tests.torture.ledger import Ledger, Turn
from tests.torture.plan import STEER, TOKEN
from tests.torture.torture import talk

DATABASE = "state.db"


@dataclass
class Worked:
    """A gateway has worked and is gone. `facts` is what it had kept at its end, `began` when it was up."""

    cluster: Cluster
    ledger: Ledger
    facts: Facts
    began: float
    copies: list[tuple[float, Path]] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return self.cluster.nodes[0]


@contextmanager
def recorded_work(root: Path, *, seconds: float, clients: int, seed: int) -> Iterator[tuple[Worked, Journal]]:
    """With a note of everything that SQLite wrote, and of every time it waited for the disk."""
    journal = root / "journal"
    prefix = (sys.executable, "-m", "tests.torture.recorded_gateway", str(journal))
    with cluster(root, "sqlite", 1) as made:
        made.nodes[0].gateway.prefix = prefix
        made.nodes[0].gateway.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        yield asyncio.run(_work(made, seconds, clients, seed, 0)), Journal(journal)


@contextmanager
def copied_work(root: Path, *, seconds: float, clients: int, seed: int, copies: int) -> Iterator[Worked]:
    """With copies of the files as they were at random moments, while nobody wrote."""
    with cluster(root, "sqlite", 1) as made:
        yield asyncio.run(_work(made, seconds, clients, seed, copies))


async def _work(made: Cluster, seconds: float, clients: int, seed: int, copies: int) -> Worked:
    node, ledger = made.nodes[0], Ledger()
    await node.start()
    await made.are_ready(30)
    began = time.time()
    taking = asyncio.ensure_future(_take_copies(made, seconds, copies, random.Random(seed)))
    await talk(made, ledger, clients, seconds, seed)
    taken = await taking
    await node.kill()
    return Worked(made, ledger, await asyncio.to_thread(read_facts, made.url, made.directory), began, taken)


async def _take_copies(made: Cluster, seconds: float, count: int, dice: random.Random) -> list[tuple[float, Path]]:
    taken = []
    home = made.nodes[0].gateway.home
    for number in range(count):
        await asyncio.sleep(dice.uniform(0.2, 2 * seconds / count - 0.2))
        pid = made.nodes[0].gateway.pid
        os.kill(pid, signal.SIGSTOP)
        at = time.time()
        to = home.parent / f"copy{number}"
        to.mkdir()
        for name in (DATABASE, f"{DATABASE}-wal"):
            shutil.copy(home / name, to / name)
        os.kill(pid, signal.SIGCONT)
        taken.append((at, to))
    return taken


def put(files: Mapping[str, bytes], directory: Path) -> Path:
    """The files of a cut in a directory of their own."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        if not name.endswith("-shm"):
            (directory / name).write_bytes(content)
    return directory


def problems(worked: Worked, at: float, directory: Path) -> list[str]:
    """What is wrong with the database there, left by a power cut at that time."""
    url = f"sqlite:///{directory / DATABASE}"
    findings = check_database(url, is_full=True).findings
    found = [f"{finding.name}: {finding.text}" for finding in findings]
    if [finding.name for finding in findings] == ["not_ours"]:  # cut before its first sync: it is made anew
        return [*_lost(worked, at, Facts({}))]
    if any(finding.name == "damaged" for finding in findings):
        return found
    facts = read_facts(url, worked.cluster.directory)
    return [*found, *_lost(worked, at, facts), *_other_events(worked, facts)]


def kept_of(worked: Worked, directory: Path, kind: str, which: str) -> bool:
    """Whether what was just acknowledged is in the database there."""
    there = _kept(read_facts(f"sqlite:///{directory / DATABASE}", worked.cluster.directory, has_events=False))
    return ((kind, which) in there) != (kind == "deletion")


def _lost(worked: Worked, at: float, facts: Facts) -> Iterator[str]:
    """What was acknowledged as kept before the cut must be there. What was deleted later may be there or not."""
    there = _kept(facts)
    deleted = {turn.token for turn in worked.ledger.turns if turn.is_deleted or _was_stopped_in_line(worked, turn)}
    deleted |= {upload.file_id for upload in worked.ledger.uploads if upload.is_deleted}
    gone = {session for turn in worked.ledger.turns if turn.is_deleted and (session := turn.session_id)}
    for when, kind, which in worked.ledger.acknowledgements:
        if when >= at or which in deleted or (which.split()[0] in gone and kind != "deletion"):
            continue
        if ((kind, which) in there) == (kind == "deletion"):
            yield f"the {kind} {which} was acknowledged {at - when:.3f} s before the power cut, and lost"


def _was_stopped_in_line(worked: Worked, turn: Turn) -> bool:
    run = worked.facts.runs.get(turn.run_id or "")
    return run is not None and run["status"] == "cancelled" and run["started_at"] is None


def _kept(facts: Facts) -> set[tuple[str, str]]:
    if not facts.tables:
        return set()
    kept = {("turn", token) for token, rows in facts.said.items() if rows}
    kept |= {("steer", text) for text, rows in facts.steers.items() if rows}
    for run in facts.runs.values():
        kept |= {("turn", token) for token in TOKEN.findall(run["request"])}
        if run["status"] in ("stopping", "cancelled"):
            kept.add(("stop", run["id"]))
    kept |= {("steer", row["text"]) for row in facts.tables["steers"] if STEER.search(row["text"])}
    kept |= {("choice", row["id"]) for row in facts.tables["approvals"] if row["outcome"] == "user"}
    for table, kind in (("jobs", "job"), ("files", "upload"), ("sessions", "session")):
        kept |= {(kind, row["id"]) for row in facts.tables[table]}
    for row in facts.tables["sessions"]:
        kept |= {("title", f"{row['id']} {row['title']}"), ("fork", row["id"]), ("deletion", row["id"])}
    return kept


def _other_events(worked: Worked, facts: Facts) -> Iterator[str]:
    """Its lists are beginnings of the lists as they went on, or of lists that were deleted since."""
    for run_id, events in facts.events_of.items():
        whole: list[dict[str, Any]] = worked.facts.events_of.get(run_id, [])
        if whole and events != whole[: len(events)]:
            yield f"the events of {run_id} are no beginning of those it had"


def lost_text(worked: Worked, at: float, directory: Path) -> Counter[str]:
    """How much of what had been shown the power cut took: what is allowed, for the figures."""
    facts = read_facts(f"sqlite:///{directory / DATABASE}", worked.cluster.directory)
    counted: Counter[str] = Counter()
    for run_id, events in worked.facts.events_of.items():
        before = sum(row["timestamp"] < at for row in events)
        counted["events"] += max(0, before - len(facts.events_of.get(run_id, ())))
    return counted
