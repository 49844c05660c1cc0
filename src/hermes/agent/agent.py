"""The agent of one home: puts a turn together from what was asked and what this home allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes.agent import prompt
from hermes.agent.compaction import CompactionSettings, RecentSummaries
from hermes.agent.history import with_answered_calls
from hermes.agent.memory import Snapshots
from hermes.agent.skills import SkillIndex
from hermes.agent.tool_search import Shortlist, Shortlists
from hermes.agent.turn import OpenStep, Turn
from hermes.core.clock import Clock
from hermes.core.key import OWNER
from hermes.core.message import Message
from hermes.core.model import Model, ToolSpec
from hermes.core.ports import (
    CLARIFY,
    Account,
    Action,
    ApprovalDesk,
    ApprovalGate,
    Steering,
    Summaries,
    Tool,
    Toolbox,
    ToolContext,
)
from hermes.core.redact import Redactor
from hermes.core.run import Ask, Limits, RunRequest, Usage
from hermes.core.session import Session
from hermes.core.toolset import COMPOSITES, TOOLS, TOOLSETS, beyond, is_read

MEMORY, SKILL_VIEW = "memory", "skill_view"
EMBEDDED = "embedded"
NOT_FOR_CHILDREN = frozenset({MEMORY, CLARIFY, "delegate_task", "cronjob"})
"""A run that another one delegated neither delegates nor asks, and changes nothing that outlives it in the agent."""
FOR_EMBEDDED = frozenset(tool.name for name in ("terminal", "file") for tool in TOOLSETS[name].tools)


async def _nothing_new() -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Agent:
    """`make_gate` gives the approval gate for a desk: the mode, lists and session allowances are the home's.

    `soul_file` is looked at in each turn, so that an edit of SOUL.md holds from the next one. `toolsets` is what is
    offered when a request names none. `forget_allowances` is told of each session that is let go. `memory` None:
    nothing is remembered; `skills` None: there are none. `look` takes up settings that were changed: they are put in
    place of these fields, and count for turns that begin from then on.
    """

    toolbox: Toolbox
    make_gate: Callable[[ApprovalDesk], ApprovalGate]
    clock: Clock
    home: Path | None
    workdir: Path
    environment: Mapping[str, str]
    soul_file: Path | None = None
    files: prompt.TextFiles = field(default_factory=prompt.TextFiles)
    toolsets: tuple[str, ...] | None = None
    limits: Limits = field(default_factory=Limits)
    redactor: Redactor = field(default_factory=Redactor)
    session_states: dict[str, dict[str, Any]] = field(default_factory=dict)
    forget_allowances: Callable[[str], object] = lambda session_id: None
    compaction: CompactionSettings = field(default_factory=CompactionSettings)
    recent_summaries: RecentSummaries = field(default_factory=RecentSummaries)
    summaries: Summaries = field(default_factory=RecentSummaries)
    memory: Snapshots | None = None
    skills: SkillIndex | None = None
    shortlists: Shortlists = field(default_factory=Shortlists)
    look: Callable[[], Awaitable[None]] = _nothing_new

    async def ready(self, request: RunRequest) -> None:
        """What was changed is taken up, and tools that come from elsewhere are there, or have had their time."""
        await self.look()
        await self.toolbox.ready(self.toolsets if request.toolsets is None else request.toolsets)

    def tools(self, request: RunRequest, session_id: str | None = None) -> dict[str, Tool]:
        """The server's tools that the request is offered; none for an empty list of toolsets. A session (`session_id`
        where the request does not say it) that brought some has them too, unless the request or `safe` narrows.

        Raises InvalidInput for a toolset that does not exist.
        """
        tools = self.toolbox.select(*self._choice(request), is_setting=request.toolsets is None)
        session_id = session_id or request.session_id
        if session_id is not None and request.toolsets is None and COMPOSITES.keys().isdisjoint(self.toolsets or ()):
            tools |= self.toolbox.brought(session_id)
        if request.skip_memory:
            tools.pop(MEMORY, None)
        if request.child_of is not None:
            return {name: tool for name, tool in tools.items() if name not in NOT_FOR_CHILDREN}
        return tools

    def _choice(self, request: RunRequest) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The toolsets, and those left out. A composite in a request stands for what of it the home has on."""
        if request.toolsets is None:
            return self.toolsets, request.disabled_toolsets
        return request.toolsets, (*request.disabled_toolsets, *beyond(request.toolsets, self.toolsets))

    def _reads_memory(self, request: RunRequest) -> bool:
        """Without the tool that writes it."""
        chosen, disabled = self._choice(request)
        return is_read(MEMORY, chosen) and MEMORY not in disabled and not request.skip_memory

    def clashes(self, request: RunRequest) -> list[str]:
        """Names of client tools that hide one of the server's."""
        if not request.client_tools:
            return []
        own = self.tools(request)
        return [spec.name for spec in request.client_tools if spec.name in own]

    def forget(self, session_id: str) -> None:
        """The session will not be spoken to again: let go of what its tools remember, and of what it was allowed."""
        self.session_states.pop(session_id, None)
        self.forget_allowances(session_id)
        if self.memory is not None:
            self.memory.forget(session_id)
        if self.skills is not None:
            self.skills.forget(session_id)

    async def close_session(self, session_id: str) -> None:
        """The session is gone, and whoever makes the next one of this id, another key perhaps, must find nothing of it:
        no process, no output, no allowance.
        """
        self.forget(session_id)
        await self.toolbox.close_session(session_id)

    def opening(self, model: Model | None = None) -> tuple[tuple[ToolSpec, ...], str]:
        """The tools and instructions that a turn begins with when the request adds nothing of its own."""
        shortlist, instructions = self.beginning(model)
        return shortlist.shown, instructions

    def beginning(self, model: Model | None = None) -> tuple[Shortlist, str]:
        """`opening`, with the tools that are loaded on demand."""
        tools = self.toolbox.select(self.toolsets, is_setting=True)
        reads_memory = is_read(MEMORY, self.toolsets)
        known = self._known(tools, model, None, OWNER, None, reads_memory=reads_memory)
        tools = self._for(model, tools, None)
        text = self._instructions(list(tools), self.workdir, known=known, has_marks=_takes_marks(model))
        return self.shortlists.of(tools), text

    def turn(
        self,
        run_id: str,
        session: Session,
        request: RunRequest,
        model: Model,
        messages: Sequence[Message],
        desk: ApprovalDesk,
        steering: Steering,
        used: Usage | None = None,
        open_step: OpenStep | None = None,
    ) -> Turn:
        """`messages` are the history and the new turn. Reads SOUL.md and the folder's context files.

        `used` and `open_step` are of a run that is resumed; the open step is not among `messages`.

        Raises InvalidInput for a toolset that does not exist.
        """
        tools = self.tools(request, session.id)
        session_key = request.session_key or session.session_key
        reads_memory = self._reads_memory(request)
        known = self._known(tools, model, session.id, session.owner, session_key, reads_memory=reads_memory)
        tools = self._for(model, tools, request.toolsets)
        for spec in request.client_tools:
            tools.pop(spec.name, None)  # the client's wins; the run has warned of it
        shown = self.shortlists.of(tools, request.tool_choice)
        workdir = Path(request.workdir) if request.workdir else self.workdir
        text = self._instructions(
            list(tools),
            workdir,
            caller=request.instructions,
            session_prompt=session.system_prompt,
            skip_context_files=request.skip_context_files,
            known=known,
            has_marks=_takes_marks(model),
        )
        reads = bool(tools) and not request.skip_context_files
        gate = self.make_gate(desk)
        return Turn(
            run_id=run_id,
            session_id=session.id,
            model=model,
            instructions=text,
            messages=with_answered_calls(messages),
            gate=gate if request.child_of is None else _InSession(gate, request.child_of.session_id),
            clock=self.clock,
            context=self._contexts(run_id, session, request, workdir),
            tools=shown.tools,
            shortlist=shown,
            client_tools=request.client_tools,
            tool_choice=request.tool_choice,
            params=request.params,
            limits=narrower(self.limits, request.limits),
            ask=request.ask,
            steering=steering,
            used=used or Usage(),
            open_step=open_step,
            redactor=self.redactor,
            marks_results=bool(tools) and _takes_marks(model),
            doubts=prompt.doubts(workdir, self.files) if reads else (),
            is_kept=request.history is None and not request.is_stateless,
            compaction=self.compaction,
            summaries=self.summaries if request.history is None else self.recent_summaries,
        )

    def _instructions(
        self,
        tool_names: Sequence[str],
        workdir: Path,
        *,
        caller: str = "",
        session_prompt: str | None = None,
        skip_context_files: bool = False,
        known: Sequence[str] = (),
        has_marks: bool = True,
    ) -> str:
        reads = bool(tool_names) and not skip_context_files
        return prompt.instructions(
            soul=self.files.read(self.soul_file) if self.soul_file else None,
            workdir=workdir,
            tool_names=tool_names,
            caller=caller,
            session_prompt=session_prompt,
            now=self.clock.now(),
            context_files=prompt.read_context_files(workdir, self.files) if reads else (),
            known=known,
            has_marks=has_marks,
        )

    def _for(self, model: Model | None, tools: Mapping[str, Tool], wanted: tuple[str, ...] | None) -> dict[str, Tool]:
        """The built-in model gets terminal, files and the tools of others; of ours the rest only where somebody named
        their toolsets: they are for work of many steps, and it would call them for any (DESIGN 6)."""
        if model is None or model.provider != EMBEDDED or self.toolsets is not None or wanted is not None:
            return dict(tools)
        return {name: tool for name, tool in tools.items() if name not in TOOLS or name in FOR_EMBEDDED}

    def _known(
        self,
        tools: Mapping[str, Tool],
        model: Model | None,
        session_id: str | None,
        owner: str,
        session_key: str | None,
        *,
        reads_memory: bool,
    ) -> list[str]:
        """The skills and what is remembered, each for whoever has the tool, and what is remembered for those who may
        read it without. The built-in model is not offered the one for skills (`models/embedded/offer.py`)."""
        known = []
        if self.skills is not None and SKILL_VIEW in tools and (model is None or model.provider != EMBEDDED):
            known.append(self.skills.text(session_id))
        if self.memory is not None and (MEMORY in tools or reads_memory):
            known.append(self.memory.text(session_id, owner, session_key))
        return known

    def _contexts(
        self, run_id: str, session: Session, request: RunRequest, workdir: Path
    ) -> Callable[[str], ToolContext]:
        environment = self.environment

        def context(tool_call_id: str) -> ToolContext:
            return ToolContext(
                session_id=session.id,
                run_id=run_id,
                tool_call_id=tool_call_id,
                workdir=workdir,
                home=self.home,
                clock=self.clock,
                environment=environment,
                state=self.session_states.setdefault(session.id, {}),
                session_key=request.session_key or session.session_key,
                owner=session.owner,
            )

        return context


def _takes_marks(model: Model | None) -> bool:
    """The built-in model knows results by the words around them in its examples; more marks only confuse it."""
    return model is None or model.provider != EMBEDDED


class _InSession:
    """A gate in front of a run that another one delegated: what was allowed in the parent's session is allowed in it,
    and the other way round."""

    def __init__(self, gate: ApprovalGate, session_id: str) -> None:
        self._gate = gate
        self._session_id = session_id

    async def check(
        self,
        *,
        tool: str,
        tool_call_id: str,
        action: Action,
        run_id: str,
        session_id: str,
        ask: Ask,
        account: Account | None = None,
    ) -> object:
        return await self._gate.check(
            tool=tool,
            tool_call_id=tool_call_id,
            action=action,
            run_id=run_id,
            session_id=self._session_id,
            ask=ask,
            account=account,
        )


def narrower(first: Limits, second: Limits) -> Limits:
    """The smaller of each limit: a request can tighten what the home allows, never widen it."""

    def least(a: float | None, b: float | None) -> Any:
        return min((value for value in (a, b) if value is not None), default=None)

    return Limits(
        max_steps=least(first.max_steps, second.max_steps),
        max_tokens=least(first.max_tokens, second.max_tokens),
        max_seconds=least(first.max_seconds, second.max_seconds),
        max_usd=least(first.max_usd, second.max_usd),
    )
