from __future__ import annotations

import pytest

from hermes.core.errors import UpstreamAuth, UpstreamError, UpstreamRateLimited, UpstreamRejected
from hermes.models.upstream import Refusal, read_refusal, retry_after, upstream_error


def error(status: int | None, refusal: Refusal = Refusal("because"), **more: object) -> UpstreamError:  # noqa: B008
    return upstream_error(
        refusal, status=status, provider="acme", address="https://acme.test/v1", model="m", **more  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "code", "is_retryable"),
    [
        (400, UpstreamRejected, "upstream_rejected", False),
        (401, UpstreamAuth, "upstream_auth", False),
        (402, UpstreamRejected, "upstream_rejected", False),
        (403, UpstreamAuth, "upstream_auth", False),
        (404, UpstreamRejected, "upstream_rejected", False),
        (408, UpstreamError, "upstream_error", True),
        (409, UpstreamError, "upstream_error", True),
        (413, UpstreamRejected, "upstream_rejected", False),
        (422, UpstreamRejected, "upstream_rejected", False),
        (425, UpstreamError, "upstream_error", True),
        (429, UpstreamRateLimited, "upstream_rate_limited", True),
        (500, UpstreamError, "upstream_error", True),
        (503, UpstreamError, "upstream_error", True),
        (529, UpstreamError, "upstream_error", True),
        (None, UpstreamError, "upstream_error", True),
        (301, UpstreamError, "upstream_error", False),
    ],
)
def test_each_status_is_one_error(status: int | None, kind: type[UpstreamError], code: str, is_retryable: bool) -> None:
    made = error(status)
    assert (type(made), made.code, made.is_retryable, made.status) == (kind, code, is_retryable, status)
    assert made.message.startswith("acme ")
    assert made.message.endswith(": because")


def test_an_empty_account_is_not_asked_again() -> None:
    made = error(429, Refusal("You exceeded your current quota", "insufficient_quota"))
    assert (type(made), made.is_retryable) == (UpstreamRateLimited, False)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("too long", "context_length_exceeded"),
        Refusal("This model's maximum context length is 8192 tokens."),
        Refusal("prompt is too long: 210000 tokens > 200000 maximum"),
        Refusal("the request exceeds the available context size"),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_prompt_that_is_too_long_has_a_code_of_its_own(refusal: Refusal, status: int) -> None:
    made = error(status, refusal)
    assert (made.code, made.is_retryable) == ("context_length_exceeded", False)


def test_the_parameter_is_named_when_the_caller_set_it() -> None:
    assert error(400, Refusal("bad", param="temperature"), params={"temperature": 3}).param == "temperature"
    assert error(400, Refusal("bad", param="messages[2].content"), params={"temperature": 3}).param is None


def test_the_key_is_never_in_a_message_and_what_to_mend_is() -> None:
    made = error(401, Refusal("Incorrect API key provided: sk-1234."), secret="sk-1234", key_name="ACME_API_KEY")
    assert made.message == (
        "acme at https://acme.test/v1 does not accept ACME_API_KEY (401): Incorrect API key provided: ***."
    )


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (
            b'{"error":{"message":"no","type":"t","param":"p","code":"c"}}',
            Refusal("no", "c", "p"),
        ),
        (b'{"error":{"message":"no","type":"t","code":503}}', Refusal("no", "t", None, 503)),
        (b'{"error":{"message":"no","code":"429"}}', Refusal("no", "429", None, 429)),
        (b'{"error":"no"}', Refusal("no")),
        (b'{"message":"no","type":"t"}', Refusal("no", "t")),
        (b'{"detail":"no"}', Refusal("no")),
        (
            b'{"detail":[{"loc":["body","seed"],"msg":"Extra inputs are not permitted","type":"extra_forbidden"}]}',
            Refusal("seed: Extra inputs are not permitted", "extra_forbidden", "seed"),
        ),
        (b'[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]', Refusal("no", "", None, 400)),
        (b'{"object":"error","message":"no","code":400}', Refusal("no", "", None, 400)),
        (b'{"error":{"message":{"detail":"deep"}}}', Refusal("deep")),
        (b"<html><head><title>502 Bad\nGateway</title></head></html>", Refusal("502 Bad Gateway")),
        (b"<!doctype html><html><body>x", Refusal("an HTML page")),
        (b"plain\n text \xff", Refusal("plain text �")),
        (b"", Refusal("")),
        (b"[]", Refusal("[]")),
        (b"x" * 2000, Refusal("x" * 1000 + "…")),
    ],
)
def test_every_shape_of_an_error_body_is_read(body: bytes, refusal: Refusal) -> None:
    assert read_refusal(body) == refusal


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Wed, 15 Nov 2023 06:13:30 GMT"}, 10.0),
        ({"Retry-After": "Wed, 15 Nov 2023 06:13:00 GMT"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_700_028_800.0) == seconds
