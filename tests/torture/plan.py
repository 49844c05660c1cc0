"""What a turn is to do, as words in its user's message, so that the model needs to know nothing else.

`[t:c3-17] nap run2 say30` is one step with a slow command, one with two quick ones, and an answer of 30 words. The
token names the turn everywhere: in messages, in lines that tools write, in the log of the model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

TOKEN = re.compile(r"\[t:([a-z0-9.-]+)\]")
STEER = re.compile(r"\[s:([a-z0-9.-]+)\]")

RAN = "ran"
"""The file to which each command appends its line when it begins; `ended` takes those that came to their end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` are words of STEPS, each an answer with tool calls; then comes a text of `words` words."""

    steps: tuple[str, ...] = ()
    words: int = 5
    delay_ms: int = 0

    def message(self, token: str) -> str:
        return " ".join([f"[t:{token}]", *self.steps, f"say{self.words}", f"delay{self.delay_ms}"])

    @classmethod
    def read(cls, message: str) -> Plan:
        words = TOKEN.sub("", message).split()
        numbers = {name: int(word.removeprefix(name)) for word in words for name in ("say", "delay") if name in word}
        steps = tuple(word for word in words if not word.startswith(("say", "delay")))
        return cls(steps, numbers.get("say", 5), numbers.get("delay", 0))

    @property
    def asks(self) -> bool:
        return "ask" in self.steps


QUICK = ("run", "run2", "write", "read")
SLOW = ("nap", "nap", "run3", "fail")


def draw(dice: random.Random, *, asks: bool = False, is_long: bool = False) -> Plan:
    """Some turn. `is_long`: long enough to be steered or stopped."""
    steps = [dice.choice(QUICK + SLOW) for _ in range(dice.choice((0, 0, 1, 1, 2, 3)))]
    if is_long:
        steps.append("nap")
    if asks:
        steps.insert(dice.randint(0, len(steps)), "ask")
    return Plan(tuple(steps), dice.choice((3, 10, 30)), dice.choice((0, 5, 20, 40)) if not is_long else 40)


def line(token: str, step: int, call: int) -> str:
    """What the call's command writes: the same however often its model is asked."""
    return f"{token}.{step}.{call}"


def calls(word: str, token: str, step: int, directory: str) -> Sequence[tuple[str, dict[str, object]]]:
    """The tool calls of a step, as (name, arguments)."""
    match word:
        case "run" | "run2" | "run3" | "fail":
            count = int(word[3:]) if word[3:].isdigit() else 1
            return [("terminal", {"command": f"echo {line(token, step, i)} >> {RAN}"}) for i in range(count)]
        case "nap":
            own = line(token, step, 0)
            return [("terminal", {"command": f"echo {own} >> {RAN}; sleep 0.8; echo {own} >> ended"})]
        case "ask":
            return [("terminal", {"command": f"rm -rf trash/{token}; echo {line(token, step, 0)} >> {RAN}"})]
        case "write":
            return [("write_file", {"path": f"{directory}/written/{token}.{step}", "content": line(token, step, 0)})]
        case "read":
            return [("read_file", {"path": f"{directory}/to-read.txt"})]
        case _:
            return []
