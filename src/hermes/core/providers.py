"""The providers whose keys are looked for in the environment, in this order: a table.

Default models are those that were current when this was written (autumn 2026): good with tools, of middle price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

Api = Literal["openai", "pydantic-ai"]


@dataclass(frozen=True, slots=True)
class Provider:
    """`keys` are the variables that may hold the key. `base_url` speaks OpenAI's API; for `api="pydantic-ai"` it is
    the compatible address of a provider with an API of its own, used while its `sdk` (a module) is not installed,
    and None where there is none. `prefixes` are how its models' names begin, `prices` is its name in genai-prices."""

    name: str
    title: str
    keys: tuple[str, ...]
    base_url: str | None
    default_model: str
    api: Api = "openai"
    prefixes: tuple[str, ...] = ()
    prices: str | None = None
    sdk: str | None = None


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "openai",
        "OpenAI",
        ("OPENAI_API_KEY",),
        "https://api.openai.com/v1",
        "gpt-6.1-terra",
        prefixes=("gpt-", "o1", "o3", "o4", "chatgpt-"),
    ),
    Provider("openrouter", "OpenRouter", ("OPENROUTER_API_KEY",), "https://openrouter.ai/api/v1", "openrouter/auto"),
    Provider(
        "anthropic",
        "Anthropic",
        ("ANTHROPIC_API_KEY",),
        "https://api.anthropic.com/v1",
        "claude-sonnet-5-5",
        api="pydantic-ai",
        prefixes=("claude-",),
        sdk="anthropic",
    ),
    Provider(
        "google",
        "Google",
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "gemini-3.8-flash",
        api="pydantic-ai",
        prefixes=("gemini-", "gemma-"),
        sdk="google.genai",
    ),
    Provider(
        "mistral",
        "Mistral",
        ("MISTRAL_API_KEY",),
        "https://api.mistral.ai/v1",
        "mistral-medium-latest",
        prefixes=("mistral-", "magistral-", "ministral-", "codestral-", "devstral-"),
    ),
    Provider("groq", "Groq", ("GROQ_API_KEY",), "https://api.groq.com/openai/v1", "openai/gpt-oss-120b"),
    Provider(
        "deepseek",
        "DeepSeek",
        ("DEEPSEEK_API_KEY",),
        "https://api.deepseek.com/v1",
        "deepseek-v4-pro",
        prefixes=("deepseek-",),
    ),
    Provider("xai", "xAI", ("XAI_API_KEY",), "https://api.x.ai/v1", "grok-4.7", prefixes=("grok-",), prices="x-ai"),
    Provider(
        "together",
        "Together AI",
        ("TOGETHER_API_KEY",),
        "https://api.together.xyz/v1",
        "zai-org/GLM-5.3",
    ),
    Provider(
        "fireworks",
        "Fireworks AI",
        ("FIREWORKS_API_KEY",),
        "https://api.fireworks.ai/inference/v1",
        "accounts/fireworks/models/glm-5p3",
    ),
    Provider(
        "nous",
        "Nous Research",
        ("NOUS_API_KEY",),
        "https://inference-api.nousresearch.com/v1",
        "Hermes-4-405B",
        prefixes=("hermes-",),
    ),
    Provider(
        "moonshotai",
        "Moonshot AI",
        ("MOONSHOT_API_KEY", "MOONSHOTAI_API_KEY"),
        "https://api.moonshot.ai/v1",
        "kimi-k3",
        prefixes=("kimi-", "moonshot-"),
    ),
    Provider(
        "zai", "Z.AI", ("ZAI_API_KEY", "GLM_API_KEY"), "https://api.z.ai/api/paas/v4", "glm-5.3", prefixes=("glm-",)
    ),
    Provider("cerebras", "Cerebras", ("CEREBRAS_API_KEY",), "https://api.cerebras.ai/v1", "gpt-oss-120b"),
    Provider(
        "cohere",
        "Cohere",
        ("CO_API_KEY", "COHERE_API_KEY"),
        None,
        "command-a-plus-05-2026",
        api="pydantic-ai",
        sdk="cohere",
    ),
    Provider("huggingface", "Hugging Face", ("HF_TOKEN",), "https://router.huggingface.co/v1", "openai/gpt-oss-120b"),
)

LOCAL: dict[str, str] = {
    "ollama": "http://127.0.0.1:11434/v1",
    "lmstudio": "http://127.0.0.1:1234/v1",
    "llamacpp": "http://127.0.0.1:8080/v1",
    "vllm": "http://127.0.0.1:8000/v1",
}
"""Servers of this machine: they need no key, and what they answer costs nothing."""

PYDANTIC_AI_ONLY: dict[str, str] = {"bedrock": "boto3", "google-cloud": "google.genai"}
"""Further providers that pydantic-ai takes, with their SDKs; their credentials are not one key (AWS, Google Cloud)."""

EMBEDDED = ("embedded", "embedded-small")
"""The models that this program brings."""

_BY_NAME = {provider.name: provider for provider in PROVIDERS}
_ALIASES = {
    "claude": "anthropic",
    "gemini": "google",
    "hf": "huggingface",
    "moonshot": "moonshotai",
    "kimi": "moonshotai",
    "nousresearch": "nous",
    "together-ai": "together",
    "x-ai": "xai",
    "z-ai": "zai",
    "lm-studio": "lmstudio",
    "llama.cpp": "llamacpp",
    "llama-cpp": "llamacpp",
}


def canonical(name: str) -> str:
    """The provider's name as the table has it."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def provider_named(name: str) -> Provider | None:
    return _BY_NAME.get(canonical(name))


def provider_at(base_url: str) -> Provider | None:
    """Whose address this is: a key of the environment may be sent there, and only there."""
    try:
        host = urlsplit(base_url).hostname
    except ValueError:
        return None
    return next((p for p in PROVIDERS if p.base_url is not None and urlsplit(p.base_url).hostname == host), None)


def provider_of_model(model: str) -> Provider | None:
    """Who makes a model of this name, where the name says it."""
    name = model.lower()
    return next((p for p in PROVIDERS if p.prefixes and name.startswith(p.prefixes)), None)


def is_known(name: str) -> bool:
    name = canonical(name)
    return name in _BY_NAME or name in LOCAL or name in PYDANTIC_AI_ONLY


def split_name(name: str) -> tuple[str | None, str]:
    """`openai:gpt-x` → openai, gpt-x. None where no provider stands before it: Ollama's names have colons, too."""
    prefix, separator, rest = name.partition(":")
    return (canonical(prefix), rest) if separator and is_known(prefix) else (None, name)


def key_in(environ: Mapping[str, str], provider: Provider) -> tuple[str, str] | None:
    """The provider's key, and the variable that holds it."""
    found = ((environ.get(name, "").strip(), name) for name in provider.keys)
    return next(((value, name) for value, name in found if value), None)


def provider_for(name: str, environ: Mapping[str, str]) -> str:
    """Whose a model is that comes without a provider: its name says it, or the first key that is there."""
    if name in EMBEDDED:
        return "embedded"
    maker = provider_of_model(name)
    if maker is not None and "/" not in name and key_in(environ, maker) is not None:
        return maker.name
    with_key = [provider for provider in PROVIDERS if key_in(environ, provider) is not None]
    if "/" in name and any(provider.name == "openrouter" for provider in with_key):
        return "openrouter"
    if with_key and maker is None:
        return with_key[0].name
    if maker is not None:
        return maker.name
    return "ollama"


def is_installed(module: str) -> bool:
    """Whether a module could be imported; its own code does not run."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def has_own_api(provider: Provider, is_installed: Callable[[str], bool] = is_installed) -> bool:
    """Whether the provider's own API is spoken to it: it has one, and what speaks it is installed."""
    if provider.api != "pydantic-ai":
        return False
    return is_installed("pydantic_ai") and (provider.sdk is None or is_installed(provider.sdk))


def local_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    """Where to look. OLLAMA_HOST moves Ollama, as it does for Ollama's own client."""
    addresses = dict(LOCAL)
    host = environ.get("OLLAMA_HOST", "").strip()
    if host:
        addresses["ollama"] = f"{_ollama_address(host)}/v1"
    return addresses


def _ollama_address(host: str) -> str:
    address = host if "://" in host else f"http://{host}"
    parts = urlsplit(address)
    name = parts.hostname or "127.0.0.1"
    if name in ("0.0.0.0", "::"):  # noqa: S104
        name = "127.0.0.1"
    if ":" in name:
        name = f"[{name}]"
    port = parts.port or (11434 if parts.scheme == "http" else 443)
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}"
