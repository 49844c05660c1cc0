"""`hermes setup`: at most five questions, each with an answer that Enter takes; or none, with --yes."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from hermes.cli.context import Call, call_of, new_app, plain
from hermes.core.errors import ConfigError, HermesError, InvalidInput, UpstreamAuth

if TYPE_CHECKING:
    from hermes.core.providers import Provider
    from hermes.home.settings import Settings
    from hermes.models.choice import Candidate

T = TypeVar("T")

app = new_app("Set up the model, the API and what the agent may do.")
app.info.no_args_is_help = False

TEST_SECONDS = 30.0
KEY_TRIES = 3
OFFERED = ("openrouter", "openai", "anthropic", "google", "mistral")
"""Providers that are shown though no key of theirs is there; any other can be named."""


class Mode(StrEnum):
    MANUAL = "manual"
    SMART = "smart"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Way:
    """To a model. `key_name` is the variable that must still be given; `is_kept`: what the settings say already."""

    title: str
    name: str | None = None
    provider: str | None = None
    base_url: str | None = None
    key_name: str = ""
    is_kept: bool = False
    is_tested: bool = True


@dataclass(slots=True)
class Answers:
    """`port` None: no API. `cwd` None: where it is started. `key` is for `way.key_name`."""

    way: Way | None
    key: str
    port: int | None
    mode: str
    cwd: str | None


@app.callback(invoke_without_command=True)
def setup(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: options, and defaults for the rest.")] = False,
    model: Annotated[str | None, typer.Option(help="The model, as its provider calls it.")] = None,
    provider: Annotated[str | None, typer.Option(help="openai, anthropic, openrouter, ollama, embedded, …")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server, up to /v1.")] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the provider's key from stdin.")] = False,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Ask the model one thing, to see that it works.")
    ] = True,
    api: Annotated[bool | None, typer.Option("--api/--no-api", help="Whether the gateway serves the API.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The API's port.")] = None,
    approvals: Annotated[Mode | None, typer.Option(help="Who is asked before something dangerous.")] = None,
    cwd: Annotated[Path | None, typer.Option(help="The directory in which the gateway's agent works.")] = None,
) -> None:
    """Set up the model, the API and what the agent may do. Run it again at any time: Enter keeps what is there.

    Keys go to .env, which only you can read, and are never shown; everything else goes to config.yaml, whose comments
    stay.
    """
    from hermes.home.settings import load_settings

    call = call_of(ctx)
    settings = load_settings(call.home(), call.environ, is_lenient=True)
    is_asked = not yes
    if is_asked and not (sys.stdin.isatty() and not key_stdin):
        raise ConfigError("there is nobody to ask: add --yes, and options for what should not stay as it is")
    candidates = asyncio.run(_found(settings))
    ways = _ways(settings, candidates)
    way = _named_way(settings, model, provider, base_url) if model or provider or base_url else None
    if way is None:
        way = _ask_way(ways, settings) if is_asked else _as_it_is(ways)
    key = _key(call, settings, way, is_asked=is_asked, from_stdin=key_stdin, is_tested=test)
    answers = Answers(
        way,
        key,
        _port(call, settings, api, port, is_asked=is_asked),
        str(approvals or (_ask_mode(settings) if is_asked else settings.approvals.mode)),
        _cwd(settings, cwd, is_asked=is_asked),
    )
    _write(call, settings, answers)
    _tell(call, answers)


async def _found(settings: Settings) -> tuple[Candidate, ...]:
    from hermes.models.resolve import Models

    models = Models(environ=settings.environ, own_ports=(settings.api_server.port,))
    try:
        return await models.survey()
    finally:
        await models.close()


def _ways(settings: Settings, candidates: Sequence[Candidate]) -> list[Way]:
    """What may be chosen by a number, the best guess first."""
    from hermes.core.providers import provider_named

    ways = []
    model = settings.model
    if model.default or model.provider or model.base_url:
        named = " of ".join(part for part in (model.default, model.provider or model.base_url) if part)
        ways.append(Way(f"{named} (set now)", is_kept=True))
    for one in candidates:
        if one.is_usable and one.source != "config":
            base_url = one.base_url if one.source == "local" else None
            is_tested = one.source != "embedded"
            title = f"{one.model} of {one.provider} ({one.why})" if one.model != one.provider else one.why
            ways.append(Way(title, one.model, one.provider, base_url, is_tested=is_tested))
    there = {one.provider for one in candidates if one.is_usable}
    for name in OFFERED:
        known = provider_named(name)
        if known is not None and name not in there:
            ways.append(_with_key(known))
    return ways


def _with_key(provider: Provider, model: str | None = None) -> Way:
    name = model or provider.default_model
    return Way(f"{provider.title}: {name} (needs a key)", name, provider.name, key_name=provider.keys[0])


def _first(ways: Sequence[Way]) -> Way | None:
    return next((way for way in ways if not way.key_name), None)


def _as_it_is(ways: Sequence[Way]) -> Way | None:
    """What is found at each start is not written down, so that a better one is found when it is there."""
    first = _first(ways)
    return None if first is None else replace(first, is_kept=True)


def _named_way(settings: Settings, model: str | None, provider: str | None, base_url: str | None) -> Way:
    """Raises InvalidInput for a provider that is not known."""
    from hermes.core.providers import LOCAL, PROVIDERS, provider_named

    if provider is None or base_url is not None:
        return Way(model or base_url or "", model, provider, base_url)
    known = provider_named(provider)
    if known is None and provider in (*LOCAL, "embedded"):
        name = model or ("embedded" if provider == "embedded" else None)
        return Way(provider, name, provider, is_tested=provider != "embedded")
    if known is None:
        names = ", ".join([*(one.name for one in PROVIDERS), *LOCAL, "embedded"])
        raise InvalidInput(f"no provider {provider!r}; there are {names}, or give --base-url", param="provider")
    has_key = any(settings.environ.get(name, "").strip() for name in known.keys)
    way = _with_key(known, model)
    return replace(way, key_name="") if has_key else way


def _ask_way(ways: Sequence[Way], settings: Settings) -> Way | None:
    print("Which language model answers?")
    for number, way in enumerate(ways, 1):
        print(f"  {number}. {plain(way.title)}")
    print("  or the name of another provider, or an address such as http://127.0.0.1:8000/v1, perhaps with a model")

    def parse(said: str) -> Way:
        if said.isdecimal():
            if not 1 <= int(said) <= len(ways):
                raise InvalidInput(f"there is no number {said}")
            return ways[int(said) - 1]
        first, _, rest = said.partition(" ")
        if first.startswith(("http://", "https://")):
            return _named_way(settings, rest.strip() or None, None, first)
        return _named_way(settings, rest.strip() or None, first, None)

    first = _first(ways)
    return _ask("Number, name or address", "1" if first is None else str(ways.index(first) + 1), parse)


def _key(call: Call, settings: Settings, way: Way | None, *, is_asked: bool, from_stdin: bool, is_tested: bool) -> str:
    """The key that is to be kept, "" for none. Raises ConfigError where one is needed and cannot be asked for."""
    if from_stdin:
        if way is None or not way.key_name:
            raise ConfigError("--key-stdin gives the key of a provider: add --provider")
        key = sys.stdin.readline().strip()
        if not key:
            raise ConfigError("--key-stdin: there is nothing on stdin")
        if is_tested:
            _test(call, settings, way, key)
        return key
    if way is None:
        return ""
    if not way.key_name:
        if is_tested and way.is_tested and not way.is_kept:
            _test(call, settings, way, "")
        return ""
    if not is_asked:
        raise ConfigError(f"{way.provider} needs a key: set {way.key_name}, or give it on stdin with --key-stdin")
    for _ in range(KEY_TRIES):
        key = _hidden(f"{way.key_name}, which is not shown (Enter: later): ")
        if not key:
            print(f"  Later: {call.home().command} config set {way.key_name}")
            return ""
        try:
            if is_tested:
                _test(call, settings, way, key)
        except UpstreamAuth as error:
            print(f"  Refused: {plain(error.message)}")
            continue
        return key
    raise ConfigError("no key that is accepted; nothing was changed")


def _test(call: Call, settings: Settings, way: Way, key: str) -> None:
    """One real call. Raises UpstreamAuth for a key that is refused; what else is wrong is told and stops nothing."""
    from hermes.core.redact import Redactor

    hide = Redactor([key] if key else [])
    print("  Asking the model one thing …", flush=True)
    try:
        asyncio.run(_call(call, settings, way, key))
    except UpstreamAuth as error:
        raise UpstreamAuth(hide(error.message), status=error.status) from None
    except HermesError as error:
        print(f"  It could not be tried: {plain(hide(error.message))}")
    except TimeoutError:
        print(f"  It did not answer within {TEST_SECONDS:g} s.")
    else:
        print("  It answers.")


async def _call(call: Call, settings: Settings, way: Way, key: str) -> None:
    from hermes.core.message import Message
    from hermes.core.model import ModelRequest
    from hermes.models.choice import ModelSetting
    from hermes.models.resolve import Models
    from hermes.models.retry import RetryPolicy

    environ = {**call.environ, **settings.environ, **({way.key_name: key} if key else {})}
    setting = ModelSetting(way.name, way.provider, way.base_url)
    models = Models(setting, environ=environ, policy=RetryPolicy(tries=1))
    try:
        async with asyncio.timeout(TEST_SECONDS):
            model = await models.resolve(None)
            request = ModelRequest((Message("user", "Say OK."),), params={"max_tokens": 16})
            async for _ in model.stream(request):
                pass
    finally:
        await models.close()


def _port(call: Call, settings: Settings, api: bool | None, port: int | None, *, is_asked: bool) -> int | None:
    """A new home serves it, one that is there does what it did."""
    if api is False:
        return None
    is_on = settings.api_server.enabled
    if is_on is None:
        is_on = not call.home().exists()
    if port is not None or api or not is_asked:
        return port or settings.api_server.port if is_on or api or port else None

    def parse(said: str) -> int | None:
        if said.lower() in ("no", "n", "off"):
            return None
        if not (said.isdecimal() and 1 <= int(said) <= 65_535):
            raise InvalidInput("a port from 1 to 65535, or no")
        return int(said)

    print("Shall the gateway serve the API, for clients and other programs?")
    return _ask("Port, or no", str(settings.api_server.port) if is_on else "no", parse)


def _ask_mode(settings: Settings) -> str:
    def parse(said: str) -> str:
        found = [mode for mode in Mode if mode.value.startswith(said.lower())]
        if len(found) != 1:
            raise InvalidInput(f"one of {', '.join(Mode)}")
        return found[0].value

    print("Who is asked before something dangerous? manual: you. smart: a model, and you where it is not sure.")
    print("  off: nobody; only what is blocked in every mode stays blocked.")
    return _ask("manual, smart or off", settings.approvals.mode, parse)


def _cwd(settings: Settings, cwd: Path | None, *, is_asked: bool) -> str | None:
    """Raises InvalidInput for what is no directory."""
    if cwd is not None:
        return _directory(str(cwd))
    now = settings.terminal.cwd
    if not is_asked:
        return now
    print("In which directory does the gateway's agent work? (A chat at a terminal works where you are.)")
    said = _ask(
        "Directory, or - for where it is started", now or "-", lambda text: text if text == "-" else _directory(text)
    )
    return None if said == "-" else said


def _directory(text: str) -> str:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise InvalidInput(f"{path} is no directory")
    return str(path)


def _write(call: Call, settings: Settings, answers: Answers) -> None:
    """What differs from what is there, and nothing else: run again, it changes no byte."""
    from hermes.home.edit import check_setting, set_setting, unset_setting
    from hermes.home.env import set_env
    from hermes.home.paths import create_home
    from hermes.home.settings import load_settings

    home = call.home()
    way = answers.way
    wanted: dict[str, str | None] = {}
    if way is not None and not way.is_kept:
        wanted |= {"model.default": way.name, "model.provider": way.provider, "model.base_url": way.base_url}
        wanted |= {"model.key_env": None, "model.api_key": None, "model.context_length": None}
    if answers.mode != settings.approvals.mode:
        wanted["approvals.mode"] = answers.mode
    if answers.cwd != settings.terminal.cwd:
        wanted["terminal.cwd"] = answers.cwd
    for name, value in wanted.items():
        if value is not None:
            check_setting(home, name, value)
    create_home(home, enable_api=answers.port is not None)
    now = settings.model_dump()
    for name, value in wanted.items():
        section, _, key = name.partition(".")
        if value is None:
            unset_setting(home, name)
        elif now[section][key] != value:
            set_setting(home, name, value)
    api = load_settings(home, call.environ, is_lenient=True).api_server
    if api.enabled and answers.port is None:
        set_env(home.env_file, "API_SERVER_ENABLED", "false")
    elif answers.port is not None and not api.enabled:
        set_env(home.env_file, "API_SERVER_ENABLED", "true")
    if answers.port not in (None, api.port):
        set_env(home.env_file, "API_SERVER_PORT", str(answers.port))
    if answers.key and way is not None:
        set_env(home.env_file, way.key_name, answers.key)


def _tell(call: Call, answers: Answers) -> None:
    from hermes.home.locks import running_gateway

    home = call.home()
    print(f"\nKept in {home.path}. Next:")
    print(f"  {home.command:<28}a chat in this terminal")
    if answers.port is not None:
        print(f"  {home.command + ' gateway start':<28}the API, on http://127.0.0.1:{answers.port}")
    gateway = running_gateway(home.pid_file)
    if gateway is not None and answers.port is not None and not (gateway.url or "").endswith(f":{answers.port}"):
        print(f"  {home.command + ' gateway restart':<28}so that the gateway that runs takes this up")
    if answers.way is None:
        typer.echo(
            "There is no language model yet: start Ollama or LM Studio, or run this again with a provider's key.",
            err=True,
        )


def _ask(question: str, default: str, parse: Callable[[str], T]) -> T:
    """Until the answer can be taken. Raises HermesError when the person goes."""
    while True:
        try:
            said = input(f"{question} [{default}]: ").strip() or default
        except EOFError:
            print()
            raise HermesError("nothing was changed", code="not_confirmed") from None
        try:
            return parse(said)
        except InvalidInput as error:
            print(f"  {error.message}")


def _hidden(question: str) -> str:
    try:
        return getpass.getpass(question).strip()
    except EOFError:
        raise HermesError("nothing was changed", code="not_confirmed") from None
