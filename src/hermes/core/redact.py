"""One place that takes secrets out of text: tool results, event arguments and logs pass through a `Redactor`.

Two ways to know a secret: its value (the owner's keys, given at start) and its shape (`SHAPES`). Names that hold
secrets (`is_secret_name`) decide which variables a child process does not get and which fields of a mapping are hidden.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

HIDDEN = "[redacted]"

SHORTEST_KNOWN_SECRET = 6
"""Known values shorter than this are not looked for: they would turn up in ordinary words."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a secret looks like. Looked for only where one of `needles` stands in the text (in lower case).

    Group 1 of the pattern, if there is one, stays; the rest is hidden. Repetitions are bounded: text that is made to
    take long must not.
    """

    name: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(name: str, needles: str, pattern: str) -> Shape:
    return Shape(name, tuple(needles.split()), re.compile(pattern))


SHAPES: tuple[Shape, ...] = (
    _shape(
        "private key", "private", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [^-]{0,60}-----|\Z)"
    ),
    _shape("key of OpenAI, Anthropic, OpenRouter and their like", "sk-", r"\bsk-[A-Za-z0-9_-]{20,}"),
    _shape("Stripe key", "k_live_ k_test_", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _shape("key of this server", "hk_", r"\bhk_[0-9a-f]{32,}"),
    _shape("token of Link", "hlat_ hlrt_", r"\bhl[ar]t_[A-Za-z0-9_-]{20,}"),
    _shape("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{30,}"),
    _shape(
        "GitLab token", "glpat- glptt- gldt- glrt- glcbt- glsoat-", r"\bgl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{20,}"
    ),
    _shape("AWS access key", "akia asia", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    _shape("Google API key", "aiza", r"\bAIza[A-Za-z0-9_-]{35}"),
    _shape("Google access token", "ya29.", r"\bya29\.[A-Za-z0-9_-]{20,}"),
    _shape("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _shape("Slack webhook", "hooks.slack.com", r"\bhttps://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}"),
    _shape("Hugging Face token", "hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    _shape("npm token", "npm_", r"\bnpm_[A-Za-z0-9]{30,}"),
    _shape("PyPI token", "pypi-", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    _shape("Groq key", "gsk_", r"\bgsk_[A-Za-z0-9]{30,}"),
    _shape("xAI key", "xai-", r"\bxai-[A-Za-z0-9]{40,}"),
    _shape("SendGrid key", "sg.", r"\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}"),
    _shape("Telegram bot token", ":aa", r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,}"),
    _shape("JSON web token", "eyj", r"\beyJ[A-Za-z0-9_-]{8,400}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,}"),
    _shape(
        "authorization header",
        "authorization",
        r"(?i)(\b(?:proxy-)?authorization[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?:bearer|basic|token)\s{1,8})[\w.~+/=-]{6,}",
    ),
    _shape(
        "key header",
        "x-api-key x-auth-token",
        r"(?i)(\bx-(?:api-key|auth-token)[\"']?\s{0,8}[:=]\s{0,8}[\"']?)[\w.~+/=-]{6,}",
    ),
    _shape("password in a URL", "://", r"(://[^\s/:@'\"<>]{0,200}:)[^\s/@'\"<>]{3,400}(?=@)"),
    _shape(
        "key in a query string",
        "key= token= secret= password= signature=",
        r"(?i)([?&](?:api[_-]?key|access[_-]?token|auth[_-]?token|token|key|secret|password|signature)=)"
        r"[^\s&'\"#<>]{8,}",
    ),
    # upper-case names only, and values with a digit in them: `API_KEY=os.environ["X"]` in source code must survive
    _shape(
        "variable that holds a secret",
        "key secret token passw",
        r"((?:API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|PRIVATE_KEY)[A-Z0-9_]{0,60}"
        r"[ \t]{0,8}[=:][ \t]{0,8}[\"']?)(?=[A-Za-z0-9_./+=-]{0,200}\d)[A-Za-z0-9_./+=-]{12,}",
    ),
)

_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:(?:api|access|private|secret|signing|encryption|account)[_-]?keys?|"
    r"secrets?|tokens?|passwords?|passwd|passphrase|pwd_?hash|credentials?|creds?|auth|authorization|cookies?|bearer|"
    r"dsn|connection_?string|database_?url|webhook_?url|pat|jwt)(?:$|[_.-])|apikey|_key$|^key$|_pass$|^pgpassword$"
)
_NOT_SECRET = re.compile(
    r"(?i)^(?:(?:max|min|total|input|output|prompt|completion|num|n|limit|count)_?(?:.*_)?tokens?(?:_.*)?|.*_tokens|tokenizers?_.*|"
    r"ssh_auth_sock|.*_key_(?:path|file)|token_(?:count|limit))$"
)


def is_secret_name(name: str) -> bool:
    """Whether a variable or field of this name holds a secret, whatever its value looks like."""
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET.match(name) is None


class Redactor:
    """`redactor(text)` hides known values, in the forms they travel in, and everything that has a secret's shape."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: list[str] = []
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """Secrets that came up later."""
        forms = {*self._known, *(form for value in values for form in _forms(value))}
        self._known = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._known:
            if value in text:  # faster than one expression for all of them
                text = text.replace(value, HIDDEN)
        lower = text.lower()
        for shape in SHAPES:
            if any(needle in lower for needle in shape.needles):
                text = shape.pattern.sub(_hidden, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for JSON values; text under a secret's name is hidden whole."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {
                key: HIDDEN if isinstance(item, str) and item and is_secret_name(str(key)) else self.value(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _hidden(match: re.Match[str]) -> str:
    return match[1] + HIDDEN if match.re.groups else HIDDEN


def _forms(value: str) -> set[str]:
    """How a value may stand in text: as it is, in a URL, in JSON, in base64 (as in a Basic header)."""
    value = value.strip()
    if len(value) < SHORTEST_KNOWN_SECRET:
        return set()
    encoded = base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, quote(value, safe="", errors="replace"), encoded} | escaped
