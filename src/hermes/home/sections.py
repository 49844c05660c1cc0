"""The sections of `Settings`, each with types and defaults. `docs/reference/settings.md` is made from them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hermes.core.reasoning import Effort

SECRET: dict[str, Any] = {"secret": True}


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _named(value: object) -> object:
    """A model may be given by its name alone, and some configurations call the name `model`."""
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, dict) and "model" in value and "default" not in value:
        return {"default" if key == "model" else key: inner for key, inner in value.items()}
    return value


def _off(value: object) -> object:
    """YAML of old turns a bare `off` into false."""
    return "off" if value is False else value


def _web_address(value: str) -> str:
    if re.match(r"https?://[^/?#\s]", value) is None:
        raise ValueError("an address that starts with http:// or https://")
    return value.rstrip("/")


def _texts(value: object) -> object:
    """Numbers and yes/no are meant as text where every value is one: a port in an environment."""
    if not isinstance(value, dict):
        return value
    words = {True: "true", False: "false"}
    return {
        key: words[inner] if isinstance(inner, bool) else str(inner) if isinstance(inner, int | float) else inner
        for key, inner in value.items()
    }


def _trust(value: object) -> object:
    return {True: "all", False: "ask"}[value] if isinstance(value, bool) else value


def _transport(value: object) -> object:
    """As other programs that read such a list write it."""
    known = {"streamable-http": "http", "streamable_http": "http", "streamableHttp": "http", "local": "stdio"}
    return known.get(value, value) if isinstance(value, str) else value


def _as_elsewhere(value: object) -> object:
    """Lists of servers of other programs say `type` and `disabled`."""
    if not isinstance(value, dict):
        return value
    given = dict(value)
    if "type" in given:
        given.setdefault("transport", given.pop("type"))
    if isinstance(given.get("disabled"), bool):
        given.setdefault("enabled", not given.pop("disabled"))
    return given


def _server_name(value: str) -> str:
    if SERVER_NAME.fullmatch(value) is None:
        raise ValueError("a name of up to 48 letters, digits, dots, _ and -")
    return value


def _zone_name(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (KeyError, ValueError, OSError):  # unknown, no name, a directory such as Europe
        raise ValueError("a name of the IANA list of time zones, such as Europe/Berlin") from None


def _stripped(value: str | None) -> str | None:
    return None if value is None else value.strip()


CommaList = Annotated[list[str], BeforeValidator(_split), Field(json_schema_extra={"commas": True})]
Address = Annotated[str, AfterValidator(_web_address)]
ServerName = Annotated[str, AfterValidator(_server_name)]
Texts = Annotated[dict[str, str], BeforeValidator(_texts), Field(repr=False)]
SERVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
"""What an MCP server may be called."""
Secret = Annotated[str | None, AfterValidator(_stripped), Field(repr=False, json_schema_extra=SECRET)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, defer_build=True)


class ModelSettings(Section):
    default: str | None = Field(
        None, description="Name of the model, as its provider calls it; alone it may be a name in model_routes."
    )
    provider: str | None = Field(
        None, description="Who serves it: openai, anthropic, openrouter, ollama, … or custom with a base_url."
    )
    base_url: Address | None = Field(None, description="Address of an OpenAI-compatible server, up to /v1.")
    api_key: Secret = Field(None, description="The provider's key. Better kept in .env: see key_env.")
    key_env: str | None = Field(None, description="Name of the variable in .env that holds the provider's key.")
    context_length: int | None = Field(None, gt=0, description="Tokens the model takes, where it does not say so.")
    reasoning_effort: Effort | None = Field(
        None, description="How much it thinks before it answers, unless the request says so. Unset: as it likes."
    )
    api_mode: Literal["chat_completions", "anthropic_messages"] | None = Field(
        None,
        description="Which API is spoken at base_url: OpenAI's chat completions, or Anthropic's messages (extra "
        "providers). Unset: the provider's own where it has one and its extra is there, else chat completions.",
    )


NamedModel = Annotated[ModelSettings, BeforeValidator(_named)]


class ApprovalSettings(Section):
    mode: Annotated[Literal["manual", "smart", "off"], BeforeValidator(_off)] = Field(
        "manual",
        description="manual asks before each dangerous command. smart lets a model judge it first, and asks when that "
        "is not sure. off never asks; what is blocked stays blocked.",
    )
    timeout: float = Field(60, gt=0, description="Seconds to wait for an answer. No answer is a no.")
    cron_mode: Literal["deny", "approve"] = Field(
        "deny", description="What a job does when it would have to ask: nobody is there."
    )
    deny: list[str] = Field([], description="Patterns (* and ?) of commands that are never run, whatever the mode.")
    model: str | None = Field(None, description="The model that judges in the mode smart. Unset: the one that answers.")


class BubblewrapSettings(Section):
    network: bool = Field(False, description="Whether commands in the sandbox have the network of this machine.")
    binds: list[str] = Field([], description="Directories that they may write beside the working directory.")


class DockerSettings(Section):
    image: str = Field(
        "python:3.12-slim-bookworm", min_length=1, description="What containers are made of; python3 has to be in it."
    )
    network: bool = Field(False, description="Whether containers have a network.")
    memory: str | None = Field(
        None, pattern=r"^\d+[bkmgBKMG]?$", description="What a container may take of the memory, such as 2g."
    )
    mount: bool = Field(
        True, description="Whether the working directory is the container's too. Without it there are no file tools."
    )


class SshSettings(Section):
    host: str | None = Field(None, pattern=r"^[^-\s]\S*$", description="Name or address, or a host of ~/.ssh/config.")
    user: str | None = Field(None, pattern=r"^[^-\s]\S*$", description="Whom to log in as. Unset: what ssh says.")
    port: int | None = Field(None, ge=1, le=65535, description="Unset: what ssh says.")
    key_file: str | None = Field(
        None, description="File of the private key; it has no passphrase, or an agent holds it. Unset: ssh's own."
    )
    known_hosts: str | None = Field(None, description="File with the key of the host. Unset: ssh's own.")
    cwd: str | None = Field(
        None, description="Directory over there that sessions start in. Unset: where a login starts."
    )


class TerminalSettings(Section):
    backend: Literal["local", "bubblewrap", "docker", "ssh"] = Field(
        "local",
        description="Where commands run: on this machine, in a sandbox of it, in a container, on another machine.",
    )
    bubblewrap: BubblewrapSettings = Field(default_factory=BubblewrapSettings, description="The sandbox.")
    docker: DockerSettings = Field(default_factory=DockerSettings, description="The containers.")
    ssh: SshSettings = Field(default_factory=SshSettings, description="The other machine.")
    cwd: str | None = Field(
        None, description="Directory that sessions start in. Unset: the one the gateway was started in."
    )
    timeout: float = Field(180, gt=0, description="Seconds a command may take unless the call says otherwise.")
    max_timeout: float = Field(1800, gt=0, description="Seconds that a call may ask for at most.")
    output_characters: int = Field(
        30_000, gt=0, description="What the model sees of one output; the rest is kept on disk."
    )
    max_processes: int = Field(16, gt=0, description="Background processes of one session.")
    shell: str | None = Field(None, description="The shell that runs commands. Unset: bash, or sh where it is missing.")
    env_passthrough: CommaList = Field(
        [], description="Variables that commands get although their names look like a secret's."
    )


class CodeExecutionSettings(Section):
    timeout: float = Field(30, gt=0, le=600, description="Seconds that the code of one call may run.")
    memory_mb: int = Field(256, ge=16, le=2048, description="What it may take of the memory, in MiB.")
    max_calls: int = Field(50, ge=0, description="Tools that one call's code may call.")


class FileSettings(Section):
    roots: list[str] = Field(
        [], description="Directories that the file tools keep to. None: everywhere but files that hold secrets."
    )


class WebSettings(Section):
    search_backend: str = Field(
        "auto",
        min_length=1,
        description="Search engines that are asked, with commas between, as the library ddgs calls them; auto: any. "
        "None of them needs a key.",
    )
    searxng_url: Address | None = Field(None, description="A SearXNG of your own, which is asked instead of those.")
    region: str = Field(
        "us-en", pattern="^[a-z]{2}-[a-z]{2,3}$", description="Country and language of the search, such as de-de."
    )
    max_results: int = Field(8, gt=0, le=50, description="Results of one search.")
    timeout: float = Field(20, gt=0, description="Seconds that one search, or one page, may take.")
    max_mb: float = Field(10, gt=0, le=100, description="What is read of one page or document, in MiB.")
    output_characters: int = Field(
        30_000, gt=0, description="What the model sees of all pages of one call; it can go on from there."
    )
    allow_private_hosts: CommaList = Field(
        [],
        description="Hosts (host or host:port) of your own network that the web and browser tools may ask; every other "
        "address must be public.",
    )


class BrowserSettings(Section):
    executable: str | None = Field(
        None, description="Path of the Chromium to use. Unset: the one on PATH, else playwright's own."
    )
    headless: bool = Field(True, description="Without a window; false needs a display.")
    sandbox: bool = Field(
        True, description="Chromium's own sandbox around pages. Some containers cannot make it; root never has it."
    )
    timeout: float = Field(30, gt=0, description="Seconds that one action may take.")
    idle_timeout: float = Field(600, gt=0, description="Seconds until a page that nobody uses is closed.")
    output_characters: int = Field(
        12_000, gt=0, description="What the model sees of a page at once; it can go on from there."
    )


MOST_MEMORY_CHARACTERS = 20_000


class MemorySettings(Section):
    memory_enabled: bool = Field(True, description="Whether the agent keeps notes of its own (memories/MEMORY.md).")
    user_profile_enabled: bool = Field(
        True, description="Whether the agent remembers who it works for (memories/USER.md)."
    )
    memory_char_limit: int = Field(2_200, gt=0, le=MOST_MEMORY_CHARACTERS, description="Characters of MEMORY.md.")
    user_char_limit: int = Field(1_375, gt=0, le=MOST_MEMORY_CHARACTERS, description="Characters of USER.md.")


class SkillSettings(Section):
    disabled: CommaList = Field([], description="Names of skills that the agent is not told of.")


class DelegationSettings(Section):
    max_children: int = Field(
        3, gt=0, le=32, description="Sub-agents of one run that work at once; more wait for these."
    )
    max_steps: int = Field(50, gt=0, description="Calls of the model that a sub-agent may make.")
    model: str | None = Field(None, description="Model of the sub-agents: a name in model_routes. Unset: the run's.")


class CompressionSettings(Section):
    enabled: bool = Field(
        True,
        description="Whether a history that outgrows the model's window is shown to it in short. It is kept whole.",
    )
    threshold: float = Field(0.75, gt=0.1, le=0.95, description="The share of the window at which that begins.")
    model: str | None = Field(
        None, description="Which model writes the record of what was said. Unset: the one that is asked."
    )


class McpToolSettings(Section):
    include: CommaList = Field([], description="Globs of the server's tools that the agent may have. None: all.")
    exclude: CommaList = Field([], description="Globs of tools that it may not have.")


class McpServerSettings(Section):
    command: str | None = Field(None, description="Program to start, for a server that talks over stdio.")
    args: list[str] = Field([], description="Its arguments.")
    env: Texts = Field(
        default_factory=dict,
        description="Its environment, besides what any command gets. ${NAME} is looked up in .env.",
    )
    cwd: str | None = Field(None, description="Directory it starts in. Unset: the agent's.")
    url: str | None = Field(None, description="Address, for a server that is reached over HTTP.")
    headers: Texts = Field(default_factory=dict, description="Headers of each request. ${NAME} is looked up in .env.")
    transport: Annotated[Literal["stdio", "http", "sse"], BeforeValidator(_transport)] | None = Field(
        None,
        description="Unset: stdio with a command, http with a url; sse for servers of the older kind.",
    )
    enabled: bool = Field(True, description="Whether it is connected at all.")
    timeout: float = Field(120, gt=0, description="Seconds a call may take.")
    connect_timeout: float = Field(60, gt=0, description="Seconds it may take to start and to list its tools.")
    tools: McpToolSettings = Field(default_factory=McpToolSettings, description="Which of its tools the agent gets.")
    trust: Annotated[Literal["ask", "read_only", "all"], BeforeValidator(_trust)] = Field(
        "ask",
        description="Whose calls need no approval: ask asks for each tool, read_only believes the server which of its "
        "tools only read, all (or true) never asks.",
    )


NamedServer = Annotated[McpServerSettings, BeforeValidator(_as_elsewhere)]


class ApiServerSettings(Section):
    enabled: bool | None = Field(
        None, description="Whether the gateway serves the API. Unset: it runs jobs only and says how to switch it on."
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on. Any but loopback needs a long random key."
    )
    port: int = Field(8642, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    key: Secret = Field(None, description="The owner's API key. Without one the API does not start.")
    cors_origins: CommaList = Field([], description="Web origins whose pages may call the API; * allows any.")
    allowed_hosts: CommaList = Field([], description="Further names that clients may reach this server by (Host).")
    trusted_proxies: CommaList = Field(
        [], description="Addresses or networks of proxies in front, whose X-Forwarded-For is believed."
    )
    model_name: str | None = Field(
        None, description="The model id that clients see. Unset: the profile's name, else hermes-agent."
    )
    max_concurrent_runs: int = Field(32, gt=0, description="Runs at the same time, over all ways in.")
    max_queued_runs: int = Field(256, ge=0, description="Requests that may wait for a free place; then 429.")
    queue_timeout_seconds: float = Field(30, ge=0, description="Seconds a chat waits for a free place; then 429.")
    drain_timeout: float = Field(10, ge=0, description="Seconds that open runs get when the gateway stops.")
    drain_delay: float = Field(
        0,
        ge=0,
        description="Seconds that a stopping gateway still takes requests, while /health says 503 already: what a "
        "load balancer needs to notice.",
    )
    disconnect_grace: float = Field(
        2, ge=0, description="Seconds until a chat is cancelled whose client closed the connection."
    )
    tool_progress: Literal["events", "inline"] = Field(
        "events",
        description="How a chat stream shows tools: as named events, or as text for clients that drop those.",
    )
    profiles: bool = Field(
        True, description="Serve the other profiles that have a key of their own under /p/NAME/ of this listener."
    )
    callback_secret: Secret = Field(
        None, description="Signs the webhooks that tell of a run's end. Unset: a random one is made when it is needed."
    )
    callback_hosts: CommaList = Field(
        [], description="Hosts of this network that callback_url and webhook deliveries may name all the same."
    )
    retention_days: float = Field(
        30, gt=0, description="Days that sessions of chats without a session header are kept."
    )


class EndpointSettings(Section):
    """A service with OpenAI's wire format. It is configured as soon as it names a model."""

    base_url: Address | None = Field(
        None, description="Address of an OpenAI-compatible server, up to /v1. Unset: OpenAI's, with OPENAI_API_KEY."
    )
    model: str | None = Field(None, description="Name of the model there. Unset: the toolset is off.")
    api_key: Secret = Field(None, description="The key for it. Better kept in .env: see key_env.")
    key_env: str | None = Field(None, description="Name of the variable in .env that holds the key.")
    timeout: float = Field(120, gt=0, description="Seconds that one answer may take.")


class VisionSettings(EndpointSettings):
    provider: str | None = Field(None, description="As model.provider.")
    base_url: Address | None = Field(
        None, description="Address of an OpenAI-compatible server. Unset: the provider's that has the model."
    )
    model: str | None = Field(
        None, description="The model that looks at pictures, or a name of model_routes. Unset: the one that answers."
    )
    max_mb: float = Field(20, gt=0, le=50, description="Size of one picture, in MiB.")


class ImageGenSettings(EndpointSettings):
    size: str | None = Field(None, description="Size of a picture unless the call says one, such as 1024x1024.")


class SttSettings(EndpointSettings):
    language: str | None = Field(None, description="ISO 639-1 code of what is spoken. Unset: the model finds out.")
    max_mb: float = Field(25, gt=0, le=200, description="Size of one recording, in MiB.")


class TtsSettings(EndpointSettings):
    voice: str = Field("alloy", min_length=1, description="The voice unless the call names one.")
    format: Literal["mp3", "opus", "aac", "flac", "wav"] = Field("mp3", description="What is asked for and saved.")


class HomeAssistantSettings(Section):
    url: Address | None = Field(
        None, description="Address of Home Assistant, such as http://homeassistant.local:8123. HASS_URL means the same."
    )
    token: Secret = Field(None, description="A long-lived access token. Better kept in .env, as HASS_TOKEN.")
    timeout: float = Field(15, gt=0, description="Seconds that one answer may take.")


class StreamingSettings(Section):
    enabled: bool = Field(True, description="false sends the whole reply as one chunk.")


class ResponsesSettings(Section):
    tool_items: Literal["function_call", "mcp_call"] = Field(
        "function_call", description="How /v1/responses shows tools that the server ran itself."
    )
    keep_chains: int = Field(100, gt=0, description="Chains of responses that are kept, the most recently used ones.")


class UploadSettings(Section):
    max_mb: float = Field(50, gt=0, le=50, description="Size of one uploaded file, in MiB.")
    total_mb: float = Field(1024, gt=0, description="What all uploaded files of one key may take together, in MiB.")
    text_characters: int = Field(
        200_000, gt=0, description="Text of one document that the model is given; what is beyond is said to be cut."
    )


class JobSettings(Section):
    timezone: Annotated[str, AfterValidator(_zone_name)] | None = Field(
        None, description="IANA name of the time zone of jobs that name none. Unset: this machine's."
    )
    keep_runs: int = Field(100, gt=0, description="Entries of each job's history that are kept.")


class LimitSettings(Section):
    max_steps: int | None = Field(90, gt=0, description="Calls of the model in one run.")
    max_tokens: int | None = Field(None, gt=0, description="Input and output tokens of one run.")
    max_seconds: float | None = Field(None, gt=0, description="Seconds of one run.")
    max_usd: float | None = Field(None, gt=0, description="Cost of one run, where the price is known.")


class DatabaseSettings(Section):
    url: Secret = Field(None, description="Where sessions and runs are kept. Unset: state.db in the home.")


class RetentionSettings(Section):
    sessions_days: float | None = Field(
        None, gt=0, description="Days without activity after which a session goes, with all said in it. Unset: never."
    )
    events_days: float | None = Field(
        None,
        ge=1,
        description="Days after its end that a run keeps its list of events; the last one, with its output, stays. "
        "Unset: for as long as the session.",
    )
    audit_days: float | None = Field(None, ge=1, description="Days that the audit log reaches back. Unset: for ever.")
    job_runs_days: float | None = Field(
        None,
        gt=0,
        description="Days that the history of jobs reaches back; the newest entry of each stays. "
        "Unset: only jobs.keep_runs counts.",
    )
    trash_days: float = Field(
        30.0, gt=0, description="Days that a deleted profile lies in trash/. Only what the default profile says counts."
    )


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What goes to logs/gateway.log and to the screen."
    )
