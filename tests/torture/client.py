"""A client of the torture test: it talks through every route that acknowledges something, and notes it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx

from tests.torture.door import Door, Stuck, Unanswered, data_lines
from tests.torture.ledger import Job, Kind, Ledger, Reader, Turn, Upload
from tests.torture.plan import Plan, draw

Scenario = Callable[[], Awaitable[None]]


class Client:
    """`live` goes on until `is_over`; each conversation it began is brought to its end then."""

    def __init__(self, name: str, door: Door, dice: random.Random, shared_session: str) -> None:
        self.name = name
        self.door = door
        self.ledger: Ledger = door.ledger
        self.dice = dice
        self.is_over = False
        self.count = 0
        self._numbers = itertools.count(1)
        self._sessions = [f"{name}-a", f"{name}-b", shared_session]
        self._last_response: str | None = None
        self._scenarios: list[tuple[int, Scenario]] = [
            (3, self.run_alone),
            (3, self.runs_in_a_session),
            (2, self.answered_run),
            (2, self.steered_run),
            (2, self.stopped_run),
            (3, self.background_response),
            (2, self.plain_chat),
            (3, self.keyed_chat),
            (2, self.detached_chat),
            (3, self.session_chat),
            (1, self.job_by_hand),
            (2, self.job_by_schedule),
            (1, self.upload),
            (1, self.edited_session),
            (1, self.deleted_session),
        ]

    async def live(self) -> None:
        scenarios, weights = [one for _, one in self._scenarios], [weight for weight, _ in self._scenarios]
        while not self.is_over:
            [scenario] = self.dice.choices(scenarios, weights)
            try:
                await scenario()
            except Stuck as stuck:
                self.ledger.wrong(f"{self.name} {scenario.__name__}: {stuck}")
            self.count += 1

    async def tour(self) -> None:
        """Each scenario once."""
        for _, scenario in self._scenarios:
            await scenario()

    # --- runs ---

    async def run_alone(self) -> None:
        turn = self._turn(Kind.RUN, draw(self.dice))
        if await self._start(turn):
            await self._read(turn)

    async def runs_in_a_session(self) -> None:
        """Several at once: the later ones wait in line. Some are read by two readers."""
        session_id = self.dice.choice(self._sessions)
        turns = [self._turn(Kind.RUN, draw(self.dice), session_id) for _ in range(self.dice.randint(1, 3))]
        started = [turn for turn in turns if await self._start(turn)]
        await asyncio.gather(*(self._read(turn) for turn in started for _ in range(self.dice.randint(1, 2))))

    async def answered_run(self) -> None:
        """Its dangerous command is allowed or denied, by whoever is quick enough."""
        turn = self._turn(Kind.RUN, draw(self.dice, asks=True), self.dice.choice([None, *self._sessions[:2]]))
        if await self._start(turn):
            await self._read(turn, answers=self.dice.choice(["once", "once", "deny"]))

    async def steered_run(self) -> None:
        turn = self._turn(Kind.RUN, draw(self.dice, is_long=True), self.dice.choice([None, *self._sessions[:2]]))
        if not await self._start(turn):
            return
        reading = asyncio.ensure_future(self._read(turn))
        for number in range(self.dice.randint(1, 3)):
            await asyncio.sleep(self.dice.random() * 0.8)
            await self._steer(turn, f"[s:{turn.token}.{number}] go on")
        await reading

    async def stopped_run(self) -> None:
        turn = self._turn(Kind.RUN, draw(self.dice, is_long=True), self.dice.choice([None, *self._sessions]))
        if not await self._start(turn):
            return
        reading = asyncio.ensure_future(self._read(turn))
        await asyncio.sleep(self.dice.random() * 1.5)
        turn.may_be_stopped = True
        while not turn.is_stopped and not reading.done():
            try:
                answer = await self.door.once("POST", f"/v1/runs/{turn.run_id}/stop")
            except Unanswered:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code == 200:
                turn.is_stopped = True
                self.ledger.acknowledge("stop", turn.run_id or "")
            elif answer.status_code != 409:
                self.ledger.wrong(f"stop was answered {answer.status_code}: {answer.text}", turn.run_id)
            break
        await reading

    async def _start(self, turn: Turn) -> bool:
        """Kept under an Idempotency-Key two times of three, and then tried until it is acknowledged."""
        body: dict[str, Any] = {"input": turn.plan.message(turn.token)}
        if turn.session_id is not None:
            body["session_id"] = turn.session_id
        answer = await self._ask(turn, "/v1/runs", body, is_keyed=self.dice.random() < 0.67)
        if answer is None:
            return False
        if answer.status_code != 202:
            self.ledger.wrong(f"a run was answered {answer.status_code}: {answer.text}")
            return False
        self._accepted(turn, answer.json()["run_id"], answer.json()["session_id"])
        return True

    async def _read(self, turn: Turn, answers: str | None = None) -> None:
        assert turn.run_id is not None
        answering: list[asyncio.Future[None]] = []
        async for event in self.door.follow(turn.run_id):
            if event["event"] == "approval.request" and answers is not None:
                answering.append(asyncio.ensure_future(self._answer(turn, event["approval_id"], answers)))
        await asyncio.gather(*answering)

    async def _answer(self, turn: Turn, approval_id: str, choice: str) -> None:
        await asyncio.sleep(self.dice.random())
        body = {"choice": choice, "approval_id": approval_id}
        with suppress(Unanswered):  # the run asks again when it goes on
            answer = await self.door.once("POST", f"/v1/runs/{turn.run_id}/approval", json=body)
            if answer.status_code == 200 and answer.json()["resolved"] == 1:
                turn.choices[approval_id] = choice
                self.ledger.acknowledge("choice", approval_id)
            elif answer.status_code != 409:
                self.ledger.wrong(f"an approval was answered {answer.status_code}: {answer.text}", turn.run_id)

    async def _steer(self, turn: Turn, text: str) -> None:
        turn.steers[text] = False
        with suppress(Unanswered):
            answer = await self.door.once("POST", f"/v1/runs/{turn.run_id}/steer", json={"input": text})
            if answer.status_code == 200:
                turn.steers[text] = True
                self.ledger.acknowledge("steer", text)
            elif answer.status_code == 409:
                del turn.steers[text]
            else:
                self.ledger.wrong(f"a steer was answered {answer.status_code}: {answer.text}", turn.run_id)

    # --- responses ---

    async def background_response(self) -> None:
        """Read as a stream over any number of connections, or polled. Some go on from the one before."""
        turn = self._turn(Kind.RESPONSE, draw(self.dice))
        is_stream = self.dice.random() < 0.3
        body: dict[str, Any] = {"input": turn.plan.message(turn.token), "background": True}
        if self._last_response is not None and self.dice.random() < 0.5:
            body["previous_response_id"] = self._last_response
        if is_stream:
            await self._streamed_response(turn, body)
            return
        answer = await self._ask(turn, "/v1/responses", body, is_keyed=self.dice.random() < 0.67)
        if answer is None:
            return
        if answer.status_code != 200:
            self.ledger.wrong(f"a response was answered {answer.status_code}: {answer.text}")
            return
        response_id = answer.json()["id"]
        turn.response_ids.add(response_id)
        self._accepted(turn, answer.headers["x-hermes-run-id"], answer.headers["x-hermes-session-id"])
        await self._read_response(turn, response_id, Reader(response_id))
        self._last_response = response_id

    async def _streamed_response(self, turn: Turn, body: dict[str, Any]) -> None:
        reader = Reader("")
        headers = self._keyed(turn)
        while not reader.of:
            try:
                async with self.door.streaming(
                    "POST", "/v1/responses", json={**body, "stream": True}, headers=headers
                ) as answer:
                    if answer.status_code != 200:
                        self.ledger.wrong(f"a response was answered {answer.status_code}: {answer.text}")
                        return
                    self._accepted(turn, answer.headers["x-hermes-run-id"], answer.headers["x-hermes-session-id"])
                    async for data in data_lines(answer):
                        self._see(reader, data)
            except (Unanswered, httpx.TransportError):
                await asyncio.sleep(0.2)
        turn.response_ids.add(reader.of)
        await self._read_response(turn, reader.of, reader)
        self._last_response = reader.of

    async def _read_response(self, turn: Turn, response_id: str, reader: Reader) -> None:
        self.ledger.response_readers.append(reader)
        for _ in range(300):
            if reader.has_ended:
                return
            query = {"stream": "true"} | ({"starting_after": str(len(reader.seen) - 1)} if reader.seen else {})
            try:
                async with self.door.streaming("GET", f"/v1/responses/{response_id}", params=query) as answer:
                    if answer.status_code != 200:
                        self.ledger.wrong(f"{response_id} was answered {answer.status_code}: {answer.text}")
                        return
                    async for data in data_lines(answer):
                        self._see(reader, data)
            except (Unanswered, httpx.TransportError):
                self.ledger.retries += 1
            await asyncio.sleep(0.1 + self.dice.random() * 0.2)
        raise Stuck(f"{response_id} of {turn.run_id} has no end")

    def _see(self, reader: Reader, data: str) -> None:
        event = json.loads(data)
        number = event.get("sequence_number")
        if number is None or event["type"] == "error":
            return
        if number != len(reader.seen):
            self.ledger.wrong(f"a reader of {reader.of} got number {number} after {len(reader.seen) - 1}")
        if number == 0:
            reader.of = event["response"]["id"]
        reader.seen[number] = data
        reader.has_ended = event["type"] in ("response.completed", "response.failed", "response.incomplete")

    # --- chats ---

    async def plain_chat(self) -> None:
        """Bound to its connection: only a whole answer is one."""
        turn = self._turn(Kind.CHAT, draw(self.dice), is_durable=False)
        turn.session_id = self.dice.choice([None, None, *self._sessions[:2]])
        answer = await self._ask(turn, "/v1/chat/completions", self._chat(turn), is_keyed=False)
        if answer is not None and answer.status_code == 200:
            self._answered(turn, answer)

    async def keyed_chat(self) -> None:
        """Asked again and again under its key, sometimes twice at once; at the end once more: the same bytes."""
        turn = self._turn(Kind.KEPT_CHAT, draw(self.dice))
        turn.session_id = turn.sent_session = self.dice.choice([None, None, *self._sessions])
        headers = {**self._keyed(turn), **self._in_session(turn)}
        asked = [
            self.door.surely("POST", "/v1/chat/completions", json=self._chat(turn), headers=headers)
            for _ in range(self.dice.choice((1, 1, 2)))
        ]
        for answer in await asyncio.gather(*asked):
            if answer.status_code == 200:
                self._answered(turn, answer)
                turn.bodies.add(answer.content)

    async def detached_chat(self) -> None:
        """Acknowledged with its first bytes; its client goes away in the middle, and reads the run's events."""
        turn = self._turn(Kind.KEPT_CHAT, draw(self.dice))
        headers = {"X-Hermes-Detach": "true"}
        with suppress(Unanswered, httpx.TransportError):
            async with self.door.streaming(
                "POST", "/v1/chat/completions", json=self._chat(turn, stream=True), headers=headers
            ) as answer:
                if answer.status_code == 200:
                    self._accepted(turn, answer.headers["x-hermes-run-id"], answer.headers["x-hermes-session-id"])
                    left = self.dice.randint(1, 20)
                    async for _ in data_lines(answer):
                        left -= 1
                        if not left:
                            break
        if turn.run_id is not None:
            await self._read(turn)

    async def session_chat(self) -> None:
        session_id = self.dice.choice(self._sessions)
        await self._make_session(session_id)
        turn = self._turn(Kind.SESSION_CHAT, draw(self.dice), session_id)
        body = {"message": turn.plan.message(turn.token)}
        if self.dice.random() < 0.5:
            is_keyed = self.dice.random() < 0.6
            answer = await self._ask(turn, f"/api/sessions/{session_id}/chat", body, is_keyed=is_keyed)
            if answer is not None and answer.status_code == 200:
                self._accepted(turn, answer.json()["run_id"], answer.json()["session_id"])
                turn.answers.append(answer.json()["message"]["content"])
            elif answer is not None and answer.status_code != 429:
                self.ledger.wrong(f"a session chat was answered {answer.status_code}: {answer.text}")
            return
        with suppress(Unanswered, httpx.TransportError):
            async with self.door.streaming("POST", f"/api/sessions/{session_id}/chat/stream", json=body) as answer:
                if answer.status_code == 200:
                    self._accepted(turn, answer.headers["x-hermes-run-id"], session_id)
                    async for _ in data_lines(answer):
                        pass
        if turn.run_id is not None:
            await self._read(turn)

    # --- jobs, uploads, sessions ---

    async def job_by_hand(self) -> None:
        turn = self._turn(Kind.JOB, draw(self.dice))
        job = await self._make_job(turn, "in 300 days", None)
        if job is None:
            return
        answer = await self._ask(turn, f"/api/jobs/{job.job_id}/run", None, is_keyed=True)
        if answer is not None and answer.status_code == 200:
            job.by_hand.add(answer.json()["run_id"])
            self._accepted(turn, answer.json()["run_id"], answer.json()["session_id"])
            await self._read(turn)
        elif answer is not None:
            self.ledger.wrong(f"a job by hand was answered {answer.status_code}: {answer.text}")

    async def job_by_schedule(self) -> None:
        """Nobody waits for it; the checks at the end find its run. Some tell their output in a session."""
        turn = self._turn(Kind.JOB, draw(self.dice))
        session_id = self.dice.choice([None, self._sessions[0]])
        if session_id is not None:
            await self._make_session(session_id)
        await self._make_job(turn, f"{self.dice.randint(1, 6)}s", session_id)

    async def _make_job(self, turn: Turn, schedule: str, session_id: str | None) -> Job | None:
        body = {
            "name": turn.token,
            "schedule": schedule,
            "prompt": turn.plan.message(turn.token),
            "deliver": "local" if session_id is None else f"session:{session_id}",
            "catch_up": self.dice.choice(["one", "all"]),
        }
        try:
            answer = await self.door.once("POST", "/api/jobs", json=body)
        except Unanswered:  # made or not: without a key it is not tried again
            return None
        if answer.status_code != 200:
            self.ledger.wrong(f"a job was answered {answer.status_code}: {answer.text}")
            return None
        made = answer.json()["job"]
        job = Job(made["id"], turn.token, session_id)
        turn.job_id = job.job_id
        self.ledger.jobs.append(job)
        self.ledger.acknowledge("job", job.job_id)
        if schedule.endswith("s") and schedule[0].isdigit():
            job.is_due = turn.is_acknowledged = True
        return job

    async def upload(self) -> None:
        content = self.dice.randbytes(self.dice.choice((10, 3_000, 300_000)))
        try:
            answer = await self.door.once(
                "POST", "/v1/files", data={"purpose": "user_data"}, files={"file": (f"{self.name}.bin", content)}
            )
        except Unanswered:
            return
        if answer.status_code != 200:
            self.ledger.wrong(f"an upload was answered {answer.status_code}: {answer.text}")
            return
        upload = Upload(answer.json()["id"], content)
        self.ledger.uploads.append(upload)
        self.ledger.acknowledge("upload", upload.file_id)
        read = await self.door.surely("GET", f"/v1/files/{upload.file_id}/content")
        if read.content != content:
            self.ledger.wrong(f"{upload.file_id} was acknowledged, and reads {read.status_code} {read.content[:100]!r}")
        if self.dice.random() < 0.3:
            upload.is_deleted = True
            await self.door.surely("DELETE", f"/v1/files/{upload.file_id}")

    async def edited_session(self) -> None:
        """A title, and a fork."""
        session_id = f"{self.name}-edited-{next(self._numbers)}"
        await self._make_session(session_id)
        turn = self._turn(Kind.RUN, Plan(("run",)), session_id)
        if not await self._start(turn):
            return
        await self._read(turn)
        title = f"title {self.dice.random()}"
        answer = await self.door.surely("PATCH", f"/api/sessions/{session_id}", json={"title": title})
        if answer.status_code == 200:
            self.ledger.titles[session_id] = title
            self.ledger.acknowledge("title", f"{session_id} {title}")
        else:
            self.ledger.wrong(f"a title was answered {answer.status_code}: {answer.text}")
        fork_id = f"{session_id}-fork"
        answer = await self.door.surely("POST", f"/api/sessions/{session_id}/fork", json={"id": fork_id})
        if answer.status_code in (201, 409):  # 409: made at a try that nobody heard of
            self.ledger.forks[fork_id] = session_id
            self.ledger.acknowledge("fork", fork_id)
        else:
            self.ledger.wrong(f"a fork was answered {answer.status_code}: {answer.text}")

    async def deleted_session(self) -> None:
        session_id = f"{self.name}-deleted-{next(self._numbers)}"
        await self._make_session(session_id)
        turn = self._turn(Kind.RUN, Plan(("run",)), session_id)
        if not await self._start(turn):
            return
        await self._read(turn)
        turn.is_deleted = True
        answer = await self.door.surely("DELETE", f"/api/sessions/{session_id}")
        if answer.status_code not in (200, 404):  # 404: deleted at a try that nobody heard of
            self.ledger.wrong(f"a deletion was answered {answer.status_code}: {answer.text}")
        self.ledger.deleted_sessions.add(session_id)
        self.ledger.acknowledge("deletion", session_id)

    # --- what they share ---

    def _turn(self, kind: Kind, plan: Plan, session_id: str | None = None, *, is_durable: bool = True) -> Turn:
        turn = Turn(f"{self.name}-{next(self._numbers)}", kind, plan, session_id, is_durable=is_durable)
        self.ledger.turns.append(turn)
        return turn

    async def _make_session(self, session_id: str) -> None:
        if session_id in self.ledger.sessions:
            return
        answer = await self.door.surely("POST", "/api/sessions", json={"id": session_id})
        if answer.status_code not in (201, 409):
            self.ledger.wrong(f"a session was answered {answer.status_code}: {answer.text}")
        self.ledger.sessions.add(session_id)
        self.ledger.acknowledge("session", session_id)

    async def _ask(self, turn: Turn, path: str, body: Any, *, is_keyed: bool) -> httpx.Response | None:
        """None where nobody answered: it may have been taken or not."""
        headers = self._in_session(turn) if path.startswith("/v1/chat") else {}
        if is_keyed:
            return await self.door.surely("POST", path, json=body, headers={**headers, **self._keyed(turn)})
        try:
            return await self.door.once("POST", path, json=body, headers=headers)
        except Unanswered:
            return None

    def _keyed(self, turn: Turn) -> dict[str, str]:
        turn.idempotency_key = turn.token
        return {"Idempotency-Key": turn.token}

    def _in_session(self, turn: Turn) -> dict[str, str]:
        return {} if turn.session_id is None else {"X-Hermes-Session-Id": turn.session_id}

    def _chat(self, turn: Turn, **options: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": turn.plan.message(turn.token)}], **options}

    def _answered(self, turn: Turn, answer: httpx.Response) -> None:
        self._accepted(turn, answer.headers["x-hermes-run-id"], answer.headers["x-hermes-session-id"])
        turn.answers.append(answer.json()["choices"][0]["message"]["content"])

    def _accepted(self, turn: Turn, run_id: str, session_id: str) -> None:
        if turn.is_durable and not turn.is_acknowledged:
            self.ledger.acknowledge("turn", turn.token)
        turn.is_acknowledged = True
        turn.run_ids.add(run_id)
        turn.session_id = session_id
