"""Things of a Link for calls that need them: each `{name}` of a path or body is made when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx

from hermes.models.script import Call, Script, Step
from tests.acceptance.link.phone import Phone, ok
from tests.acceptance.link.process import LinkProcess
from tests.support import waiting

SCRIPT: Script = (
    Step(when="^remove", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf build"}),)),
    Step(when="^remove", after_tool=True, text="Gone."),
    Step(when="^wait", text=["token "] * 2000, delay_ms=100),
    Step(times=0, text="You said: {{user}}"),
)
"""`remove` asks before it does; `wait` goes on for minutes."""

PLACE = re.compile(r"\{(\w+)\}")


class World:
    """`fill` makes what a call needs; what was made for one call is kept until `forget`."""

    def __init__(self, link: LinkProcess) -> None:
        self.link = link
        self.admin = link.phone("Admin")
        self.chat = link.phone("Chat", scope="chat")
        self._made: dict[str, str] = {}
        self._profiles = 0
        self._makers: dict[str, Callable[[], str]] = {
            "conversation": self.admin.conversation,
            "other": self.admin.conversation,
            "profile": lambda: "default",
            "fresh": self._fresh,
            "spare": self._spare,
            "skill": self._skill,
            "entry": self._entry,
            "twice": self._twice,
            "provider": lambda: "built-in",
            "tool": lambda: "web",
            "device": lambda: link.phone("Guest").device_id,
            "refresh": lambda: link.phone("Guest").refresh_token,
            "revoked": self._revoked,
            "pairing": self._pairing,
            "claimed": self._claimed,
            "plan": lambda: self._plan(),
            "executed": self._executed,
            "archive_plan": lambda: self._plan("archive"),
            "run": self._run,
            "ended": self._ended,
            "approval": self._approval,
            "resolved": self._resolved,
            "blob": lambda: self._blob("blob"),
            "used": self._used,
            "job": self._job,
            "model": self._model,
            "direct": lambda: self.admin.post("/runs", {"input": "wait"})["run_id"],
        }

    def forget(self) -> None:
        self._made = {}

    def fill(self, value: Any) -> Any:
        """With `{names}` in texts replaced."""
        match value:
            case str():
                return PLACE.sub(lambda found: self.of(found[1]), value)
            case list():
                return [self.fill(one) for one in value]
            case dict():
                return {name: self.fill(one) for name, one in value.items()}
            case _:
                return value

    def of(self, name: str) -> str:
        if name not in self._made:
            if name == "code":  # belongs to the pairing session
                raise AssertionError("ask for {pairing} or {claimed} first")
            self._made[name] = self._makers[name]()
        return self._made[name]

    def ask(
        self,
        token: str | None,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | None = None,
        query: Any = None,
    ) -> httpx.Response:
        """One call; of a stream only its head is read."""
        headers = {} if not token else {"Authorization": f"Bearer {token}"}
        if content is not None:
            is_upload = path.endswith("/blobs")
            headers["Content-Type"] = "application/octet-stream" if is_upload else "application/json"
            headers |= {"Content-Disposition": 'attachment; filename="a.txt"'} if is_upload else {}
        options = {"content": content} if content is not None else {"json": body} if body is not None else {}
        with (
            httpx.Client(base_url=self.link.url, timeout=30) as client,
            client.stream(method, path, headers=headers, params=query, **options) as answer,
        ):
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
            return answer

    def _fresh(self) -> str:
        """A name for a new profile, when no other is being made."""
        waiting.eventually(lambda: self.admin.get("/profile-creation/status")["state"] != "running", seconds=30)
        self._profiles += 1
        return f"profile{self._profiles}"

    def _spare(self) -> str:
        """A profile of its own."""
        name = self.admin.post("/profiles", {"name": self._fresh()})["profile_name"]
        waiting.eventually(lambda: self.admin.get("/profile-creation/status")["state"] == "succeeded", seconds=30)
        return str(name)

    def _revoked(self) -> str:
        phone = self.link.phone("Lost")
        self.admin.delete(f"/devices/{phone.device_id}")
        return phone.device_id

    def _pairing(self) -> str:
        made = self.link.code()
        self._made["code"] = made["connect_token"]
        session_id: str = made["session"]["session_id"]
        return session_id

    def _claimed(self) -> str:
        session_id = self._pairing()
        phone = Phone(self.link.url)
        self.link.phones.append(phone)
        phone.claim(session_id, self._made["code"], "First")
        return session_id

    def _plan(self, kind: str = "clear") -> str:
        found: str = self.admin.post(f"/conversations/{kind}-plans", {"older_than_days": 1})["plan"]["id"]
        return found

    def _executed(self) -> str:
        plan = self._plan()
        self.admin.post(f"/conversations/clear-plans/{plan}/execute")
        return plan

    def _run(self) -> str:
        conversation = self.of("conversation")
        with self.admin.follow(conversation) as stream:
            sent = self.admin.send(conversation, "wait")
            stream.until_type("message.delta")
        run: str = sent["run"]["id"]
        return run

    def _ended(self) -> str:
        conversation = self.of("conversation")
        with self.admin.follow(conversation) as stream:
            run: str = self.admin.send(conversation, "hello")["run"]["id"]
            stream.until_end(run)
        return run

    def _approval(self) -> str:
        conversation = self.of("conversation")
        with self.admin.follow(conversation) as stream:
            self.admin.send(conversation, "remove it")
            found: str = stream.until_type("approval.requested").payload["approval_id"]
        return found

    def _resolved(self) -> str:
        approval = self._approval()
        self.admin.post(f"/conversations/{self.of('conversation')}/approvals/{approval}/approve")
        return approval

    def _blob(self, name: str) -> str:
        answer = self.admin.client.post(
            f"/conversations/{self.of('conversation')}/blobs",
            content=f"text of {name}".encode(),
            headers={"Content-Type": "text/plain", "Content-Disposition": f'attachment; filename="{name}.txt"'},
        )
        found: str = ok(answer)["blob_id"]
        return found

    def _used(self) -> str:
        blob = self._blob("used")
        self.admin.send(self.of("conversation"), "see this", attachments=[blob])
        return blob

    def _skill(self) -> str:
        folder = self.link.hermes_home / "skills" / "tea"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "SKILL.md").write_text("---\nname: tea\ndescription: Making tea\n---\nBoil water.\n")
        return "tea"

    def _entry(self) -> str:
        content = f"{len(self._made)} bicycles"
        self.admin.post("/profiles/default/memory/entries", {"target": "memory", "content": content})
        return content

    def _twice(self) -> str:
        for content in ("a red bicycle", "a blue bicycle"):
            self.admin.post("/profiles/default/memory/entries", {"target": "memory", "content": content})
        return "bicycle"

    def _model(self) -> str:
        """One beside the default, which goes on being it."""
        shown = self.admin.get("/model-configs")
        self.admin.patch("/model-configs/defaults", {"task_model_id": shown["models"][0]["id"]})
        body = {"id": "spare", "provider": "custom", "base_url": "http://127.0.0.1:9/v1", "set_default": False}
        self.admin.post("/model-configs", body)
        return "spare"

    def _job(self) -> str:
        body = {"name": "news", "schedule": "0 8 * * *", "prompt": "What is new?"}
        job = self.admin.post("/profiles/default/cron-jobs", body)["job"]
        found: str = job.get("id") or job["job_id"]
        return found
