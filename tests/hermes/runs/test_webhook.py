"""One signed POST: what is sent, where it may go, and what becomes of each answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

import pytest

from hermes.core.errors import InvalidInput
from hermes.runs.webhook import Answered, Webhooks, signature
from tests.support.clock import FakeClock
from tests.support.receiver import Receiver, receiving

BODY = b'{"event":"run.completed"}'


def webhooks(receiver: Receiver | None = None, **options: object) -> Webhooks:
    hosts = {receiver.host} if receiver else set()
    return Webhooks(FakeClock(), lambda: "secret", **({"hosts": hosts} | options))  # type: ignore[arg-type]


async def send(hooks: Webhooks, url: str) -> Answered:
    return await hooks.send(url, BODY, delivery_id="cb_1", event="run.completed")


async def test_the_body_is_sent_as_it_is_with_a_signature_over_time_and_body() -> None:
    async with receiving() as receiver:
        assert await send(webhooks(receiver), receiver.url) == Answered()
        (post,) = receiver.posts
        mac = hmac.new(b"secret", b"1700000000." + BODY, hashlib.sha256).hexdigest()
        assert (post.target, post.body) == ("POST /hook?token=t HTTP/1.1", BODY)
        sent = {name: value for name, value in post.headers.items() if name.startswith("x-") or name == "content-type"}
        assert sent == {
            "content-type": "application/json",
            "x-hermes-signature": f"sha256={mac}",
            "x-hermes-timestamp": "1700000000",
            "x-hermes-delivery": "cb_1",
            "x-hermes-event": "run.completed",
        }
        assert post.headers["host"] == receiver.host


def test_another_time_body_or_secret_is_another_signature() -> None:
    made = {
        signature(b"secret", "1", BODY),
        signature(b"secret", "2", BODY),
        signature(b"secret", "1", BODY + b" "),
        signature(b"other", "1", BODY),
    }
    assert len(made) == 4


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_taken(status: int) -> None:
    async with receiving(status) as receiver:
        assert (await send(webhooks(receiver), receiver.url)).is_taken


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_any_other_answer_is_a_problem_that_may_pass(status: int) -> None:
    async with receiving(status) as receiver:
        assert await send(webhooks(receiver), receiver.url) == Answered(f"it answered {status}")


async def test_410_wants_no_more() -> None:
    async with receiving(410) as receiver:
        assert (await send(webhooks(receiver), receiver.url)).is_refused_for_good


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as inner:
        moved = b"HTTP/1.1 307 X\r\nLocation: " + inner.url.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        async with receiving(moved) as receiver:
            answered = await send(webhooks(receiver, hosts={receiver.host, inner.host}), receiver.url)
            assert answered == Answered("it answered 307; redirects are not followed")
        assert inner.posts == []


@pytest.mark.parametrize(("sent", "waits"), [(b"120", 120.0), (b"999999", 3600.0), (b"soon", 0.0), (b"-1", 0.0)])
async def test_a_receiver_may_say_when_to_come_again_within_an_hour(sent: bytes, waits: float) -> None:
    busy = b"HTTP/1.1 503 X\r\nRetry-After: " + sent + b"\r\nContent-Length: 0\r\n\r\n"
    async with receiving(busy) as receiver:
        assert (await send(webhooks(receiver), receiver.url)).retry_after_seconds == waits


@pytest.mark.parametrize("answer", [b"\x00\x01\x02\r\n\r\n", b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH_9\r\n"])
async def test_what_is_no_http_is_a_problem_and_no_exception(answer: bytes) -> None:
    async with receiving(answer) as receiver:
        assert (await send(webhooks(receiver), receiver.url)).problem


async def test_a_receiver_that_does_not_answer_is_left() -> None:
    never = asyncio.Event()
    async with receiving(never) as receiver:
        answered = await send(webhooks(receiver, timeout_seconds=0.1), receiver.url)
        assert answered == Answered("no answer within 0.1 s")
        never.set()


async def test_nobody_at_the_port_is_a_problem() -> None:
    async with receiving() as receiver:
        url, hooks = receiver.url, webhooks(receiver)
    assert "cannot connect" in (await send(hooks, url)).problem


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook",
        "ftp://example.org/",
        "example.org/hook",
        "https://",
        "",
        "https://user:secret@example.org/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.8/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://localhost/",
        "https://nas.local/",
        "https://metadata.google.internal/",
        "https://example.org/a b",
        "https://exa\tmple.org/",
        "https://example.org/" + "x" * 2048,
    ],
)
async def test_a_url_that_leads_nowhere_or_inside_is_refused_where_it_is_given(url: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14"]

    with pytest.raises(InvalidInput) as refused:
        await webhooks(resolve=resolve).check(url)
    assert (refused.value.code, refused.value.param) == ("invalid_callback_url", "callback_url")
    assert (await send(webhooks(resolve=resolve), url)).problem  # and again when it is sent


async def test_a_name_that_leads_inside_is_refused_and_its_address_is_not_told() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", "10.9.8.7"]

    with pytest.raises(InvalidInput) as refused:
        await webhooks(resolve=resolve).check("https://inner.example.org/")
    assert "10.9.8.7" not in refused.value.message


async def test_a_host_of_the_owners_network_may_be_allowed_by_name_with_or_without_a_port() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["192.168.1.5"]

    for allowed in ("nas.home", "nas.home:8123", "NAS.home"):
        target = await webhooks(hosts={allowed}, resolve=resolve).check("http://nas.home:8123/hook")
        assert target.addresses == ("192.168.1.5",)
    for allowed in ("nas.home:80", "as.home", "nas.home.evil.com", ""):
        with pytest.raises(InvalidInput):
            await webhooks(hosts={allowed}, resolve=resolve).check("http://nas.home:8123/hook")


async def test_even_an_allowed_host_does_not_lead_to_where_credentials_are() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254"]

    with pytest.raises(InvalidInput):
        await webhooks(hosts={"nas.home"}, resolve=resolve).check("http://nas.home/")


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name server that answers differently the second time (DNS rebinding) is not asked a second time."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with receiving() as receiver:
        hooks = webhooks(hosts={"only-in-this-test.example"}, resolve=resolve)
        answered = await send(hooks, f"http://only-in-this-test.example:{receiver.port}/hook")
        assert (answered, asked) == (Answered(), ["only-in-this-test.example"])
        assert receiver.posts[0].headers["host"] == f"only-in-this-test.example:{receiver.port}"


async def test_a_name_that_moves_inside_after_it_was_promised_is_not_followed() -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    hooks = webhooks(resolve=resolve)
    await hooks.check("https://moving.example/")
    assert "does not lead to a public address" in (await send(hooks, "https://moving.example/")).problem


async def test_the_secret_is_asked_for_once_and_again_after_it_could_not_be_made() -> None:
    made: list[str] = []

    def make() -> str:
        made.append("x")
        if len(made) == 1:
            raise OSError("disk full")
        return "secret"

    hooks = Webhooks(FakeClock(), make)
    with pytest.raises(OSError, match="disk full"):
        await hooks.secret()
    assert [await hooks.secret() for _ in range(3)] == [b"secret"] * 3
    assert len(made) == 2
