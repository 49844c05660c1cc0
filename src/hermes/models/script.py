"""The script of a scripted model: its steps, which step answers which request, and the bytes of the answer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import orjson

from hermes.core.untrusted import unmarked

_CREATED = 1_700_000_000
_TOKEN = re.compile(r"\s*\S+|\s+")
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    529: "Overloaded",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `arguments` is a mapping, or the text as it stands, valid or not. Without an id one is made."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One answer. `text`, `reasoning` and the arguments of calls may hold {{user}} (the last user message), {{tool}}
    (the last tool result, without its marks) and {{1}} … (groups of `when`).

    Which request it answers: `when` is a regular expression that must be found in the last user message; `after_tool`
    asks for a tool result as the last message (its tool's name, or True for any), False for none. A step with a
    condition answers again and again, one without once; `times` says otherwise (0: no limit).

    How it fails: `status` other than 200 answers an error with `headers` and `error` (a message or the whole body);
    `cut_after` closes the connection after so many bytes of the stream; `hang` stops before the end and keeps it open,
    `hang: "before"` before the first byte; `raw` are events sent as they stand instead of chunks, and with
    `error_in_stream` the stream ends with an error object.
    """

    text: str | Sequence[str] = ""
    reasoning: str | Sequence[str] = ""
    tool_calls: Sequence[Call] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    tokens: int | None = None
    delay_ms: float | None = None
    first_delay_ms: float | None = None
    when: str | None = None
    after_tool: bool | str | None = None
    times: int | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | Mapping[str, Any] | None = None
    error_in_stream: str | Mapping[str, Any] | None = None
    cut_after: int | None = None
    hang: bool | str = False
    raw: Sequence[str] | None = None
    has_usage: bool = True
    has_done: bool = True


Script = Sequence[Step | str]

DEFAULT_SCRIPT: Script = (
    Step(after_tool=True, text="It gave:\n\n{{tool}}"),
    Step(when=r"^\s*run:\s*(.+)", tool_calls=(Call("terminal", {"command": "{{1}}"}),)),
    Step(when=r"^\s*read:\s*(\S+)", tool_calls=(Call("read_file", {"path": "{{1}}"}),)),
    Step(when=r"^\s*think:\s*(.+)", reasoning="They want me to think about {{1}}.", text="I thought about {{1}}."),
    Step(times=0, text="You said: {{user}}"),
)
"""For demos: it echoes, `run: ls` calls the terminal, `read: FILE` reads, `think: …` shows reasoning."""


def tokens_script(tokens: int) -> Script:
    return (Step(text=["token "] * tokens, times=0),)


def load_script(path: Path) -> tuple[Step, ...]:
    """A YAML or JSON list of steps (or a mapping with `steps`). Raises ValueError that names the wrong step."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except YAMLError as exc:
        raise ValueError(f"not valid YAML: {exc}") from exc
    if isinstance(value, dict):
        value = value.get("steps")
    if not isinstance(value, list) or not value:
        raise ValueError("a script is a list of steps")
    return tuple(_step(number, item) for number, item in enumerate(value, 1))


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer as bytes. `pieces` are sent `delay` seconds apart; `hangs` and `closes` say what comes then."""

    head: bytes
    pieces: tuple[bytes, ...]
    delay: float = 0.0
    first_delay: float = 0.0
    hangs: bool = False
    closes: bool = False

    @property
    def is_immediate(self) -> bool:
        return not (self.hangs or self.first_delay or (self.delay and len(self.pieces) > 1))

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Plan:
        body = orjson.dumps(value)
        extra = {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(body))}
        return cls(_head(status, extra), (body,))

    @classmethod
    def error(cls, status: int, message: str, code: str | None = None) -> Plan:
        return cls.json({"error": {"message": message, "type": "scripted", "param": None, "code": code}}, status)


class Player:
    """Chooses the step for each request, in the order they are written, and turns it into bytes."""

    def __init__(self, script: Script, *, model: str, delay_ms: float = 0, first_delay_ms: float = 0) -> None:
        self.model = model
        self.model_object = {"id": model, "object": "model", "created": _CREATED, "owned_by": "hermes"}
        self._delay_ms = delay_ms
        self._first_delay_ms = first_delay_ms
        self._steps: list[tuple[Step, re.Pattern[str] | None]] = []
        self._left: list[int] = []
        self._plans: dict[tuple[int, bool, bool], Plan] = {}
        self._fixed: bytes | None = None
        self._count = 0
        self._calls = 0
        self.add(script)

    def add(self, script: Iterable[Step | str]) -> None:
        for item in script:
            step = Step(text=item) if isinstance(item, str) else item
            times = step.times
            if times is None:
                times = 1 if step.when is None and step.after_tool is None else 0
            self._steps.append((step, re.compile(step.when, re.MULTILINE) if step.when is not None else None))
            self._left.append(times or -1)
        self._fixed = None
        if len(self._steps) == 1 and self._left == [-1]:
            step = self._steps[0][0]
            if self._is_static(step) and step.when is None and step.after_tool is None:
                plan = self._stream(step, "chatcmpl-scripted", has_usage=True)
                if plan.is_immediate and not plan.closes:
                    self._fixed = plan.head + b"".join(plan.pieces)

    def fixed(self, body: bytes) -> bytes | None:
        """The whole answer where the script has only one and nothing of the request matters but that it streams."""
        is_streamed = self._fixed is not None and (b'"stream":true' in body or b'"stream": true' in body)
        return self._fixed if is_streamed else None

    def plan(self, request: dict[str, Any]) -> Plan:
        messages = [message for message in request.get("messages") or () if isinstance(message, dict)]
        user = _text(next((m for m in reversed(messages) if m.get("role") == "user"), {}))
        last = messages[-1] if messages else {}
        self._count += 1
        for number, (step, pattern) in enumerate(self._steps):
            if not self._left[number] or not _follows(step, last, messages):
                continue
            found = pattern.search(user) if pattern is not None else None
            if pattern is not None and found is None:
                continue
            if self._left[number] > 0:
                self._left[number] -= 1
            is_streamed = bool(request.get("stream"))
            has_usage = bool((request.get("stream_options") or {}).get("include_usage"))
            key = (number, is_streamed, has_usage)
            plan = self._plans.get(key)
            if plan is None:
                is_static = self._is_static(step)
                if not is_static:
                    tool = unmarked(_text(last)) if last.get("role") == "tool" else ""
                    groups = {str(i): group or "" for i, group in enumerate(found.groups(), 1)} if found else {}
                    step = self._filled(step, {"user": user, "tool": tool, **groups})
                plan = self._plan(step, f"chatcmpl-{self._count}", is_streamed, has_usage)
                if is_static:
                    self._plans[key] = plan
            return plan
        return Plan.error(400, f"the script has no step for request {self._count}, which ends with {user[:80]!r}")

    def _is_static(self, step: Step) -> bool:
        has_ids = all(call.id is not None for call in step.tool_calls)
        return has_ids and "{{" not in repr((step.text, step.reasoning, step.tool_calls))

    def _filled(self, step: Step, values: Mapping[str, str]) -> Step:
        """With the places filled and an id for each call: the server's first is call_1, the next call_2."""
        calls: list[Call] = []
        for call in step.tool_calls:
            self._calls += 1
            calls.append(Call(call.name, _fill(call.arguments, values), call.id or f"call_{self._calls}"))
        return replace(
            step, text=_fill(step.text, values), reasoning=_fill(step.reasoning, values), tool_calls=tuple(calls)
        )

    def _plan(self, step: Step, answer_id: str, is_streamed: bool, has_usage: bool) -> Plan:
        if step.status != 200:
            error = step.error if step.error is not None else f"scripted {step.status}"
            body = error if isinstance(error, Mapping) else {"error": {"message": error, "type": "scripted"}}
            plan = Plan.json(body, step.status, step.headers)
            return replace(plan, first_delay=self._first_delay(step), hangs=bool(step.hang))
        if is_streamed:
            return self._stream(step, answer_id, has_usage)
        plan = Plan.json(self._whole(step, answer_id), 200, step.headers)
        return replace(plan, first_delay=self._first_delay(step) + self._delay(step) * (len(_chunks(step)) - 1))

    def _stream(self, step: Step, answer_id: str, has_usage: bool) -> Plan:
        events = [f"data: {item}\n\n".encode() for item in step.raw] if step.raw is not None else []
        if step.raw is None:
            deltas = [{"role": "assistant", "content": ""}, *_chunks(step)]
            events = [self._event(answer_id, delta, None) for delta in deltas]
            if step.error_in_stream is not None:
                events.append(b"data: " + orjson.dumps(_error(step.error_in_stream)) + b"\n\n")
            elif not step.hang:
                events.append(self._event(answer_id, {}, _finish(step)))
                if has_usage and step.has_usage:
                    chunk = self._chunk(answer_id, [])
                    chunk["usage"] = _usage(step)
                    events.append(b"data: " + orjson.dumps(chunk) + b"\n\n")
                if step.has_done:
                    events.append(b"data: [DONE]\n\n")
        head = _head(200, {"Content-Type": "text/event-stream", **step.headers, "Transfer-Encoding": "chunked"})
        if step.hang == "before":
            head, events = b"", []
        pieces = _cut(events, step.cut_after) if step.cut_after is not None else events
        pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        delay = self._delay(step)
        if step.cut_after is None and not step.hang:
            pieces[-1:] = [pieces[-1] + b"0\r\n\r\n"] if pieces else [b"0\r\n\r\n"]
        if delay and step.raw is None and len(pieces) > 2:  # what is no token comes with its neighbour
            chunks = len(_chunks(step))
            pieces = [pieces[0] + pieces[1], *pieces[2 : 1 + chunks], b"".join(pieces[1 + chunks :])]
        return Plan(
            head,
            tuple(pieces),
            delay=delay,
            first_delay=self._first_delay(step),
            hangs=bool(step.hang),
            closes=step.cut_after is not None,
        )

    def _whole(self, step: Step, answer_id: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(step.text) or None, "refusal": step.refusal}
        if step.reasoning:
            message["reasoning_content"] = "".join(step.reasoning)
        if step.tool_calls:
            message["tool_calls"] = [_call(number, call) for number, call in enumerate(step.tool_calls)]
            for call in message["tool_calls"]:
                del call["index"]
        return {
            "id": answer_id,
            "object": "chat.completion",
            "created": _CREATED,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": _finish(step)}],
            "usage": _usage(step),
        }

    def _event(self, answer_id: str, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + orjson.dumps(self._chunk(answer_id, [choice])) + b"\n\n"

    def _chunk(self, answer_id: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": self.model,
            "choices": choices,
        }

    def _delay(self, step: Step) -> float:
        return (self._delay_ms if step.delay_ms is None else step.delay_ms) / 1000

    def _first_delay(self, step: Step) -> float:
        return (self._first_delay_ms if step.first_delay_ms is None else step.first_delay_ms) / 1000


def _chunks(step: Step) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"reasoning_content": token} for token in _tokens(step.reasoning, None)]
    deltas += [{"content": token} for token in _tokens(step.text, step.tokens)]
    if step.refusal is not None:
        deltas.append({"refusal": step.refusal})
    for number, call in enumerate(step.tool_calls):
        whole = _call(number, call)
        text = whole["function"]["arguments"]
        half = len(text) // 2
        whole["function"]["arguments"] = ""
        deltas.append({"tool_calls": [whole]})
        for piece in (text[:half], text[half:]):
            if piece:
                deltas.append({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    return deltas


def _tokens(text: str | Sequence[str], count: int | None) -> list[str]:
    """A sequence is cut already; text is cut at words, or into `count` pieces of about one length."""
    if not isinstance(text, str):
        return list(text)
    if count is None:
        return _TOKEN.findall(text)
    edges = [len(text) * i // count for i in range(count + 1)]
    return [text[start:end] for start, end in itertools.pairwise(edges) if start < end]


def _call(number: int, call: Call) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call.arguments, str) else orjson.dumps(dict(call.arguments)).decode()
    function = {"name": call.name, "arguments": arguments}
    return {"index": number, "id": call.id, "type": "function", "function": function}


def _finish(step: Step) -> str:
    return step.finish_reason or ("tool_calls" if step.tool_calls else "stop")


def _usage(step: Step) -> Mapping[str, Any]:
    if step.usage is not None:
        return step.usage
    count = len(_chunks(step))
    return {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}


def _error(error: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"error": {"message": error, "code": 502}} if isinstance(error, str) else error


def _cut(events: list[bytes], length: int) -> list[bytes]:
    kept: list[bytes] = []
    for event in events:
        if length <= 0:
            break
        kept.append(event[:length])
        length -= len(event)
    return kept


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Scripted')}\r\n{lines}\r\n".encode("latin-1")


def _follows(step: Step, last: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    is_tool = last.get("role") == "tool"
    if step.after_tool is None:
        return step.when is None or not is_tool
    if isinstance(step.after_tool, bool):
        return step.after_tool == is_tool
    return is_tool and _tool_name(last.get("tool_call_id"), messages) == step.after_tool


def _tool_name(call_id: Any, messages: Sequence[Mapping[str, Any]]) -> str | None:
    for message in reversed(messages):
        for call in message.get("tool_calls") or ():
            if call.get("id") == call_id:
                name = call.get("function", {}).get("name")
                return name if isinstance(name, str) else None
    return None


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACE.sub(lambda match: values.get(match.group(1), match.group(0)), value)
    if isinstance(value, Mapping):
        return {key: _fill(item, values) for key, item in value.items()}
    return [_fill(item, values) for item in value] if isinstance(value, list | tuple) else value


def _step(number: int, item: Any) -> Step:
    if isinstance(item, str):
        return Step(text=item)
    if not isinstance(item, dict):
        raise ValueError(f"step {number} is neither text nor a mapping")
    known = {f.name for f in fields(Step)}
    wrong = sorted(set(item) - known)
    if wrong:
        raise ValueError(f"step {number} has no field {wrong[0]!r}; there are {', '.join(sorted(known))}")
    calls: list[Call] = []
    for call in item.get("tool_calls") or ():
        if not isinstance(call, dict) or "name" not in call or set(call) - {"name", "arguments", "id"}:
            raise ValueError(f"step {number}: a tool call is {{name, arguments, id}}")
        calls.append(Call(**call))
    return Step(**{**item, "tool_calls": tuple(calls)})
