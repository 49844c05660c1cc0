"""What a chat request may say beside its messages: the model's parameters, tools, and how to answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hermes.core.errors import InvalidInput
from hermes.core.model import ToolSpec

MAX_TOOLS = 128
MAX_STOPS = 16
EMPTY_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_FIELD_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")

Parse = Callable[[Any, str], Any]


def model_params(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are handed on to the model, under their chat names; null is as if not sent."""
    params = {name: parse(body[name], name) for name, parse in FORWARDED.items() if body.get(name) is not None}
    most = params.pop("max_completion_tokens", None)
    if most is not None:
        params["max_tokens"] = most
    reasoning = params.pop("reasoning", None)
    if reasoning is not None and "reasoning_effort" not in params:
        params["reasoning_effort"] = reasoning
    return params


def model_name(value: object) -> str | None:
    """What a request's `model` says; None where it says nothing."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 256 or not value.isprintable():
        raise _wrong("model", "must be text of at most 256 characters")
    return value


def check_unsupported(body: Mapping[str, Any]) -> None:
    n = body.get("n")
    if n is not None and n != 1:
        if isinstance(n, int) and not isinstance(n, bool) and n > 1:
            raise InvalidInput("n must be 1: a run has one answer", code="unsupported_parameter", param="n")
        raise _wrong("n", "must be 1")
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if body.get(old) is not None:
            raise InvalidInput(f"{old} is the old form; use {new}", code="unsupported_parameter", param=old)


def ignored_fields(body: Mapping[str, Any], known: Collection[str] | None = None) -> list[str]:
    """Fields that change nothing here: a warning each, for whoever reads X-Hermes-Warnings."""
    known = KNOWN if known is None else known
    unknown = [name for name, value in body.items() if name not in known and value is not None and value is not False]
    return [f"not supported, ignored: {name}" for name in unknown[:20] if _FIELD_NAME.match(name)]


def client_tools(value: object) -> tuple[ToolSpec, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _wrong("tools", "must be a list")
    if len(value) > MAX_TOOLS:
        raise _wrong("tools", f"has {len(value)} tools; the limit is {MAX_TOOLS}")
    tools = tuple(_tool(one, f"tools[{i}]") for i, one in enumerate(value))
    names = [tool.name for tool in tools]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise _wrong(f"tools[{i}].function.name", f"{name!r} is there twice")
    return tools


def tool_choice(value: object, tools: tuple[ToolSpec, ...]) -> str:
    """auto, none, required, or the name of the client's tool that must be called."""
    match value:
        case None:
            return "auto"
        case "auto" | "none" | "required":
            return value
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            if not any(tool.name == name for tool in tools):
                raise _wrong("tool_choice", f"names {name[:64]!r}, which is not among the tools of this request")
            return name
    raise _wrong("tool_choice", "must be auto, none, required or a function of this request")


def function_tool(function: Mapping[str, Any], where: str) -> ToolSpec:
    """A client's function as it is described at `where`."""
    name = function.get("name")
    if not isinstance(name, str) or _TOOL_NAME.match(name) is None:
        raise _wrong(f"{where}.name", "must be 1 to 64 of the characters A-Z a-z 0-9 _ -")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise _wrong(f"{where}.description", "must be text")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = EMPTY_SCHEMA
    elif not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise _wrong(f"{where}.parameters", "must be a JSON schema of type object")
    strict = function.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise _wrong(f"{where}.strict", "must be true or false")
    return ToolSpec(name, description or "", {"type": "object", **parameters}, strict)


def _tool(value: object, param: str) -> ToolSpec:
    if not isinstance(value, dict):
        raise _wrong(param, "must be an object")
    if value.get("type") != "function":
        kind = value.get("type")
        code = "unsupported_parameter" if isinstance(kind, str) else None
        raise InvalidInput(f"{param}.type must be function", code=code, param=f"{param}.type")
    function = value.get("function")
    if not isinstance(function, dict):
        raise _wrong(f"{param}.function", "must be an object")
    return function_tool(function, f"{param}.function")


def _number(low: float, high: float) -> Parse:
    def parse(value: Any, param: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _wrong(param, f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def _count(value: Any, param: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**31 - 1:
        raise _wrong(param, "must be a whole number from 1")
    return value


def _seed(value: Any, param: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise _wrong(param, "must be a whole number of 64 bits")
    return value


def _stop(value: Any, param: str) -> str | list[str]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or len(value) > MAX_STOPS or not all(isinstance(one, str) for one in value):
        raise _wrong(param, f"must be text or a list of at most {MAX_STOPS} texts")
    return value


def _word(value: Any, param: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise _wrong(param, "must be text of at most 256 characters")
    return value


def _flag(value: Any, param: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(param, "must be true or false")
    return value


def _metadata(value: Any, param: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise _wrong(param, "must be an object of texts")
    return value


def _reasoning(value: Any, param: str) -> str | None:
    """The responses API's form, `{"effort": …}`."""
    if not isinstance(value, dict):
        raise _wrong(param, "must be an object")
    effort = value.get("effort")
    return None if effort is None else _word(effort, f"{param}.effort")


def _response_format(value: Any, param: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object", "json_schema"):
        raise _wrong(f"{param}.type" if isinstance(value, dict) else param, "must be text, json_object or json_schema")
    if value["type"] == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
            raise _wrong(f"{param}.json_schema", "must be an object with a name and a schema")
        if not isinstance(schema.get("schema", {}), dict):
            raise _wrong(f"{param}.json_schema.schema", "must be a JSON schema")
        for name, kind, what in (("description", str, "text"), ("strict", bool, "true or false")):
            if schema.get(name) is not None and not isinstance(schema[name], kind):
                raise _wrong(f"{param}.json_schema.{name}", f"must be {what}")
    return value


FORWARDED: dict[str, Parse] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "max_tokens": _count,
    "max_completion_tokens": _count,
    "stop": _stop,
    "seed": _seed,
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "reasoning_effort": _word,
    "reasoning": _reasoning,
    "response_format": _response_format,
    "parallel_tool_calls": _flag,
    "metadata": _metadata,
    "user": _word,
}

# Beside what is forwarded: what this API acts on, and what has no effect to miss.
KNOWN = frozenset(FORWARDED) | {
    "messages",
    "model",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "n",
    "functions",
    "function_call",
    "prompt_cache_key",
    "safety_identifier",
}


def _wrong(param: str, what: str) -> InvalidInput:
    return InvalidInput(f"{param} {what}", param=param)
