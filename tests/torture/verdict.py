"""The questions, once all is quiet: from outside by HTTP, and inside by SQL."""

from __future__ import annotations

import asyncio
import json
import time

import httpx

from hermes.store.integrity import check_database
from tests.torture.checks import CHECKS, Evidence
from tests.torture.cluster import Cluster
from tests.torture.door import Door, Stuck, Unanswered, data_lines
from tests.torture.facts import open_runs, read_facts
from tests.torture.ledger import Ledger, Reader
from tests.torture.report import Figures

QUIET_SECONDS = 60.0
"""How long after the last strike the last run may take to end: longer than a question waits for an answer."""


async def judge(cluster: Cluster, ledger: Ledger, door: Door) -> Figures:
    """Notes in the ledger what is wrong."""
    await _quiet(cluster, ledger, door)
    for ask in (_event_lists, _response_streams, _uploads, _sessions, _keys):
        try:
            await ask(ledger, door)
        except Stuck as stuck:
            ledger.wrong(f"{ask.__name__}: {stuck}")
    facts = await asyncio.to_thread(read_facts, cluster.url, cluster.directory)
    evidence = Evidence(facts, ledger, cluster.mind, cluster.nodes)
    for check in CHECKS:
        for what, run_id in check(evidence):
            ledger.wrong(f"{check.__name__}: {what}", run_id)
    for strange in cluster.mind.strange:
        ledger.wrong(strange)
    checked = await asyncio.to_thread(check_database, cluster.url)
    for finding in checked.findings:
        ledger.wrong(f"hermes db check: {finding.name}: {finding.text}")
    return Figures.of(facts, ledger, cluster)


async def _quiet(cluster: Cluster, ledger: Ledger, door: Door) -> None:
    """Every run has ended, every due job has fired, and what it said is told."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        if not await asyncio.to_thread(open_runs, cluster.url) and not await _waiting_jobs(ledger, door):
            return
        await asyncio.sleep(0.3)
    for run_id in await asyncio.to_thread(open_runs, cluster.url):
        ledger.wrong(f"no end within {QUIET_SECONDS:g} s of quiet", run_id)


async def _waiting_jobs(ledger: Ledger, door: Door) -> list[str]:
    waiting = []
    for job in ledger.jobs:
        if job.is_due and not job.is_done:
            answer = await door.surely("GET", f"/api/jobs/{job.job_id}/runs")
            runs = answer.json()["runs"]
            job.is_done = bool(runs) and all(
                (run["finished_at"] or not run["run_id"]) and run["delivery"]["state"] != "pending" for run in runs
            )
            if not job.is_done:
                waiting.append(job.job_id)
    return waiting


async def _event_lists(ledger: Ledger, door: Door) -> None:
    """What each reader saw, over all its connections, is the list as it is now; to its end where he saw that."""
    by_run: dict[str, list[Reader]] = {}
    for reader in ledger.readers:
        by_run.setdefault(reader.of, []).append(reader)
    deleted = {turn.run_id for turn in ledger.turns if turn.is_deleted}
    whole = Ledger()
    again = Door(door.urls, door.key, door.dice, whole, door.client)
    for run_id, readers in by_run.items():
        if run_id in deleted:
            continue
        reader = again.reader(run_id)
        async for _ in again.follow(run_id, reader):
            pass
        for one in readers:
            if error := _difference(one, reader):
                ledger.wrong(f"a reader with {one.connections} connections saw another list: {error}", run_id)
    ledger.violations += whole.violations


def _difference(seen: Reader, whole: Reader) -> str | None:
    for number, data in seen.seen.items():
        if whole.seen.get(number) != data:
            return f"at {number} {data}, and it is {whole.seen.get(number)}"
    if seen.has_ended and len(seen.seen) != len(whole.seen):
        return f"{len(seen.seen)} events, and it has {len(whole.seen)}"
    return None


async def _response_streams(ledger: Ledger, door: Door) -> None:
    for reader in ledger.response_readers:
        whole = Reader(reader.of)
        path = f"/v1/responses/{reader.of}"
        for _ in range(5):
            try:
                async with door.streaming("GET", path, params={"stream": "true"}) as answer:
                    async for data in data_lines(answer):
                        event = json.loads(data)
                        if "sequence_number" in event:
                            whole.seen[event["sequence_number"]] = data
                            whole.has_ended = event["type"] in ("response.completed", "response.failed")
                if whole.has_ended:
                    break
            except (Unanswered, httpx.TransportError):
                continue
        if error := _difference(reader, whole):
            ledger.wrong(f"the stream of {reader.of} was read as another: {error}")


async def _uploads(ledger: Ledger, door: Door) -> None:
    for upload in ledger.uploads:
        answer = await door.surely("GET", f"/v1/files/{upload.file_id}/content")
        if upload.is_deleted != (answer.status_code == 404):
            ledger.wrong(f"the upload {upload.file_id} is answered {answer.status_code}, deleted {upload.is_deleted}")
        elif not upload.is_deleted and answer.content != upload.content:
            ledger.wrong(f"the upload {upload.file_id} has other bytes")


async def _sessions(ledger: Ledger, door: Door) -> None:
    for session_id, title in ledger.titles.items():
        answer = await door.surely("GET", f"/api/sessions/{session_id}")
        if answer.status_code != 200 or answer.json()["session"]["title"] != title:
            ledger.wrong(f"the title of {session_id} was acknowledged as {title!r}, and it is {answer.text}")
    for fork_id, source_id in ledger.forks.items():
        texts = []
        for session_id in (fork_id, source_id):
            answer = await door.surely("GET", f"/api/sessions/{session_id}/messages")
            texts.append([one["content"] for one in answer.json().get("data", ())] or answer.text)
        if texts[0] != texts[1]:
            ledger.wrong(f"{fork_id} is a copy of {source_id}, and they differ: {texts}")


async def _keys(ledger: Ledger, door: Door) -> None:
    """A chat that was answered under a key gives the same bytes again, from any node."""
    for turn in ledger.turns:
        if not turn.bodies or turn.idempotency_key is None:
            continue
        in_session = {} if turn.sent_session is None else {"X-Hermes-Session-Id": turn.sent_session}
        answer = await door.surely(
            "POST",
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": turn.plan.message(turn.token)}]},
            headers={"Idempotency-Key": turn.idempotency_key, **in_session},
        )
        if answer.content not in turn.bodies or answer.headers.get("idempotency-replayed") != "true":
            ledger.wrong(f"under the key of {turn.token} now {answer.status_code} {answer.text}", turn.run_id)
