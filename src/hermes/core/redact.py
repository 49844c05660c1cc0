"""One place that takes secrets out of text: tool results, event arguments and logs pass through a `Redactor`.

Two ways to know a secret: its value (the owner's keys, given at start) and its shape (`SHAPES`). Names that hold
secrets (`is_secret_name`) decide which variables a child process does not get and which fields of a mapping are hidden.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

HIDDEN = "[redacted]"

SHORTEST_KNOWN_SECRET = 6
"""Known values shorter than this are not looked for: they would turn up in ordinary words."""

SHAPES: dict[str, str] = {
    "private key block": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    "key of OpenAI, Anthropic, OpenRouter and their like": r"\bsk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_-]{20,}",
    "Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})",
    "GitLab token": r"\bgl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{20,}",
    "AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Google access token": r"\bya29\.[A-Za-z0-9_-]{20,}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Slack webhook": r"\bhttps://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{30,}",
    "PyPI token": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "Groq key": r"\bgsk_[A-Za-z0-9]{30,}",
    "xAI key": r"\bxai-[A-Za-z0-9]{40,}",
    "SendGrid key": r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "Telegram bot token": r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
}
"""What a secret looks like: name → pattern. The whole match is hidden."""

AROUND: dict[str, str] = {
    "authorization header": (
        r"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{6,}"
    ),
    "x-api-key header": r"(?i)(\bx-(?:api-key|auth-token)[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9._~+/=-]{6,}",
    "password in a URL": r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"<>]*:)[^\s/@'\"<>]{3,}(?=@)",
    "key in a query string": (
        r"(?i)([?&](?:api[_-]?key|access[_-]?token|auth[_-]?token|token|key|secret|password|signature)=)"
        r"[^\s&'\"#<>]{8,}"
    ),
    # upper-case names only, and values with a digit in them: `API_KEY=os.environ["X"]` in source code must survive
    "variable that holds a secret": (
        r"(\b[A-Z0-9_]*(?:API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|PRIVATE_KEY)[A-Z0-9_]*"
        r"[ \t]*[=:][ \t]*[\"']?)"
        r"(?=[A-Za-z0-9_./+=-]*\d)[A-Za-z0-9_./+=-]{12,}"
    ),
}
"""What stands before a secret: name → pattern whose group 1 stays."""

_SHAPE = re.compile("|".join(f"(?:{pattern})" for pattern in SHAPES.values()))
_AROUND = tuple(re.compile(pattern) for pattern in AROUND.values())

_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:api_?keys?|access_?keys?|private_?keys?|secret_?keys?|signing_?keys?|encryption_?keys?|account_?key|"
    r"secrets?|tokens?|passwords?|passwd|passphrase|pwd_?hash|credentials?|creds?|auth|authorization|cookies?|bearer|"
    r"dsn|connection_?string|database_?url|webhook_?url|pat|jwt)(?:$|[_.-])|apikey|_key$|^key$|_pass$|^pgpassword$"
)
_NOT_SECRET = re.compile(
    r"(?i)^(?:(?:max|min|total|input|output|prompt|completion|num|n|limit|count)_?(?:.*_)?tokens?(?:_.*)?|.*_tokens|tokenizers?_.*|"
    r"ssh_auth_sock|.*authority|xauthority|.*_key_(?:path|file|id)|token_(?:count|limit)|.*author.*)$"
)


def is_secret_name(name: str) -> bool:
    """Whether a variable or field of this name holds a secret, whatever its value looks like."""
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET.match(name) is None


class Redactor:
    """`redactor(text)` hides known values, in the forms they travel in, and everything that has a secret's shape."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, forms))) if forms else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _SHAPE.sub(HIDDEN, text)
        for pattern in _AROUND:
            text = pattern.sub(lambda match: match[1] + HIDDEN, text)
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


def _forms(value: str) -> set[str]:
    """How a value may stand in text: as it is, in a URL, in JSON, in base64 (as in a Basic header)."""
    value = value.strip()
    if len(value) < SHORTEST_KNOWN_SECRET:
        return set()
    encoded = base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return {value, quote(value, safe="", errors="replace"), escaped, encoded}
