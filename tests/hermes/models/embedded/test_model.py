"""The model behind its port, with a real child process whose library stands in for llama.cpp."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from hermes.core.errors import StreamCut, UpstreamRejected, UpstreamUnreachable
from hermes.core.message import ImagePart, Message, TextPart, ToolCall
from hermes.core.model import ModelDone, ModelItem, ModelRequest, TextDelta, ToolSpec
from hermes.models.embedded import Builtin, EmbeddedModel, PartsMissing

pytestmark = [
    pytest.mark.usefixtures("library"),
    pytest.mark.skipif(sys.platform == "win32", reason="the stand-in listens on a Unix socket"),
]

MakeBuiltin = Callable[..., Builtin]


def tool(name: str, *parameters: str) -> ToolSpec:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return ToolSpec(name, f"Does {name}.", {"type": "object", "properties": properties, "required": []})


TERMINAL = tool("terminal", "command", "background")
PATCH = tool("patch", "mode", "path", "old_string", "new_string")
WEATHER = ToolSpec(
    "get_weather",
    "Look at the sky. It takes long.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@asynccontextmanager
async def opened(builtin: Builtin, folder: Path) -> AsyncIterator[EmbeddedModel]:
    model = EmbeddedModel(builtin, folder)
    try:
        yield model
    finally:
        await model.close()


async def answered(
    model: EmbeddedModel, *messages: Message | str, tools: tuple[ToolSpec, ...] = (), **request: Any
) -> tuple[str, ModelDone]:
    told = tuple(Message("user", each) if isinstance(each, str) else each for each in messages)
    items = [item async for item in model.stream(ModelRequest(told, tools, **request))]
    done = items[-1]
    assert isinstance(done, ModelDone)
    return "".join(item.text for item in items if isinstance(item, TextDelta)), done


def asked(folder: Path, what: str = "prompt") -> list[dict[str, Any]]:
    lines = (folder / "slots" / "asked.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if what in line]


def called(name: str, **arguments: str) -> tuple[Message, Message]:
    call = ToolCall("call_1", name, json.dumps(arguments))
    return Message("assistant", tool_calls=(call,)), Message("tool", "done\n[exit code 0]", tool_call_id="call_1")


async def test_what_it_says_streams_as_it_is_written(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin('{"say": "Grüße!\\n"}'), folder) as model:
        items: list[ModelItem] = [item async for item in model.stream(ModelRequest((Message("user", "hi"),)))]
    assert [item.text for item in items if isinstance(item, TextDelta)] == list("Grüße!\n")
    done = items[-1]
    assert isinstance(done, ModelDone)
    assert (done.finish_reason, done.tool_calls, done.model) == ("stop", (), "embedded")
    assert (done.usage.output_tokens, done.usage.api_calls, done.usage.cost_usd) == (19, 1, 0.0)
    assert done.usage.input_tokens > done.usage.cache_read_tokens > 0


async def test_its_first_answer_says_what_it_is(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin('{"say": "hi"}'), folder) as model:
        assert (await answered(model, "1"))[1].warnings == (model.notice,)
        assert (await answered(model, "2"))[1].warnings == ()
        assert "`hermes model`" in model.notice


async def test_a_call_has_the_real_tools_name_and_arguments(make_builtin: MakeBuiltin, folder: Path) -> None:
    builtin = make_builtin(
        '{"terminal": {"command": "ls"}}',
        '{"add_to_file": {"path": "a b", "text": "it\'s\\n"}}',
        '{"patch": {"path": "a", "old_string": "x", "new_string": "y"}}',
        '{"get_weather": {"city": "Ulm"}}',
    )
    tools = (TERMINAL, PATCH, WEATHER)
    async with opened(builtin, folder) as model:
        first = (await answered(model, "list", tools=tools))[1]
        assert first.finish_reason == "tool_calls"
        assert [(call.name, json.loads(call.arguments)) for call in first.tool_calls] == [
            ("terminal", {"command": "ls"})
        ]
        added = (await answered(model, "add", tools=tools))[1].tool_calls[0]
        assert added.name == "terminal"
        assert json.loads(added.arguments)["command"] == """printf '%s\\n' 'it'"'"'s' >> 'a b'"""
        patched = (await answered(model, "patch", *called("terminal", command="cat a"), tools=tools))[1].tool_calls[0]
        assert json.loads(patched.arguments)["mode"] == "replace"
        other = (await answered(model, "weather", tools=tools))[1].tool_calls[0]
        assert (other.name, json.loads(other.arguments)) == ("get_weather", {"city": "Ulm"})
    ids = {call.id for done in (first,) for call in done.tool_calls} | {added.id, patched.id, other.id}
    assert len(ids) == 4


async def test_what_may_be_written_follows_tool_choice(make_builtin: MakeBuiltin, folder: Path) -> None:
    async def branches(**request: Any) -> list[str]:
        await answered(model, "hi", tools=(TERMINAL, WEATHER), **request)
        return [name for each in asked(folder)[-1]["body"]["json_schema"]["anyOf"] for name in each["properties"]]

    async with opened(make_builtin('{"say": ""}'), folder) as model:
        assert await branches() == ["terminal", "add_to_file", "get_weather", "say"]
        assert await branches(tool_choice="none") == ["say"]
        assert await branches(tool_choice="required") == ["terminal", "add_to_file", "get_weather"]
        assert await branches(tool_choice="get_weather") == ["get_weather"]


async def test_parameters_are_passed_on_and_stop_strings_end_the_text(make_builtin: MakeBuiltin, folder: Path) -> None:
    params = {"temperature": 0.5, "stop": ["\nEND"], "max_tokens": 100, "logit_bias": {}}
    async with opened(make_builtin('{"say": "one\\nENDtwo"}'), folder) as model:
        text, done = await answered(model, "hi", params=params)
    assert (text, done.finish_reason, done.ignored_params) == ("one", "stop", ("logit_bias",))
    body = asked(folder)[-1]["body"]
    assert (body["temperature"], body["n_predict"]) == (0.5, 100)


async def test_an_answer_that_was_cut_is_told_as_cut(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin('{"say": "a long answer"}'), folder) as model:
        text, done = await answered(model, "hi", params={"max_tokens": 15})
        assert (text, done.finish_reason) == ("a long", "length")


async def test_a_json_schema_is_answered_with_json(make_builtin: MakeBuiltin, folder: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    async with opened(make_builtin('{"say": {"n": 3}}'), folder) as model:
        text, _ = await answered(model, "hi", params={"response_format": wanted})
    assert json.loads(text) == {"n": 3}


async def test_the_call_it_has_just_made_is_not_made_again(make_builtin: MakeBuiltin, folder: Path) -> None:
    builtin = make_builtin('{"terminal": {"command": "ls"}}', '{"say": "done"}')
    async with opened(builtin, folder) as model:
        text, done = await answered(model, "list", *called("terminal", command="ls"), tools=(TERMINAL,))
    assert (text, done.tool_calls, done.usage.api_calls) == ("done", (), 2)


async def test_a_grammar_that_was_not_applied_is_an_error_and_no_answer(
    make_builtin: MakeBuiltin, folder: Path
) -> None:
    async with opened(make_builtin("Sure!"), folder) as model:
        with pytest.raises(UpstreamRejected, match="schemas"):
            await answered(model, "hi")


async def test_images_are_left_out_with_a_word(make_builtin: MakeBuiltin, folder: Path) -> None:
    message = Message("user", (TextPart("look"), ImagePart("https://example.com/a.png")))
    async with opened(make_builtin('{"say": "?"}'), folder) as model:
        _, done = await answered(model, message)
    assert "the built-in model reads text only: images were left out" in done.warnings


async def test_the_prefix_is_evaluated_once_and_read_back_later(make_builtin: MakeBuiltin, folder: Path) -> None:
    builtin = make_builtin('{"say": "hi"}')
    async with opened(builtin, folder) as model:
        await model.warm((TERMINAL,), "You are Hermes.")
        await answered(model, Message("system", "You are Hermes."), "hello", tools=(TERMINAL,))
    assert [each["slot"] for each in asked(folder, "slot")] == ["save"]
    prompts = asked(folder)
    assert prompts[0]["cached"] == 0
    assert prompts[-1]["cached"] > len(prompts[0]["prompt"])  # the instructions were warmed too
    async with opened(builtin, folder) as model:
        await answered(model, "hello", tools=(TERMINAL,))
    assert [each["slot"] for each in asked(folder, "slot")] == ["save", "restore"]
    assert asked(folder)[-1]["cached"] == len(prompts[0]["prompt"])


async def test_a_damaged_slot_file_is_never_given_to_the_library(make_builtin: MakeBuiltin, folder: Path) -> None:
    builtin = make_builtin('{"say": "hi"}')
    async with opened(builtin, folder) as model:
        await model.warm()
    (kept,) = (folder / "slots").glob("*.slot")
    right = kept.read_bytes()
    kept.write_bytes(right[: len(right) // 2])
    async with opened(builtin, folder) as model:
        assert (await answered(model, "hello"))[0] == "hi"
    assert [each["slot"] for each in asked(folder, "slot")] == ["save", "save"]
    (mended,) = (folder / "slots").glob("*.slot")
    assert mended.read_bytes() == right


async def test_a_slot_file_that_kills_the_library_is_made_anew(make_builtin: MakeBuiltin, folder: Path) -> None:
    """One that is whole by its hash, but that another version of the library wrote."""
    import hashlib

    builtin = make_builtin('{"say": "hi"}')
    async with opened(builtin, folder) as model:
        await model.warm()
    (kept,) = (folder / "slots").glob("*.slot")
    name = f"{kept.stem.split('-')[0]}-{hashlib.sha256(b'[1, 2').hexdigest()}.slot"
    kept.unlink()
    kept.with_name(name).write_bytes(b"[1, 2")
    async with opened(builtin, folder) as model:
        assert (await answered(model, "hello"))[0] == "hi"
    assert [path.name for path in (folder / "slots").glob("*.slot")] == [kept.name]


async def test_leaving_a_stream_ends_the_work_in_the_server(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin("!endless"), folder) as model:
        await model.warm()
        seen = asyncio.Event()

        async def read() -> None:
            async for _ in model.stream(ModelRequest((Message("user", "go"),))):
                seen.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(seen.wait(), 20)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await broken_off(folder)


async def test_closing_a_stream_ends_the_work_as_well(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin("!endless"), folder) as model:
        stream = cast(AsyncGenerator[ModelItem, None], model.stream(ModelRequest((Message("user", "go"),))))
        async with aclosing(stream) as items:
            async for _ in items:
                break
        await broken_off(folder)


async def broken_off(folder: Path) -> None:
    async with asyncio.timeout(20):
        while not asked(folder, "broken_off"):
            await asyncio.sleep(0.01)


async def test_requests_wait_for_each_other(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin('{"say": "one"}', '{"say": "two"}'), folder) as model:
        first, second = await asyncio.gather(answered(model, "1"), answered(model, "2"))
    assert (first[0], second[0]) == ("one", "two")
    assert len({each["pid"] for each in asked(folder)}) == 1


async def test_a_process_that_died_is_started_again(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin('{"say": "one"}', "!die", '{"say": "two"}'), folder) as model:
        await answered(model, "1")
        with pytest.raises(UpstreamUnreachable):
            await answered(model, "2")
        assert (await answered(model, "3"))[0] == "two"
        pid = asked(folder)[-1]["pid"]
        os.kill(pid, signal.SIGKILL)
        while not is_gone(pid):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert (await answered(model, "4"))[0] == "one"


async def test_an_answer_that_breaks_off_after_its_first_words_is_cut(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin("!endless"), folder) as model:
        with pytest.raises(StreamCut):
            async for item in model.stream(ModelRequest((Message("user", "go"),))):
                if isinstance(item, TextDelta):
                    with suppress(ProcessLookupError):
                        os.kill(asked(folder)[-1]["pid"], signal.SIGKILL)


async def test_a_model_that_does_not_load_says_why(make_builtin: MakeBuiltin, folder: Path) -> None:
    async with opened(make_builtin(load_error="wrong magic"), folder) as model:
        with pytest.raises(UpstreamUnreachable, match="could not be loaded: wrong magic"):
            await model.warm()


async def test_missing_parts_are_told_before_anything_starts(
    make_builtin: MakeBuiltin, folder: Path, site: Path
) -> None:
    builtin = make_builtin('{"say": "hi"}')
    (site / "tiny_part1" / "data" / "part01.bin").unlink()
    async with opened(builtin, folder) as model:
        with pytest.raises(PartsMissing, match="pip install tiny"):
            await answered(model, "hi")


async def test_closing_ends_the_process_and_leaves_nothing(
    make_builtin: MakeBuiltin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as temporary:  # pytest's own are too long for the path of a socket
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        async with opened(make_builtin('{"say": "hi"}'), folder) as model:
            await answered(model, "hi")
            assert list(Path(temporary).glob("hermes-model-*"))
        assert is_gone(asked(folder)[-1]["pid"])
        assert not list(Path(temporary).iterdir())


async def test_the_process_has_no_secrets(
    make_builtin: MakeBuiltin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with opened(make_builtin('{"say": "hi"}'), folder) as model:
        await answered(model, "hi")
        pid = asked(folder)[-1]["pid"]
        if sys.platform == "linux":
            assert b"sk-secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_process_ends_with_a_parent_that_was_killed(make_builtin: MakeBuiltin, folder: Path, site: Path) -> None:
    builtin = make_builtin('{"say": "hi"}')
    script = f"""
import asyncio, sys
sys.path[:0] = {[str(site), *sys.path]!r}
from pathlib import Path
from hermes.models.embedded import Builtin, EmbeddedModel
model = EmbeddedModel({builtin!r}, Path({str(folder)!r}))
async def main():
    await model.warm()
    print("warm", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "warm\n"
        pid = asked(folder)[-1]["pid"]
        assert not is_gone(pid)
        parent.kill()
    for _ in range(500):
        if is_gone(pid):
            return
        signal.sigtimedwait([], 0.02) if hasattr(signal, "sigtimedwait") else None
    raise AssertionError(f"process {pid} outlived its parent")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
