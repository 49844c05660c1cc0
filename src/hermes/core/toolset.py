"""The catalogue of toolsets: data that the agent, `hermes tools` and Link show alike.

Names and labels are the published ones. A toolset that is not in this build yet is not listed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Risk(StrEnum):
    READ = "read"
    WRITE = "write"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """`risk` READ runs side by side with others of a step; all others take turns.

    `is_own_words`: results are the server's own words or the person's. All others are shown to the model as text
    from outside (`core/untrusted.py`)."""

    name: str
    emoji: str
    label: str
    risk: Risk
    is_own_words: bool = False


@dataclass(frozen=True, slots=True)
class ToolsetInfo:
    """`is_default`: offered unless the configuration says otherwise."""

    name: str
    label: str
    description: str
    tools: tuple[ToolInfo, ...]
    is_default: bool = True


CATALOGUE: tuple[ToolsetInfo, ...] = (
    ToolsetInfo(
        "terminal",
        "Terminal",
        "Run shell commands and manage background processes",
        (
            ToolInfo("terminal", "💻", "Run a command", Risk.RUN),
            ToolInfo("process", "⚙️", "Manage a background process", Risk.RUN),
        ),
    ),
    ToolsetInfo(
        "file",
        "Files",
        "Read, write, edit and search files",
        (
            ToolInfo("read_file", "📖", "Read a file", Risk.READ),
            ToolInfo("write_file", "✍️", "Write a file", Risk.WRITE, is_own_words=True),
            ToolInfo("patch", "🔧", "Edit a file", Risk.WRITE),
            ToolInfo("search_files", "🔎", "Search files", Risk.READ),
        ),
    ),
    ToolsetInfo(
        "web",
        "Web",
        "Search the web and read its pages",
        (
            ToolInfo("web_search", "🔍", "Search the web", Risk.READ),
            ToolInfo("web_extract", "📄", "Read web pages", Risk.READ),
        ),
    ),
    ToolsetInfo(
        "memory",
        "Memory",
        "Remember facts and the person across sessions",
        (ToolInfo("memory", "🧠", "Remember", Risk.WRITE, is_own_words=True),),
    ),
    ToolsetInfo(
        "session_search",
        "Session search",
        "Search everything that was said in earlier sessions",
        (ToolInfo("session_search", "🕰️", "Search sessions", Risk.READ),),
    ),
    ToolsetInfo(
        "todo",
        "Todo",
        "Keep a list of things to do in the session",
        (ToolInfo("todo", "📋", "Plan", Risk.READ, is_own_words=True),),
    ),
    ToolsetInfo(
        "skills",
        "Skills",
        "Read and write down how things are done",
        (
            ToolInfo("skills_list", "📚", "List skills", Risk.READ, is_own_words=True),
            ToolInfo("skill_view", "📚", "Read a skill", Risk.READ, is_own_words=True),
            ToolInfo("skill_manage", "✏️", "Write a skill", Risk.WRITE, is_own_words=True),
        ),
    ),
    ToolsetInfo(
        "browser",
        "Browser",
        "Open pages in a browser, click and type",
        (
            ToolInfo("browser_navigate", "🌐", "Open a page", Risk.WRITE),
            ToolInfo("browser_snapshot", "📸", "Look at the page", Risk.WRITE),
            ToolInfo("browser_click", "👆", "Click", Risk.WRITE),
            ToolInfo("browser_type", "⌨️", "Type", Risk.WRITE),
            ToolInfo("browser_press", "⌨️", "Press a key", Risk.WRITE),
            ToolInfo("browser_scroll", "📜", "Scroll", Risk.WRITE),
            ToolInfo("browser_back", "◀️", "Go back", Risk.WRITE),
        ),
    ),
    ToolsetInfo(
        "delegation",
        "Delegation",
        "Give parts of the work to sub-agents",
        (ToolInfo("delegate_task", "👥", "Delegate", Risk.RUN),),
    ),
    ToolsetInfo(
        "cronjob",
        "Jobs",
        "Make and manage tasks that run at a time",
        (ToolInfo("cronjob", "⏰", "Jobs", Risk.WRITE, is_own_words=True),),
    ),
    ToolsetInfo(
        "clarify",
        "Clarify",
        "Ask the person a question in the middle of the work",
        (ToolInfo("clarify", "❓", "Ask", Risk.READ, is_own_words=True),),
    ),
    ToolsetInfo(
        "code_execution",
        "Code execution",
        "Run Python in a sandbox without files and network",
        (ToolInfo("execute_code", "🐍", "Run code", Risk.RUN),),
    ),
    ToolsetInfo(
        "vision",
        "Vision",
        "Look at pictures",
        (ToolInfo("vision_analyze", "👁️", "Look at a picture", Risk.READ),),
    ),
    ToolsetInfo(
        "image_gen",
        "Image generation",
        "Make pictures",
        (ToolInfo("image_generate", "🎨", "Make a picture", Risk.WRITE),),
    ),
    ToolsetInfo(
        "stt",
        "Speech to text",
        "Write down what is said in a recording",
        (ToolInfo("speech_to_text", "👂", "Listen to a recording", Risk.READ),),
    ),
    ToolsetInfo(
        "tts",
        "Text to speech",
        "Speak a text into a file",
        (ToolInfo("text_to_speech", "🔊", "Speak", Risk.WRITE),),
    ),
    ToolsetInfo(
        "homeassistant",
        "Home Assistant",
        "See and switch what is in the home",
        (
            ToolInfo("ha_list_entities", "🏠", "List things of the home", Risk.READ),
            ToolInfo("ha_get_state", "🏠", "Look at a thing of the home", Risk.READ),
            ToolInfo("ha_list_services", "🏠", "List what can be done", Risk.READ),
            ToolInfo("ha_call_service", "🏠", "Switch something", Risk.RUN),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class CompositeInfo:
    """One name for several toolsets. Those of `members` that are in this build and work here are what it gives; the
    others are simply absent. Of those in `reads` it gives no tool, only what they tell a model unasked."""

    name: str
    label: str
    description: str
    members: tuple[str, ...]
    reads: tuple[str, ...] = ()

    @property
    def tools(self) -> tuple[ToolInfo, ...]:
        return tuple(tool for name in self.members if name in TOOLSETS for tool in TOOLSETS[name].tools)


SAFE = CompositeInfo(
    "safe",
    "Safe",
    "Web, vision, todo, clarify, and memory to read: nothing that writes or runs",
    members=("web", "vision", "todo", "clarify"),
    reads=("memory",),
)
COMPOSITES: dict[str, CompositeInfo] = {SAFE.name: SAFE}

MCP_PREFIX = "mcp-"
"""Before the name of an MCP server, for the toolset that its tools are in."""

TOOLSETS: dict[str, ToolsetInfo] = {toolset.name: toolset for toolset in CATALOGUE}
TOOLS: dict[str, ToolInfo] = {tool.name: tool for toolset in CATALOGUE for tool in toolset.tools}
TOOL_SEARCH = ToolInfo("tool_search", "🧰", "Find a tool", Risk.READ, is_own_words=True)
"""Of no toolset: a run has it when not all of its tools are shown to the model at once."""


def info_of(tool: str) -> ToolInfo | None:
    """None for a tool that is not of this build: a client's, an MCP server's."""
    return TOOL_SEARCH if tool == TOOL_SEARCH.name else TOOLS.get(tool)


def expanded(names: Collection[str]) -> tuple[str, ...]:
    """With the members of each composite in its place, whether they are in this build or not."""
    members = (COMPOSITES[name].members if name in COMPOSITES else (name,) for name in names)
    return tuple(dict.fromkeys(one for several in members for one in several))


def enabled(chosen: Collection[str] | None) -> tuple[str, ...]:
    """The toolsets of the catalogue that a configuration switches on (None: it says nothing), and the composites that
    have a member among them."""
    names = None if chosen is None else expanded(chosen)
    on = [name for name, info in TOOLSETS.items() if (info.is_default if names is None else name in names)]
    return (*on, *(name for name, composite in COMPOSITES.items() if set(composite.members) & set(on)))


def beyond(asked: Collection[str], allowed: Collection[str] | None) -> tuple[str, ...]:
    """What the composites in `asked` would give beyond `allowed` (None: all is). Who names a composite means what of
    it is there; whoever names a toolset itself has been checked for that."""
    if allowed is None:
        return ()
    composites = [COMPOSITES[name] for name in asked if name in COMPOSITES]
    meant = {name for composite in composites for name in (*composite.members, *composite.reads)}
    there = {*expanded(allowed), *asked, *(name for name in meant if is_read(name, allowed))}
    return tuple(name for name in TOOLSETS if name in meant - there)


def is_read(name: str, chosen: Collection[str] | None) -> bool:
    """Whether a composite in `chosen` gives the toolset to read."""
    return any(name in COMPOSITES[one].reads for one in chosen or () if one in COMPOSITES)
