"""What a profile's agent remembers (hermes.home.memory), as a person sees it and changes it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from hermes.core.errors import InvalidInput
from hermes.home.edit import change_settings
from hermes.home.memory import Change, Memories, Memory, MemoryLimits, Target, previews
from hermes.home.paths import Home
from hermes.home.sections import MemorySettings
from hermes.home.settings import load_settings
from hermeslink.core.caller import Caller
from hermeslink.profiles.files import ProfileFiles, without_paths

BUILT_IN = "built-in"
PROVIDERS = (BUILT_IN,)
"""Who can keep memory: the two files are all that there is."""

E = TypeVar("E", bound=StrEnum)

ID_PREFIX = "mem_"


class Reach(StrEnum):
    """What is forgotten at once."""

    MEMORY = "memory"
    USER = "user"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Entry:
    """`id` is made of what it says: it stays for as long as that does."""

    id: str
    content: str


@dataclass(frozen=True, slots=True)
class Store:
    memory: Memory
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ProfileMemory:
    """`stores`: USER.md first."""

    profile: str
    directory: Path
    stores: tuple[Store, ...]
    settings: MemorySettings


class ProfileMemories:
    """The files of the owner. A person may change what is switched off for the agent, too.

    Errors are InvalidInput with a code of the contract, and those of `ProfileFiles`.
    """

    def __init__(self, files: ProfileFiles) -> None:
        self._files = files

    async def show(self, profile: str) -> ProfileMemory:
        return await self._files.read(profile, _shown)

    async def add(self, caller: Caller, profile: str, target: object, content: str | None) -> ProfileMemory:
        return await self._change(caller, profile, "memory.added", target, Change("add", _content(content)))

    async def replace(
        self, caller: Caller, profile: str, target: object, match: str | None, content: str | None
    ) -> ProfileMemory:
        """`match`: an entry's id, or a part of the one entry that is meant."""
        change = Change("replace", _content(content), _match(match))
        return await self._change(caller, profile, "memory.changed", target, change)

    async def remove(self, caller: Caller, profile: str, target: object, match: str | None) -> ProfileMemory:
        change = Change("remove", old_text=_match(match))
        return await self._change(caller, profile, "memory.removed", target, change)

    async def reset(self, caller: Caller, profile: str, target: object) -> ProfileMemory:
        reach = _one_of(Reach, target)
        targets = list(Target) if reach is Reach.ALL else [Target(reach)]

        def forget(home: Home) -> ProfileMemory:
            memories = _memories(home, _settings(home))
            for one in targets:
                memories.reset(one)
            return _shown(home)

        return await self._files.change(caller, profile, "memory.reset", forget, {"target": reach.value})

    async def change_settings(
        self, caller: Caller, profile: str, changes: Mapping[str, bool | int | None]
    ) -> ProfileMemory:
        """By the names of `MemorySettings`; None takes a setting back to what it is without one. Raises InvalidInput
        `memory_settings_update_empty`."""
        if not changes:
            raise InvalidInput(
                f"say what to change: {', '.join(MemorySettings.model_fields)}", code="memory_settings_update_empty"
            )

        def work(home: Home) -> ProfileMemory:
            change_settings(home, {f"memory.{name}": value for name, value in changes.items()})
            return _shown(home)

        return await self._files.change(caller, profile, "memory.settings_changed", work, changes)

    async def change_provider_settings(
        self, caller: Caller, profile: str, provider: str, changes: Mapping[str, bool | int | None]
    ) -> ProfileMemory:
        """The files have no others than memory has."""
        await self.choose_provider(profile, provider)
        return await self.change_settings(caller, profile, changes)

    async def choose_provider(self, profile: str, provider: object) -> ProfileMemory:
        """Raises InvalidInput `memory_provider_unknown`."""
        shown = await self.show(profile)
        if provider not in PROVIDERS:
            raise InvalidInput(
                f"there is no such provider of memory here; there is: {', '.join(PROVIDERS)}",
                code="memory_provider_unknown",
                param="provider",
            )
        return shown

    async def _change(self, caller: Caller, profile: str, action: str, target: object, change: Change) -> ProfileMemory:
        wanted = _one_of(Target, target)

        def work(home: Home) -> ProfileMemory:
            _changed(home, wanted, change)
            return _shown(home)

        return await self._files.change(caller, profile, action, work, {"target": wanted.value})


def entries_of(target: Target, entries: Sequence[str]) -> tuple[Entry, ...]:
    """One that was written twice by hand has two ids."""
    seen: Counter[str] = Counter()
    found = []
    for content in entries:
        seen[content] += 1
        told = f"{target}\0{seen[content]}\0{content}".encode("utf-8", "surrogatepass")
        found.append(Entry(ID_PREFIX + hashlib.sha256(told).hexdigest()[:32], content))
    return tuple(found)


def _changed(home: Home, target: Target, change: Change) -> None:
    memories = _memories(home, _settings(home))
    before = memories.read(target)
    named = [entry.content for entry in entries_of(target, before.entries) if entry.id == change.old_text]
    if named:
        change = Change(change.action, change.content, named[0])
    try:
        memories.change(target, [change])
    except InvalidInput as error:
        raise InvalidInput(_said(error, before, home), code=error.code, param=_PARAMS.get(error.param or "")) from error


def _said(error: InvalidInput, before: Memory, home: Home) -> str:
    """What the agent is told of itself speaks of the arguments of its tool."""
    name = before.path.name
    match error.code:
        case "memory_limit_exceeded":
            return (
                f"{name} is full: this would pass its limit of {before.limit:,} characters ({before.characters:,} are "
                "used). Shorten or delete an entry, or raise the limit in the memory settings."
            )
        case "memory_entry_not_found":
            return f"no entry of {name} holds that text or has that id. {previews(before.entries)}"
        case "memory_content_refused" if "parts entries" in error.message:
            return "a line of a single § parts entries: add each of them by itself"
        case _:
            return without_paths(error.message, home)


_PARAMS: Mapping[str, str] = {"content": "content", "old_text": "match"}


def _shown(home: Home) -> ProfileMemory:
    settings = _settings(home)
    memories = _memories(home, settings)
    found = [memories.read(target) for target in (Target.USER, Target.MEMORY)]
    stores = tuple(Store(memory, entries_of(memory.target, memory.entries)) for memory in found)
    return ProfileMemory(home.name, memories.directory, stores, settings)


def _settings(home: Home) -> MemorySettings:
    """A wrong value elsewhere in the file hides no memory."""
    return load_settings(home, {}, is_lenient=True).memory


def _memories(home: Home, settings: MemorySettings) -> Memories:
    return Memories(home.memories_dir, MemoryLimits(settings.memory_char_limit, settings.user_char_limit))


def _content(content: str | None) -> str:
    if content is None or not content.strip():
        raise InvalidInput("say in content what is to be remembered", code="memory_content_required", param="content")
    return content


def _match(match: str | None) -> str:
    if match is None or not match.strip():
        raise InvalidInput(
            "say in match which entry is meant: its id, or a part of its text",
            code="memory_match_required",
            param="match",
        )
    return match.strip()


def _one_of(kind: type[E], target: object) -> E:
    found = next((one for one in kind if one == target), None)
    if found is None:
        raise InvalidInput(f"target is {' or '.join(kind)}", code="memory_invalid_target", param="target")
    return found
