from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import ActionKind, Tool, ToolResult
from hermes.toolsets.endpoint import Endpoint
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.image_gen import image_gen_toolset
from hermes.toolsets.paths import Reach
from hermes.toolsets.stt import stt_toolset
from hermes.toolsets.tts import tts_toolset
from tests.support.media_services import JPEG, KEY, MP3, PNG, WAV, MediaServices, Part, form_of, refusal
from tests.support.stand_in import NEVER, Answer

from .conftest import Bench


@pytest.fixture
def services() -> Iterator[MediaServices]:
    with MediaServices() as services:
        yield services


def endpoint(services: MediaServices, name: str = "tts", **changes: Any) -> Endpoint:
    known = {"base_url": services.base_url, "model": "painter", "api_key": KEY, "key_name": "MEDIA_KEY"}
    return Endpoint(**{**known, "name": name, "set_key": "hermes config set MEDIA_KEY KEY", **changes})


@pytest.fixture
async def tools(bench: Bench, services: MediaServices) -> AsyncIterator[Bench]:
    reach = Reach(bench.home)
    bench.registry.add(image_gen_toolset(endpoint(services, "image_gen"), reach))
    bench.registry.add(stt_toolset(endpoint(services, "stt"), reach, Fetcher(hosts=(services.host,)), most_bytes=1000))
    bench.registry.add(tts_toolset(endpoint(services), reach, voice="coral"))
    yield bench


async def failure(bench: Bench, name: str, **arguments: Any) -> str:
    with pytest.raises(ToolFailed) as failed:
        await bench.call(name, **arguments)
    return failed.value.message


def written(bench: Bench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bench.workdir.rglob("*") if path.is_file()}


async def test_a_picture_is_made_and_saved_where_it_said_before(tools: Bench, services: MediaServices) -> None:
    tool: Tool = tools.tool("image_generate")
    arguments = tool.parse('{"prompt": "A red fox", "size": "1024x1024"}')
    action = tool.action(arguments, tools.context())
    result = await tool.run(arguments, tools.context())

    [name] = written(tools)
    assert written(tools) == {name: PNG}
    assert result == ToolResult(f"Saved {tools.workdir / name} (png, {len(PNG)} bytes).", preview=f"saved {name}")
    assert action is not None and action.kind is ActionKind.WRITE
    assert action.text == f"write a picture into {tools.workdir / name}"
    assert tools.workdir / name in action.paths
    assert services.asked[0].json == {"model": "painter", "prompt": "A red fox", "n": 1, "size": "1024x1024"}


async def test_a_picture_that_stands_at_an_address_is_got_from_there(tools: Bench, services: MediaServices) -> None:
    services.picture = {"url": f"{services.url}/made/1.jpg", "revised_prompt": "A fox, red"}
    services.pages["/made/1.jpg"] = Answer(200, JPEG, "image/jpeg")
    result = await tools.call("image_generate", prompt="fox", path="fox.jpg")

    assert result.content == (
        f"Saved {tools.workdir}/fox.jpg (jpeg, {len(JPEG)} bytes).\nIt was drawn from: A fox, red"
    )
    assert written(tools) == {"fox.jpg": JPEG}
    assert "authorization" not in services.asked[1].headers
    services.picture = {"url": "https://127.0.0.1/made/1.jpg"}
    assert "does not lead to a public address" in await failure(tools, "image_generate", prompt="fox")


async def test_what_is_said_is_written_down(tools: Bench, services: MediaServices) -> None:
    (tools.workdir / "talk.mp4").write_bytes(WAV)
    result = await tools.call("speech_to_text", audio="talk.mp4", language="en")

    assert result == ToolResult("Hello there.", preview="Hello there.")
    assert form_of(services.asked[0]) == {
        "file": Part("talk.wav", "audio/wav", WAV),
        "model": Part(None, "text/plain", b"painter"),
        "response_format": Part(None, "text/plain", b"json"),
        "language": Part(None, "text/plain", b"en"),
    }
    services.pages["/a"] = Answer(200, MP3, "audio/mpeg")
    services.says = " \n"
    result = await tools.call("speech_to_text", audio=f"{services.url}/a")
    assert result.content == "[nothing is said in the recording]"
    services.says = "x" * 80_000
    assert "30,000 characters left out" in (await tools.call("speech_to_text", audio="talk.mp4")).content


async def test_a_text_is_spoken_into_a_file(tools: Bench, services: MediaServices) -> None:
    result = await tools.call("text_to_speech", text="Good morning")
    [name] = written(tools)
    assert name.startswith("speech-good-morning-") and name.endswith(".mp3")
    assert written(tools)[name] == MP3 + b"Good morning"
    assert result.preview == f"saved {name}"
    await tools.call("text_to_speech", text="Hi", voice="ash", path="sub/hi.mp3")
    assert [asked.json for asked in services.asked] == [
        {"model": "painter", "input": "Good morning", "voice": "coral", "response_format": "mp3"},
        {"model": "painter", "input": "Hi", "voice": "ash", "response_format": "mp3"},
    ]


async def test_nothing_is_asked_for_where_it_could_not_be_saved(tools: Bench, services: MediaServices) -> None:
    for name, arguments in (("image_generate", {"prompt": "x"}), ("text_to_speech", {"text": "x"})):
        assert "off limits for tools" in await failure(tools, name, path=str(tools.home / ".env"), **arguments)
    assert services.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            refusal(401, "Incorrect API key provided."),
            "{host} does not accept MEDIA_KEY (401): Incorrect API key provided. The owner can set it: "
            "hermes config set MEDIA_KEY KEY",
        ),
        (
            Answer(429, b'{"error": {"message": "Slow down"}}', headers={"Retry-After": "7"}),
            "{host} limits its requests (429): Slow down. If it is not the credit, try again in 7 s.",
        ),
        (Answer(503, b"<html><body>busy</body></html>", "text/html"), "{host} failed (503)."),
        (Answer.of({"detail": "bad voice"}, 422), "{host} rejected the call (422): bad voice."),
        (refusal(404, "no such model"), "{host} has no model painter, or not this service (404): no such model."),
        (
            Answer(302, headers={"Location": "/login"}),
            "{host} redirects (302), which is not followed: mend tts.base_url.",
        ),
        (
            Answer.of({"ok": True}),
            "{host} gave an answer without sound; does tts.base_url speak OpenAI's API?",
        ),
        (Answer(200, b"", "audio/mpeg"), "{host} gave an answer without sound; does tts.base_url speak OpenAI's API?"),
    ],
)
async def test_a_failure_says_what_can_be_done(
    tools: Bench, services: MediaServices, answer: Answer, said: str
) -> None:
    services.next.append(answer)
    message = await failure(tools, "text_to_speech", text="x")
    assert message == said.format(host=services.host)
    assert written(tools) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"data": []}',
        b'{"data": [7]}',
        b'{"data": [{}]}',
        b'{"data": [{"b64_json": "$"}]}',
        b'{"data": [{"b64_json": "aGVsbG8="}]}',
    ],
)
async def test_a_picture_that_is_none_is_said(tools: Bench, services: MediaServices, body: bytes) -> None:
    services.next.append(Answer(200, body))
    message = await failure(tools, "image_generate", prompt="x")
    assert message == f"{services.host} gave an answer without a picture; does image_gen.base_url speak OpenAI's API?"
    assert written(tools) == {}


async def test_a_transcript_that_is_none_is_said(tools: Bench, services: MediaServices) -> None:
    (tools.workdir / "a.wav").write_bytes(WAV)
    services.next.append(Answer.of({"words": []}))
    assert "gave an answer without a text" in await failure(tools, "speech_to_text", audio="a.wav")


async def test_a_service_that_is_slow_or_gone_is_said(bench: Bench, services: MediaServices) -> None:
    slow = endpoint(services, timeout_seconds=0.2)
    bench.registry.add(tts_toolset(slow, Reach()))
    services.next.append(NEVER)
    assert await failure(bench, "text_to_speech", text="x") == (
        f"{services.host} did not answer within 0.2 s (setting tts.timeout)."
    )
    gone = endpoint(services, base_url="http://127.0.0.1:1/v1")
    bench.registry.add(tts_toolset(gone, Reach()))
    assert await failure(bench, "text_to_speech", text="x") == (
        "127.0.0.1:1 cannot be asked (ClientConnectorError): is the server of tts.base_url running?"
    )


async def test_without_a_key_none_is_sent_and_the_refusal_says_so(bench: Bench, services: MediaServices) -> None:
    bench.registry.add(tts_toolset(endpoint(services, api_key=None), Reach()))
    assert "wants a key (401)" in await failure(bench, "text_to_speech", text="x")
    assert "authorization" not in services.asked[0].headers


async def test_a_stopped_call_ends_at_once_and_leaves_no_file(tools: Bench, services: MediaServices) -> None:
    services.next.append(NEVER)
    call = asyncio.create_task(tools.call("image_generate", prompt="x"))
    await asyncio.to_thread(services.came.wait, 5)
    call.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await call
    assert written(tools) == {}


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("image_generate", '{"prompt": "x", "size": "huge"}', "size: "),
        ("image_generate", "{}", "prompt: is missing"),
        ("speech_to_text", '{"audio": "a", "language": "English"}', "language: "),
        ("text_to_speech", '{"text": ""}', "text: "),
        ("text_to_speech", '{"text": "' + "x" * 4097 + '"}', "text: "),
    ],
)
def test_wrong_arguments_are_named(bench: Bench, tool: str, arguments: str, said: str) -> None:
    for toolset in (image_gen_toolset(None, Reach()), stt_toolset(None, Reach()), tts_toolset(None, Reach())):
        bench.registry.add(toolset)
    with pytest.raises(ToolFailed, match=f"^{tool}: {said}"):
        bench.tool(tool).parse(arguments)
