"""The scripted server as its users see it: over a socket, with a client that is not ours."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hermes.models.script import DEFAULT_SCRIPT, load_script
from hermes.models.scripted import Call, ScriptedModelServer, Step

USER = {"role": "user", "content": "hi"}


async def ask(server: ScriptedModelServer, *messages: dict[str, Any], **more: Any) -> tuple[int, Any]:
    """Status, and the body as JSON, for a request that does not stream."""
    body = {"model": "m", "messages": list(messages) or [USER], **more}
    url = f"{server.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.json()


async def stream(server: ScriptedModelServer, *messages: dict[str, Any], **more: Any) -> list[str]:
    """The data of the events."""
    body = {"model": "m", "messages": list(messages) or [USER], "stream": True, **more}
    url = f"{server.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        text = (await response.read()).decode()
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def said(answer: Any) -> Any:
    return answer["choices"][0]["message"]["content"]


async def test_an_answer_in_one_piece() -> None:
    step = Step(text="Hello", reasoning="hm", tool_calls=(Call("ls", {"path": "."}),), usage={"prompt_tokens": 3})
    async with ScriptedModelServer([step]) as server:
        status, answer = await ask(server)
    assert status == 200
    assert answer == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "ls", "arguments": '{"path":"."}'}}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 3},
    }


async def test_an_answer_in_a_stream() -> None:
    async with ScriptedModelServer([Step(text="Hi you")]) as server:
        events = await stream(server, stream_options={"include_usage": True})
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": " you"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        [],
    ]
    assert chunks[-1]["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


async def test_usage_is_sent_only_to_those_who_ask() -> None:
    async with ScriptedModelServer(["a"]) as server:
        assert not any("usage" in event for event in await stream(server))


async def test_steps_are_played_in_order_and_then_there_is_none() -> None:
    async with ScriptedModelServer(["one", "two"]) as server:
        assert [said((await ask(server))[1]) for _ in range(2)] == ["one", "two"]
        status, answer = await ask(server, {"role": "user", "content": "more"})
        assert status == 400
        assert answer["error"]["message"] == "the script has no step for request 3, which ends with 'more'"
        server.add("three")
        assert said((await ask(server))[1]) == "three"


async def test_conditions_choose_the_step_and_it_may_be_filled_in() -> None:
    call = {"id": "c9", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    tool = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    script = [
        Step(after_tool="cat", text="a cat"),
        Step(after_tool=True, text="it gave {{tool}} for {{user}}"),
        Step(when=r"^weather in (\w+)", text="rain in {{1}}"),
        Step(when="once", times=1, text="now"),
        Step(times=0, text="you said {{user}}{{unknown}}"),
    ]
    async with ScriptedModelServer(script) as server:

        async def say(*messages: dict[str, Any]) -> Any:
            return said((await ask(server, *messages))[1])

        def user(text: Any) -> dict[str, Any]:
            return {"role": "user", "content": text}

        assert await say(user("weather in Rome?")) == "rain in Rome"
        assert await say(user([{"type": "text", "text": "weather in Oslo"}])) == "rain in Oslo"
        assert [await say(user("once")) for _ in range(2)] == ["now", "you said once{{unknown}}"]
        result = {"role": "tool", "tool_call_id": "c9", "content": "files"}
        assert await say(user("ls"), *tool, result) == "it gave files for ls"
        call["function"]["name"] = "cat"  # type: ignore[index]
        assert await say(user("ls"), *tool, result) == "a cat"


async def test_each_tool_call_has_an_id_of_its_own() -> None:
    step = Step(tool_calls=(Call("a"), Call("b", id="mine")), times=0)
    async with ScriptedModelServer([step]) as server:
        ids = [[c["id"] for c in (await ask(server))[1]["choices"][0]["message"]["tool_calls"]] for _ in range(2)]
    assert ids == [["call_1", "mine"], ["call_3", "mine"]]


async def test_an_error_has_its_status_headers_and_body() -> None:
    script = [Step(status=429, headers={"Retry-After": "3"}), Step(status=500, error={"detail": "broken"})]
    async with ScriptedModelServer(script) as server, aiohttp.ClientSession() as session:
        async with session.post(f"{server.base_url}/chat/completions", json={"messages": []}) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "3")
        assert await ask(server) == (500, {"detail": "broken"})


async def test_a_stream_is_cut_after_exactly_so_many_bytes() -> None:
    async with ScriptedModelServer([Step(text="a b c", cut_after=250)]) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        body = json.dumps({"messages": [USER], "stream": True}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        raw = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
    sizes = [int(line, 16) for line in raw.split(b"\r\n")[::2] if line]
    assert sum(sizes) == 250


async def test_a_key_is_asked_for_where_one_is_set() -> None:
    async with ScriptedModelServer(["a"], api_key="k") as server, aiohttp.ClientSession() as session:
        assert (await ask(server))[0] == 401
        headers = {"Authorization": "Bearer k"}
        url = f"{server.base_url}/chat/completions"
        async with session.post(url, json={"messages": [USER]}, headers=headers) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/models", b"", 200),
        ("GET", "/nothing", b"", 404),
        ("POST", "/v1/chat/completions", b"[]", 400),
        ("POST", "/v1/chat/completions", b"{broken", 400),
    ],
)
async def test_other_requests_are_answered_too(method: str, path: str, body: bytes, status: int) -> None:
    async with ScriptedModelServer([], model="fake-1") as server, aiohttp.ClientSession() as session:
        url = server.base_url.removesuffix("/v1") + path
        async with session.request(method, url, data=body or None) as response:
            assert response.status == status
            answer = await response.json()
        assert server.received[0].path == path
    if status == 200:
        assert [model["id"] for model in answer["data"]] == ["fake-1"]
    else:
        assert answer["error"]["message"]


async def test_what_is_not_recorded_is_answered_all_the_same() -> None:
    async with ScriptedModelServer([Step(text="a", times=0)], records=False) as server:
        assert len(await stream(server)) == 5  # the fixed answer is made once, with usage
        assert said((await ask(server))[1]) == "a"
        assert (server.requests, server.received) == ([], [])


async def test_requests_sent_at_once_on_one_connection_are_answered_in_turn() -> None:
    async with ScriptedModelServer([Step(text="one two", delay_ms=1), "three"]) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        body = json.dumps({"messages": [USER]}).encode()
        request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        writer.write(request * 2)
        first = await reader.readuntil(b"}}")
        second = await reader.readuntil(b"}}")
        writer.close()
    assert (b"one two" in first, b"three" in second) == (True, True)


def test_code_without_a_loop_can_use_it_too() -> None:
    with ScriptedModelServer(["from a thread"]) as server:
        data = json.dumps({"messages": [USER]}).encode()
        with urllib.request.urlopen(f"{server.base_url}/chat/completions", data) as response:
            assert said(json.load(response)) == "from a thread"
        assert server.requests == [{"messages": [USER]}]


async def test_the_script_for_demos_echoes_thinks_and_calls_tools() -> None:
    async with ScriptedModelServer(DEFAULT_SCRIPT) as server:

        async def message(content: str) -> Any:
            return (await ask(server, {"role": "user", "content": content}))[1]["choices"][0]["message"]

        assert (await message("hello"))["content"] == "You said: hello"
        thought = await message("think: trees")
        assert (thought["content"], thought["reasoning_content"]) == (
            "I thought about trees.",
            "They want me to think about trees.",
        )
        (call,) = (await message("run: ls -la"))["tool_calls"]
        assert call["function"] == {"name": "terminal", "arguments": '{"command":"ls -la"}'}
        (call,) = (await message("read: notes.txt"))["tool_calls"]
        assert call["function"] == {"name": "read_file", "arguments": '{"path":"notes.txt"}'}


SCRIPT = """\
steps:
  - when: 'deploy (\\w+)'
    reasoning: They want {{1}} out.
    tool_calls:
      - {name: terminal, arguments: {command: "deploy {{1}}"}}
  - {after_tool: true, text: "It is out."}
  - just a text
  - {status: 429, headers: {Retry-After: "2"}}
"""


def test_a_script_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    assert load_script(path) == (
        Step(
            when=r"deploy (\w+)",
            reasoning="They want {{1}} out.",
            tool_calls=(Call("terminal", {"command": "deploy {{1}}"}),),
        ),
        Step(after_tool=True, text="It is out."),
        Step(text="just a text"),
        Step(status=429, headers={"Retry-After": "2"}),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not valid YAML"),
        ("{}", "a script is a list of steps"),
        ("[]", "a script is a list of steps"),
        ("[3]", "step 1 is neither text nor a mapping"),
        ('["a", {"txet": "b"}]', "step 2 has no field 'txet'; there are after_tool"),
        ('[{"tool_calls": ["ls"]}]', "step 1: a tool call is {name, arguments, id}"),
    ],
)
def test_a_script_that_is_wrong_is_told_where(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem.replace("{", r"\{")):
        load_script(path)


def test_the_command_serves_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("- {text: from a file, times: 0}")
    command = [sys.executable, "-m", "hermes.models.scripted", "--port", "0", "--script", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().split()[-1]
        data = json.dumps({"messages": [USER]}).encode()
        with urllib.request.urlopen(f"{base_url}/chat/completions", data) as response:
            assert said(json.load(response)) == "from a file"
        process.terminate()


def test_the_command_refuses_a_script_that_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hermes.models.scripted", "--script", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "No such file" in done.stderr) == (2, True)
