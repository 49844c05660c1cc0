"""The index of skills in the instructions: names and what they are for; the model reads one when it fits."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.agent.frozen import Frozen
from hermes.core.clock import Clock
from hermes.core.injection import suspicion
from hermes.home.skills import Skill, Skills

INTRODUCTION = "Skills: read the one that fits with skill_view before you begin."
LINE_CHARACTERS = 120
INDEX_CHARACTERS = 2_000
LOOK_SECONDS = 2.0
"""The folders are looked through again after that: a walk costs a millisecond for thirty skills. One that is
switched off is not told of from then on."""


class SkillIndex:
    """The index as each session found it (`Frozen`)."""

    def __init__(self, skills: Skills, clock: Clock) -> None:
        self._skills = skills
        self._clock = clock
        self._frozen = Frozen()
        self._seen: tuple[float, object, str] | None = None

    def text(self, session_id: str | None) -> str:
        """Empty where there are no skills. `session_id` None: as a session would be told that begins now."""
        return self._now() if session_id is None else self._frozen.text(session_id, "skills", self._now)

    def forget(self, session_id: str) -> None:
        self._frozen.forget(session_id)

    def _now(self) -> str:
        at, switches = self._clock.monotonic(), self._skills.switches
        if self._seen is None or at - self._seen[0] >= LOOK_SECONDS or self._seen[1] != switches:
            self._seen = (at, switches, index(self._skills.enabled()))
        return self._seen[2]


def index(skills: Sequence[Skill]) -> str:
    lines = [INTRODUCTION]
    left = INDEX_CHARACTERS
    for number, skill in enumerate(skills):
        line = f"- {skill.full_name}: {skill.description}"
        line = line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 1]}…"
        reason = suspicion(line)  # a folder that was copied by hand passed no `install`
        line = line if reason is None else f"- [a skill is left out: what it says of itself {reason}]"
        left -= len(line) + 1
        if left < 0:
            lines.append(f"- and {len(skills) - number} more: skills_list")
            break
        lines.append(line)
    return "\n".join(lines) if skills else ""
