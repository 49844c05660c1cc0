"""A chat completion as it comes in, put together: chunks to items, and at the end one `ModelDone`.

Servers differ in what they leave out; each case met is handled where its comment says so.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from hermes.core.message import ToolCall
from hermes.core.model import FinishReason, ModelDone, ModelItem, ReasoningDelta, TextDelta
from hermes.core.run import Usage

from .sse import EventStream
from .upstream import Refusal, refusal_of

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_Kind = Literal["", "text", "reasoning"]


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str]
    index: int | None
    extra: Any = None


class Answer:
    """One answer being read. `feed` gives the items of one read from the socket, same kinds merged.

    `refusal` is set when the server reports an error inside the stream; what `feed` returned came before it.
    `extras` are what the server wants back with a call, by its id (Google's signed thoughts), known after `done`.
    `is_ended`: [DONE] or an error was read. `has_finished`: a finish reason was read, so a break now loses nothing.
    """

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.extras: dict[str, Any] = {}
        self.is_ended = False
        self._events = EventStream()
        self._has_choice = False
        self._finish: str | None = None
        self._calls: list[_Call] = []
        self._usage: dict[str, Any] | None = None
        self._refused: list[str] = []
        self._items: list[ModelItem] = []
        self._kind: _Kind = ""
        self._pieces: list[str] = []

    @property
    def has_finished(self) -> bool:
        return self._finish is not None

    @property
    def is_in_tail(self) -> bool:
        """Only usage and [DONE] can still come."""
        return self._finish is not None and not self.is_ended

    def feed(self, data: bytes) -> list[ModelItem]:
        return self._read(self._events.feed(data))

    def close(self) -> list[ModelItem]:
        """The connection is at its end."""
        return self._read(self._events.close())

    def feed_whole(self, body: bytes) -> list[ModelItem]:
        """An answer that is one JSON object, from a server that does not stream."""
        self._chunk(body)
        self.is_ended = True
        return self._flush()

    @property
    def gap(self) -> str | None:
        """What is missing of a whole answer: it needs a finish reason or [DONE], and something before it."""
        if not self.is_ended and self._finish is None:
            return "broke off its answer" if self._has_choice else "closed the connection without an answer"
        return None if self._has_choice else "ended its answer without having said anything"

    def done(self, model: str, ignored_params: tuple[str, ...] = ()) -> ModelDone:
        calls = self._tool_calls()
        finish: FinishReason = _FINISH.get(self._finish or "", "stop")
        if calls and finish == "stop":  # several servers say "stop" after a tool call
            finish = "tool_calls"
        elif not calls and finish == "tool_calls":
            finish = "stop"
        return ModelDone(
            finish_reason=finish,
            tool_calls=calls,
            usage=usage_of(self._usage),
            model=model,
            ignored_params=ignored_params,
            refusal="".join(self._refused) or None,
        )

    def _read(self, events: list[bytes]) -> list[ModelItem]:
        for data in events:
            if self.is_ended:
                break
            if data == b"[DONE]" or data.strip() == b"[DONE]":
                self.is_ended = True
            elif data:
                self._chunk(data)
        return self._flush()

    def _chunk(self, data: bytes) -> None:
        try:
            chunk = orjson.loads(data)
            usage = chunk.get("usage")
            choices = chunk.get("choices")
        except (orjson.JSONDecodeError, AttributeError):
            self._fail(Refusal(f"a chunk is not a JSON object: {data[:200].decode('utf-8', 'replace')!r}"))
            return
        if usage and isinstance(usage, dict):
            self._usage = usage
        if not choices:
            if chunk.get("error") or chunk.get("object") == "error":
                self._fail(refusal_of(chunk))
            return
        try:
            choice = choices[0]
            if choice.get("index"):  # only the first choice is ours
                return
            self._has_choice = True
            self._choice(choice, chunk)
        except (AttributeError, TypeError, KeyError, IndexError) as exc:
            self._fail(Refusal(f"a chunk has a wrong shape ({exc}): {data[:200].decode('utf-8', 'replace')!r}"))

    def _choice(self, choice: dict[str, Any], chunk: dict[str, Any]) -> None:
        delta = choice.get("delta") or choice.get("message")
        if delta:
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if reasoning:
                self._add("reasoning", _text(reasoning))
            content = delta.get("content")
            if content:
                if isinstance(content, str):
                    self._add("text", content)
                else:
                    self._add_parts(content)
            if "tool_calls" in delta:
                for call in delta["tool_calls"] or ():
                    self._add_call(call)
            if delta.get("refusal"):
                self._refused.append(_text(delta["refusal"]))
        finish = choice.get("finish_reason")
        if finish:
            if finish == "error" or chunk.get("error"):  # OpenRouter
                error = chunk.get("error") or choice.get("error") or "unknown error"
                self._fail(refusal_of({"error": error}))
                return
            self._finish = str(finish)
            if not self._usage and "x_groq" in chunk:  # Groq puts it there
                self._usage = _mapping(_mapping(chunk["x_groq"]).get("usage"))

    def _add(self, kind: _Kind, text: str) -> None:
        if kind != self._kind:
            self._flush_pieces()
            self._kind = kind
        self._pieces.append(text)

    def _add_parts(self, parts: list[dict[str, Any]]) -> None:
        """Mistral streams content as parts when the model thinks."""
        for part in parts:
            if part.get("type") == "thinking":
                for thought in part.get("thinking") or ():
                    if thought.get("text"):
                        self._add("reasoning", _text(thought["text"]))
            elif part.get("text"):
                self._add("text", _text(part["text"]))

    def _add_call(self, piece: dict[str, Any]) -> None:
        """By index; by id where the index is missing or always 0; a piece without both goes on with the last call."""
        function = piece.get("function") or {}
        name = _text(function.get("name") or "")
        arguments = function.get("arguments")
        call_id = _text(piece.get("id") or "")
        index = piece.get("index")
        call = self._open_call(index, call_id, name)
        if call is None:
            call = _Call(call_id, name, [], index)
            self._calls.append(call)
        elif not call.name:
            call.name = name
        if not call.id:
            call.id = call_id
        if arguments:
            call.arguments.append(arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode())
        if "extra_content" in piece:
            call.extra = piece["extra_content"]

    def _open_call(self, index: int | None, call_id: str, name: str) -> _Call | None:
        if index is None:
            same_id = [call for call in self._calls if call_id and call.id == call_id]
            if same_id:
                return same_id[-1]
            return self._calls[-1] if self._calls and not name and not call_id else None
        for call in reversed(self._calls):
            if call.index == index:
                is_another = bool(name and call.name and call_id and call.id and call_id != call.id)
                return None if is_another else call
        return None

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        seen: set[str] = set()
        calls: list[ToolCall] = []
        for call in self._calls:
            if not call.name and not call.arguments:
                continue
            call_id = call.id if call.id and call.id not in seen else f"call_{secrets.token_hex(12)}"
            seen.add(call_id)
            calls.append(ToolCall(call_id, call.name, "".join(call.arguments) or "{}"))
            if call.extra is not None:
                self.extras[call_id] = call.extra
        return tuple(calls)

    def _fail(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.is_ended = True

    def _flush(self) -> list[ModelItem]:
        if self._pieces:
            self._flush_pieces()
        items = self._items
        self._items = []
        return items

    def _flush_pieces(self) -> None:
        if self._pieces:
            text = "".join(self._pieces)
            self._items.append(TextDelta(text) if self._kind == "text" else ReasoningDelta(text))
            self._pieces.clear()


def usage_of(usage: dict[str, Any] | None) -> Usage:
    """One call's usage. `input_tokens` includes what was read from a cache. OpenRouter says the cost itself."""
    if not usage:
        return Usage(api_calls=1)
    prompt = _mapping(usage.get("prompt_tokens_details"))
    completion = _mapping(usage.get("completion_tokens_details"))
    cost = usage.get("cost")
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cache_read_tokens=_count(prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")),  # DeepSeek
        cache_write_tokens=_count(prompt.get("cache_write_tokens") or usage.get("cache_creation_input_tokens")),
        reasoning_tokens=_count(completion.get("reasoning_tokens")),
        api_calls=1,
        cost_usd=float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text belongs")
    return value


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, float) and value.is_integer()) else 0


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
