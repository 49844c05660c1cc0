"""The language model of the torture test: it does what the plan in the user's message says, and remembers who asked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hermes.models.script import Call, Plan, Player, Step
from tests.torture import plan as plans


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the model. `step` counts from 0 in its turn, `attempt` the times this step was asked before.

    `said` are the tokens of the user's messages in the request, `steers` those of the steers, both in order.
    `text` is what it answers. `at`: unix seconds.
    """

    at: float
    node: str
    token: str
    step: int
    attempt: int
    said: tuple[str, ...]
    steers: tuple[str, ...]
    text: str
    has_failed: bool = False


@dataclass
class Mind:
    """Shared by the servers of all nodes, each of which has a thread of its own. `directory`: where the tools work."""

    directory: str
    asked: list[Asked] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    _attempts: Counter[tuple[str, int]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def voice(self, node: str) -> Player:
        return _Voice(self, node)

    def step(self, request: dict[str, Any], node: str) -> Step:
        messages = [(str(one.get("role")), _text(one)) for one in request.get("messages") or ()]
        said = [found[1] for role, text in messages if role == "user" and (found := plans.TOKEN.search(text))]
        steers = [found[1] for role, text in messages if role == "user" and (found := plans.STEER.search(text))]
        if not said:
            self.strange.append(f"a request without a plan from {node}: {messages[-1:]}")
            return Step(text="What do you mean?")
        place = max(i for i, (role, text) in enumerate(messages) if role == "user" and plans.TOKEN.search(text))
        step = sum(role == "assistant" for role, _ in messages[place:])
        token, plan = said[-1], plans.Plan.read(messages[place][1])
        with self._lock:
            attempt = self._attempts[token, step]
            self._attempts[token, step] += 1
        word = plan.steps[step] if step < len(plan.steps) else ""
        has_failed = word == "fail" and attempt == 0
        count = plan.words if step >= len(plan.steps) else 3
        text = [f"{token}.{step}", f" attempt {attempt}:"] + [f" w{i}" for i in range(count)]
        self.asked.append(
            Asked(time.time(), node, token, step, attempt, tuple(said), tuple(steers), "".join(text), has_failed)
        )
        if has_failed:
            return Step(status=503, error="scripted: try again")
        made = plans.calls(word, token, step, self.directory)
        ids = [f"call_{token}_{step}_{i}_{attempt}" for i in range(len(made))]
        usage = usage_of(step)
        return Step(
            text=text,
            tool_calls=[Call(name, values, id_) for (name, values), id_ in zip(made, ids, strict=True)],
            delay_ms=plan.delay_ms,
            usage={
                "prompt_tokens": usage[0],
                "completion_tokens": usage[1],
                "total_tokens": sum(usage),
            },
        )


def usage_of(step: int) -> tuple[int, int]:
    """Tokens in and out of a step, whoever asks for it."""
    return 100 + step, 10 + step


class _Voice(Player):
    """What one node's server plays."""

    def __init__(self, mind: Mind, node: str) -> None:
        super().__init__((), model="scripted")
        self._mind = mind
        self._node = node

    def plan(self, request: dict[str, Any]) -> Plan:
        return Player((self._mind.step(request, self._node),), model=self.model).plan(request)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
