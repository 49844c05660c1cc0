"""What a home can be told, and how the three places it is told in become one value.

The environment beats .env, .env beats config.yaml, config.yaml beats the defaults of `sections`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field, PrivateAttr

from hermes.core.errors import ConfigError
from hermes.core.redact import is_secret_name
from hermes.core.toolset import MCP_PREFIX, TOOLSETS
from hermes.home.config_file import read_config
from hermes.home.env import env_problems, read_env
from hermes.home.paths import Home
from hermes.home.sections import (
    ApiServerSettings,
    ApprovalSettings,
    BrowserSettings,
    CodeExecutionSettings,
    CommaList,
    CompressionSettings,
    DatabaseSettings,
    DelegationSettings,
    EndpointSettings,
    FileSettings,
    HomeAssistantSettings,
    ImageGenSettings,
    JobSettings,
    LimitSettings,
    LoggingSettings,
    MemorySettings,
    ModelSettings,
    NamedModel,
    NamedServer,
    ResponsesSettings,
    RetentionSettings,
    Section,
    ServerName,
    SkillSettings,
    StreamingSettings,
    SttSettings,
    TerminalSettings,
    TtsSettings,
    UploadSettings,
    VisionSettings,
    WebSettings,
)

FileStamp = tuple[int, int, int]
"""When it was changed (ns), its inode and size."""
Stamp = tuple[FileStamp | None, FileStamp | None]
""".env and config.yaml; None: it is not there."""


class Settings(Section):
    """`load_settings` makes it."""

    model_config = ConfigDict(defer_build=False)

    model: NamedModel = Field(default_factory=ModelSettings, description="The language model that answers.")
    fallback_models: list[NamedModel] = Field(
        [],
        description="Models asked in this order when the first fails before it said anything: names, or mappings "
        "like model.",
    )
    model_routes: dict[str, NamedModel] = Field(
        {}, description="Names that a request's model may have, each with a mapping like model."
    )
    direct_model_requests: bool = Field(
        False, description="Whether a request's model names the provider's model. Otherwise it is only echoed."
    )
    toolsets: CommaList | None = Field(
        None, description="The toolsets the agent has. Unset: all that are on by default."
    )
    platform_toolsets: dict[str, CommaList] = Field(
        {}, description="Toolsets for one way in, such as api_server: [file]. Beats toolsets."
    )
    mcp_enabled: bool = Field(
        True, description="Whether the agent gets the tools of MCP servers. They stay connected without, too."
    )
    approvals: ApprovalSettings = Field(
        default_factory=ApprovalSettings, description="Who is asked before something dangerous."
    )
    command_allowlist: list[str] = Field([], description="Patterns that were allowed for always.")
    terminal: TerminalSettings = Field(default_factory=TerminalSettings, description="How commands run.")
    code_execution: CodeExecutionSettings = Field(
        default_factory=CodeExecutionSettings, description="Python that the agent runs in a sandbox (execute_code)."
    )
    file: FileSettings = Field(default_factory=FileSettings, description="What the file tools may reach.")
    web: WebSettings = Field(default_factory=WebSettings, description="How the web is searched and read.")
    browser: BrowserSettings = Field(
        default_factory=BrowserSettings, description="The browser, where one is installed (extra browser)."
    )
    memory: MemorySettings = Field(
        default_factory=MemorySettings, description="What the agent remembers across sessions."
    )
    skills: SkillSettings = Field(default_factory=SkillSettings, description="What the agent can look up.")
    delegation: DelegationSettings = Field(
        default_factory=DelegationSettings, description="Sub-agents that a run gives work to."
    )
    compression: CompressionSettings = Field(
        default_factory=CompressionSettings, description="What a model is shown of a history that outgrew its window."
    )
    vision: VisionSettings = Field(default_factory=VisionSettings, description="Who looks at pictures.")
    image_gen: ImageGenSettings = Field(default_factory=ImageGenSettings, description="Who makes pictures.")
    stt: SttSettings = Field(default_factory=SttSettings, description="Who writes down what is said.")
    tts: TtsSettings = Field(default_factory=TtsSettings, description="Who speaks.")
    homeassistant: HomeAssistantSettings = Field(
        default_factory=HomeAssistantSettings, description="The home that the agent may look after."
    )
    mcp_servers: dict[ServerName, NamedServer] = Field(
        {},
        description="MCP servers, whose tools the agent gets as the toolsets mcp-NAME.",
    )
    api_server: ApiServerSettings = Field(
        default_factory=ApiServerSettings,
        description="The HTTP API. gateway.api_server and platforms.api_server mean the same.",
    )
    streaming: StreamingSettings = Field(default_factory=StreamingSettings, description="How chats are streamed.")
    responses: ResponsesSettings = Field(default_factory=ResponsesSettings, description="The /v1/responses API.")
    uploads: UploadSettings = Field(default_factory=UploadSettings, description="Files that clients upload.")
    jobs: JobSettings = Field(default_factory=JobSettings, description="Jobs that run at a time.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="Where a run ends at the latest.")
    database: DatabaseSettings = Field(
        default_factory=DatabaseSettings, description="Where sessions and runs are kept."
    )
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="How long what is kept is kept; looked at every hour."
    )
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="What is logged.")

    _environ: dict[str, str] = PrivateAttr(default_factory=dict)
    _problems: list[str] = PrivateAttr(default_factory=list)
    _notes: list[str] = PrivateAttr(default_factory=list)
    _errors: list[str] = PrivateAttr(default_factory=list)
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _stamp: Stamp | None = PrivateAttr(None)

    def toolsets_for(self, platform: str) -> list[str] | None:
        """The toolsets and composites of one way in; None: all that are on by default, and those of MCP servers."""
        named = self.platform_toolsets.get(platform, self.toolsets)
        if self.mcp_enabled:
            return named
        names = [name for name, info in TOOLSETS.items() if info.is_default] if named is None else named
        return [name for name in names if not name.startswith(MCP_PREFIX)]

    @property
    def environ(self) -> dict[str, str]:
        """The environment over .env: where keys of providers are looked up. Never what a child process gets."""
        return self._environ

    @property
    def problems(self) -> list[str]:
        """All that is unknown, wrong or too open, one sentence each, with its file and its name."""
        return [*self._errors, *self._problems]

    @property
    def notes(self) -> list[str]:
        """What is accepted and does nothing."""
        return self._notes

    @property
    def errors(self) -> list[str]:
        """The wrong values among the problems; they were left out, and the gateway does not start with them."""
        return self._errors

    @property
    def sources(self) -> dict[str, str]:
        """Dotted name → environment, .env or config.yaml, for what is set."""
        return self._sources

    @property
    def stamp(self) -> Stamp | None:
        """Of the files when the reading began; None where nothing was read."""
        return self._stamp


def stamp_of(env_file: Path | str, config_file: Path | str) -> Stamp:
    """Changes when a file of the settings does. Two looks at the disk."""
    return _stamp_of_file(env_file), _stamp_of_file(config_file)


def _stamp_of_file(path: Path | str) -> FileStamp | None:
    try:
        found = os.stat(path)  # noqa: PTH116 half the time of Path.stat, at each run
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def load_settings(home: Home, environ: Mapping[str, str] | None = None, *, is_lenient: bool = False) -> Settings:
    """Raises `ConfigError` for a wrong value: its default may be less safe than what was meant.

    Unknown names stop nothing; they are in `problems`. `is_lenient` leaves wrong values out instead, for commands
    that show or mend the configuration. A home that does not exist has default settings.
    """
    from hermes.home.reading import Reading

    reading, stamp = Reading(), stamp_of(home.env_file, home.config_file)
    environment = os.environ if environ is None else environ
    try:
        reading.add_config(read_config(home.config_file))
    except ConfigError as exc:
        reading.errors.append(exc.message)
    dotenv: dict[str, str] = {}
    try:
        dotenv = read_env(home.env_file)
        reading.problems.extend(env_problems(home.env_file))
    except ConfigError as exc:
        reading.errors.append(exc.message)
    reading.add_environment(dotenv, ".env")
    set_outside = {name: value for name, value in environment.items() if value.strip()}
    reading.add_environment(set_outside, "environment")
    settings = reading.settings()
    reading.problems.extend(home.too_open())
    settings._environ.update({**dotenv, **set_outside})
    settings._problems.extend(reading.problems)
    settings._notes.extend(reading.notes)
    settings._errors.extend(reading.errors)
    settings._sources.update(reading.sources)
    settings._stamp = stamp
    if reading.errors and not is_lenient:
        check = f"{home.command} config check"
        raise ConfigError("\n".join([*reading.errors, f"see also: {check}"]))
    return settings


def secret_values(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Every value that must not leave: what the settings mark as secret, and variables with a secret's name."""
    found = {value for name, value in environ.items() if is_secret_name(name) and len(value) >= 8}
    models = [settings.model, *settings.fallback_models, *settings.model_routes.values()]
    endpoints: list[EndpointSettings] = [settings.vision, settings.image_gen, settings.stt, settings.tts]
    keyed: list[ModelSettings | EndpointSettings] = [*models, *endpoints]
    api = settings.api_server
    found |= {value for value in (api.key, api.callback_secret, settings.database.url) if value}
    found |= {one.api_key for one in keyed if one.api_key}
    found |= {environ[one.key_env] for one in keyed if one.key_env and environ.get(one.key_env)}
    found |= {token for token in (settings.homeassistant.token,) if token}
    for server in settings.mcp_servers.values():
        given = {**server.env, **server.headers}
        found |= {value for name, value in given.items() if is_secret_name(name) and "${" not in value}
    return sorted(found)
