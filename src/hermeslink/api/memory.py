"""What a profile's agent remembers, read and changed in its files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema

from hermes.home.sections import MOST_MEMORY_CHARACTERS
from hermeslink.api.bodies import Body, CamelAnswer, CamelView
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.core.times import iso
from hermeslink.profiles.memory import PROVIDERS, ProfileMemory, Store

router = APIRouter(prefix="/api/v1/profiles/{name}/memory", tags=["memory"])

NOTICE = (
    "Conversations that begin from now on are told. One that goes on keeps what it was told when it began, and the "
    "agent looks the rest up with its memory tool."
)
WORDS = {"memory": ("Notes", "What the agent noted for itself."), "user": ("You", "What it knows of who it works for.")}


class EntryView(CamelView):
    id: str
    content: str


class UsageView(CamelView):
    """In characters; what stands between entries counts."""

    chars: int
    limit: int
    percent: int


class StoreView(CamelView):
    """One file. `problem`: why it cannot be changed from here."""

    target: Literal["memory", "user"]
    label: str
    description: str
    file_name: str
    path: str
    exists: bool
    updated_at: str | None
    entries: list[EntryView]
    entry_count: int
    usage: UsageView
    problem: str | None

    @classmethod
    def of(cls, store: Store) -> StoreView:
        memory = store.memory
        label, description = WORDS[memory.target]
        return cls(
            target=memory.target.value,
            label=label,
            description=description,
            file_name=memory.path.name,
            path=str(memory.path),
            exists=memory.updated_at is not None,
            updated_at=None if memory.updated_at is None else iso(memory.updated_at),
            entries=[EntryView(id=entry.id, content=entry.content) for entry in store.entries],
            entry_count=len(store.entries),
            usage=UsageView(chars=memory.characters, limit=memory.limit, percent=memory.percent),
            problem=memory.problem or None,
        )


class SettingsView(CamelView):
    """`providers`: those that can be chosen. What is not enabled is not told to the agent; its file stays."""

    provider: str
    providers: list[str]
    memory_enabled: bool
    user_profile_enabled: bool
    memory_char_limit: int
    user_char_limit: int


class MemoryAnswer(CamelAnswer):
    profile_name: str
    memory_dir: str
    stores: list[StoreView]
    settings: SettingsView
    notice: str

    @classmethod
    def of(cls, memory: ProfileMemory) -> MemoryAnswer:
        return cls(
            profile_name=memory.profile,
            memory_dir=str(memory.directory),
            stores=[StoreView.of(store) for store in memory.stores],
            settings=SettingsView(
                provider=PROVIDERS[0], providers=list(PROVIDERS), **memory.settings.model_dump(include=_SHOWN)
            ),
            notice=NOTICE,
        )


_SHOWN = {"memory_enabled", "user_profile_enabled", "memory_char_limit", "user_char_limit"}

ATarget = Annotated[Any, WithJsonSchema({"type": "string", "enum": ["memory", "user"]})]
Text = Annotated[str | None, Field(max_length=2**19)]


class NewEntry(Body):
    target: ATarget = None
    content: Text = None


class EntryChange(NewEntry):
    """`match`: the entry's id, or a part of its text that no other has."""

    match: Text = None


class EntryRemoval(Body):
    target: ATarget = None
    match: Text = None


class Forgetting(Body):
    target: Annotated[Any, WithJsonSchema({"type": "string", "enum": ["memory", "user", "all"]})] = None


class SettingsChanges(Body):
    """What is sent is changed; null is the default again."""

    memory_enabled: bool | None = None
    user_profile_enabled: bool | None = None
    memory_char_limit: Annotated[int | None, Field(gt=0, le=MOST_MEMORY_CHARACTERS)] = None
    user_char_limit: Annotated[int | None, Field(gt=0, le=MOST_MEMORY_CHARACTERS)] = None


class ProviderChoice(Body):
    provider: Annotated[Any, WithJsonSchema({"type": "string", "enum": list(PROVIDERS)})] = None


@router.get("")
async def show_memory(link: TheLink, name: str) -> MemoryAnswer:
    """Both files with their entries, and how full they are."""
    return MemoryAnswer.of(await link.memories.show(name))


@router.post("/entries")
async def add_memory(link: TheLink, caller: TheCaller, name: str, body: NewEntry) -> MemoryAnswer:
    """Remember one more thing. What is known already is not kept twice."""
    return MemoryAnswer.of(await link.memories.add(caller, name, body.target, body.content))


@router.patch("/entries")
async def change_memory(link: TheLink, caller: TheCaller, name: str, body: EntryChange) -> MemoryAnswer:
    """Put another text in the place of an entry."""
    return MemoryAnswer.of(await link.memories.replace(caller, name, body.target, body.match, body.content))


@router.delete("/entries")
async def remove_memory(link: TheLink, caller: TheCaller, name: str, body: EntryRemoval) -> MemoryAnswer:
    """Forget one entry."""
    return MemoryAnswer.of(await link.memories.remove(caller, name, body.target, body.match))


@router.delete("")
async def reset_memory(link: TheLink, caller: TheCaller, name: str, body: Forgetting) -> MemoryAnswer:
    """Forget all of one file, or of both."""
    return MemoryAnswer.of(await link.memories.reset(caller, name, body.target))


@router.patch("/settings")
async def change_memory_settings(link: TheLink, caller: TheCaller, name: str, body: SettingsChanges) -> MemoryAnswer:
    """How much each file may hold, and whether the agent is told of it and may write to it."""
    changes = body.model_dump(exclude_unset=True)
    return MemoryAnswer.of(await link.memories.change_settings(caller, name, changes))


@router.patch("/provider")
async def choose_memory_provider(link: TheLink, name: str, body: ProviderChoice) -> MemoryAnswer:
    """Who keeps it. The two files are all that there is so far."""
    return MemoryAnswer.of(await link.memories.choose_provider(name, body.provider))


@router.patch("/providers/{provider}/settings")
async def change_memory_provider_settings(
    link: TheLink, caller: TheCaller, name: str, provider: str, body: SettingsChanges
) -> MemoryAnswer:
    """Those of the files are the settings of memory."""
    changes = body.model_dump(exclude_unset=True)
    return MemoryAnswer.of(await link.memories.change_provider_settings(caller, name, provider, changes))
