"""Chunks as servers send them."""

from __future__ import annotations

from typing import Any

import orjson

from hermes.core.model import ModelItem
from hermes.models.openai_answer import Answer


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return event({"id": "x", "object": "chat.completion.chunk", "choices": choices, **more})


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def text(content: str) -> bytes:
    return chunk({"content": content})


DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes) -> tuple[Answer, list[ModelItem]]:
    """The answer after all pieces, and the items in the order they came, `ModelDone` last where it is whole."""
    answer = Answer()
    items: list[ModelItem] = []
    for piece in pieces:
        items += answer.feed(piece)
    items += answer.close()
    if answer.refusal is None and answer.gap is None:
        items.append(answer.done("m"))
    return answer, items
