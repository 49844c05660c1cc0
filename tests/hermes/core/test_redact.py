from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.redact import HIDDEN, SHAPES, Redactor, is_secret_name

# Made up, and cut in two so that no scanner takes this file for a leak.
SECRETS = {
    "openai": "sk-" + "proj-Ab3dEf6hIj9lMnOpQrStUv",
    "anthropic": "sk-" + "ant-api03-Ab3dEf6hIj9lMnOpQrStUvWxYz",
    "openrouter": "sk-" + "or-v1-0123456789abcdef0123456789abcdef",
    "key of this server": "hk_" + "0123456789abcdef" * 4,
    "token of Link": "hlat_" + "aB3-_" * 8,
    "stripe": "sk_" + "live_0123456789abcdefABCDEF",
    "github": "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345",
    "github fine-grained": "github_pat_" + "0123456789abcdefghijABCDEFGHIJ0123456789abcdef",
    "gitlab": "glpat-" + "0123456789abcdefABCD",
    "aws": "AKIA" + "0123456789ABCDEF",
    "google": "AIza" + "0123456789abcdefghijABCDEFGHIJ01234",
    "google token": "ya29." + "a0ARrdaM8abcdefghijklmnop",
    "slack": "xoxb-" + "012345678901-abcdefABCDEF",
    "slack hook": "https://hooks.slack.com/services/" + "T00000000/B00000000/XXXXXXXXXXXX",
    "hugging face": "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "npm": "npm_" + "0123456789abcdefghijABCDEFGHIJ012345",
    "pypi": "pypi-" + "AgEIcHlwaS5vcmcCJDAxMjM0NTY3LTg5YWItY2RlZi0wMTIzLTQ1Njc4OWFiY2RlZgACKlsz",
    "groq": "gsk_" + "0123456789abcdefghijABCDEFGHIJ",
    "xai": "xai-" + "0123456789abcdefghijABCDEFGHIJ0123456789",
    "sendgrid": "SG." + "0123456789abcdefghij.0123456789abcdefghij",
    "telegram": "123456789:" + "AA0123456789abcdefghijABCDEFGHIJ012",
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "private key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----",
}

KEPT_BEFORE = {
    "Authorization: Bearer ": "abcdef123456",
    "authorization: basic ": "dXNlcjpwYXNzd29yZA==",
    '{"x-api-key": "': "0123456789abcdef",
    "postgresql://hermes:": "hunter22",
    "GET /v1/x?api_key=": "0123456789abcdef",
    "export OPENAI_API_KEY=": "0123456789abcdef",
    "DB_PASSWORD: '": "abc123def456",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_known_by_its_shape(name: str) -> None:
    secret = SECRETS[name]

    assert Redactor()(f"before {secret} after") == f"before {HIDDEN} after"


def test_every_shape_has_an_example() -> None:
    texts = [*SECRETS.values(), *(f"{before}{secret}@host" for before, secret in KEPT_BEFORE.items())]

    assert [shape.name for shape in SHAPES if not any(shape.pattern.search(text) for text in texts)] == []


@pytest.mark.parametrize(("before", "secret"), KEPT_BEFORE.items())
def test_what_stands_before_a_secret_stays(before: str, secret: str) -> None:
    hidden = Redactor()(f"{before}{secret}@db/x")

    assert hidden.startswith(before + HIDDEN)
    assert secret not in hidden


@pytest.mark.parametrize(
    "text",
    [
        "commit 0123456789abcdef0123456789abcdef01234567",
        'API_KEY = os.environ["OPENAI_API_KEY"]',
        "token = parser.next_token()",
        "MAX_TOKENS=4096",
        "def test_tokens(): ...",
        "https://example.net/path?page=2&sort=key",
        "run_0123456789abcdef0123456789abcdef",
        "sha256:cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "ask-questions about the task-list",
        "user@example.net wrote at 10:20",
        "git@github.com:owner/name.git",
        "http://localhost:8642/v1/models",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor()(text) == text


@given(st.text(min_size=8, max_size=40).filter(lambda text: len(text.strip()) >= 8 and text.strip() not in HIDDEN))
def test_a_known_value_never_gets_through_in_the_forms_it_travels_in(value: str) -> None:
    redactor = Redactor([value])
    value = value.strip()
    encoded = base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()

    for form in (value, quote(value, safe="", errors="replace"), json.dumps(value, ensure_ascii=False)[1:-1], encoded):
        assert form not in redactor(f"a {form} b")


def test_short_values_are_not_looked_for() -> None:
    assert Redactor(["a", "", "test"])("a test") == "a test"


def test_values_under_a_secrets_name_are_hidden_in_mappings() -> None:
    value = {"api_key": "whatever", "query": "hi", "nested": [{"password": "x", "max_tokens": 5}], "token": ""}

    assert Redactor().value(value) == {
        "api_key": HIDDEN,
        "query": "hi",
        "nested": [{"password": HIDDEN, "max_tokens": 5}],
        "token": "",
    }


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "API_KEY", "apikey", "api_key", "ANTHROPIC_AUTH_TOKEN", "GITHUB_TOKEN", "GH_PAT",
        "DB_PASSWORD", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN",
        "DATABASE_URL", "SENTRY_DSN", "STRIPE_SECRET", "client_secret", "SSH_PASSPHRASE", "GOOGLE_CREDENTIALS",
        "COOKIE", "authorization", "SIGNING_KEY", "GPG_PRIVATE_KEY", "MY_SERVICE_KEY", "SLACK_WEBHOOK_URL",
        "x-api-key", "ENCRYPTION_KEY", "bearer_token",
    ],
)  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "LANG", "USER", "PWD", "SHELL", "EDITOR", "TERM", "VIRTUAL_ENV", "PYTHONPATH", "NODE_ENV",
        "CI", "SSH_AUTH_SOCK", "XAUTHORITY", "GIT_AUTHOR_NAME", "MAX_TOKENS", "max_tokens",
        "TOKENIZERS_PARALLELISM", "MONKEY", "KEYBOARD", "path", "command", "pattern", "author", "input_tokens",
        "DISPLAY", "TMPDIR",
    ],
)  # fmt: skip
def test_ordinary_names_are_not_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "piece",
    ["x", "a.", "eyJaaaaaaaaaa-", "sk-", "ab://x:", "A", "TOKEN_", "authorization: bearer ", "?key=", "A_KEY = "],
)
def test_text_made_to_take_long_does_not(piece: str) -> None:
    text = piece * (500_000 // len(piece))

    assert Redactor(["a-known-value"])(text)
