"""What a request to the responses API says beside its input: the model's parameters, its tools, the answer's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hermes.api.chat import parameters
from hermes.core.errors import InvalidInput
from hermes.core.model import ToolSpec

MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_TEXT = 512
MAX_WORD = 256
MAX_LOGPROBS = 20
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(slots=True)
class Reading:
    """`fields` are repeated by the response's object, `params` handed on to the model under their chat names."""

    fields: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"


def read_parameters(body: Mapping[str, Any]) -> Reading:
    """Raises InvalidInput naming the field."""
    reading = Reading()
    _read_parameters(reading, body)
    _read_text(reading, body.get("text"))
    _read_reasoning(reading, body.get("reasoning"))
    _read_tools(reading, body)
    return reading


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _read_parameters(reading: Reading, body: Mapping[str, Any]) -> None:
    fields, params, warnings = reading.fields, reading.params, reading.warnings
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "parallel_tool_calls", "user"):
        if body.get(name) is not None:
            fields[name] = params[name] = parameters.FORWARDED[name](body[name], name)
    for name in ("stop", "seed"):
        if body.get(name) is not None:
            params[name] = parameters.FORWARDED[name](body[name], name)
    if body.get("max_output_tokens") is not None:
        most = parameters.FORWARDED["max_tokens"](body["max_output_tokens"], "max_output_tokens")
        fields["max_output_tokens"] = params["max_tokens"] = most
    if body.get("metadata") is not None:
        fields["metadata"] = _metadata(body["metadata"])
    for name, most in (("max_tool_calls", 2**31 - 1), ("top_logprobs", MAX_LOGPROBS)):
        if body.get(name) is not None:
            fields[name] = _count(body, name, most)
            warnings += [f"not supported, ignored: {name}"] if fields[name] or name == "max_tool_calls" else []
    for name in ("safety_identifier", "prompt_cache_key", "service_tier"):
        if body.get(name) is not None:
            fields[name] = _word(body[name], name)
    if fields.pop("service_tier", "auto") not in ("auto", "default"):
        warnings.append("not supported, ignored: service_tier")
    truncation = body.get("truncation")
    if truncation not in (None, "auto", "disabled"):
        raise _wrong("truncation", "must be auto or disabled")
    if truncation == "auto":
        fields["truncation"] = "auto"
        warnings.append("not supported, ignored: truncation auto (a history that is too long is an error)")
    include = body.get("include")
    if include is not None and not (isinstance(include, list) and all(isinstance(one, str) for one in include)):
        raise _wrong("include", "must be a list of texts")
    warnings += [f"not supported, ignored: include {one[:64]}" for one in (include or [])[:20]]


def _read_text(reading: Reading, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise _wrong("text", "must be an object")
    shown: dict[str, Any] = {}
    if value.get("format") is not None:
        shown["format"], asked = _format(value["format"])
        if asked is not None:
            reading.params["response_format"] = asked
    if value.get("verbosity") is not None:
        if value["verbosity"] not in ("low", "medium", "high"):
            raise _wrong("text.verbosity", "must be low, medium or high")
        shown["verbosity"] = value["verbosity"]
        reading.warnings.append("not supported, ignored: text.verbosity")
    if shown:
        reading.fields["text"] = shown


def _format(value: object) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """As it is shown, and as the model is asked for it (the chat API's response_format)."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return {"type": "text"}, None
    if kind == "json_object":
        return {"type": "json_object"}, {"type": "json_object"}
    if kind != "json_schema" or not isinstance(value, dict):
        raise _wrong(
            "text.format.type" if isinstance(value, dict) else "text.format", "must be text, json_object or json_schema"
        )
    name, schema, strict = value.get("name"), value.get("schema"), value.get("strict")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_WORD:
        raise _wrong("text.format.name", "must be text")
    if not isinstance(schema, dict):
        raise _wrong("text.format.schema", "must be a JSON schema")
    if strict is not None and not isinstance(strict, bool):
        raise _wrong("text.format.strict", "must be true or false")
    description = value.get("description")
    if description is not None and not isinstance(description, str):
        raise _wrong("text.format.description", "must be text")
    asked = given(name=name, schema=schema, strict=strict, description=description)
    shown = {"type": kind, "name": name, "description": description, "schema": schema, "strict": bool(strict)}
    return shown, {"type": kind, "json_schema": asked}


def _read_reasoning(reading: Reading, value: object) -> None:
    if value is None:
        return
    effort = parameters.FORWARDED["reasoning"](value, "reasoning")
    assert isinstance(value, dict)
    if effort is not None:
        if effort not in EFFORTS:
            raise _wrong("reasoning.effort", f"must be one of {', '.join(EFFORTS)}")
        reading.params["reasoning_effort"] = effort
        reading.fields["reasoning"] = effort
    if value.get("summary") is not None or value.get("generate_summary") is not None:
        reading.warnings.append("not supported, ignored: reasoning.summary (the model's own reasoning is shown)")


def _read_tools(reading: Reading, body: Mapping[str, Any]) -> None:
    value = body.get("tools")
    if value is not None and (not isinstance(value, list) or len(value) > parameters.MAX_TOOLS):
        raise _wrong("tools", f"must be a list of at most {parameters.MAX_TOOLS} functions")
    tools: list[ToolSpec] = []
    for i, one in enumerate(value or []):
        if not isinstance(one, dict) or one.get("type") != "function":
            raise InvalidInput(
                f"tools[{i}].type must be function: the server's own tools are offered by themselves",
                code="unsupported_parameter",
                param=f"tools[{i}].type",
            )
        tool = parameters.function_tool(one, f"tools[{i}]")
        if any(tool.name == other.name for other in tools):
            raise _wrong(f"tools[{i}].name", f"{tool.name!r} is there twice")
        tools.append(tool)
    shown = [
        given(name=t.name, description=t.description or None, parameters=dict(t.parameters), strict=t.strict)
        for t in tools
    ]
    if shown:
        reading.fields["tools"] = shown
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        tools, choice = _allowed(reading, choice, tools)
    else:
        reading.tool_choice = parameters.tool_choice(choice, tuple(tools))
        if reading.tool_choice in ("none", "required"):
            reading.fields["tool_choice"] = reading.tool_choice
        elif reading.tool_choice != "auto":
            reading.fields["tool_choice"] = {"type": "function", "name": reading.tool_choice}
    reading.tools = tuple(tools)


def _allowed(
    reading: Reading, choice: Mapping[str, Any], tools: list[ToolSpec]
) -> tuple[list[ToolSpec], Mapping[str, Any]]:
    """Only these of the client's tools are offered; the server's own stay."""
    named, mode = choice.get("tools"), choice.get("mode", "auto")
    if mode not in ("auto", "required", "none"):
        raise _wrong("tool_choice.mode", "must be auto, required or none")
    if not isinstance(named, list) or not named or not all(isinstance(one, dict) for one in named):
        raise _wrong("tool_choice.tools", "must be a list of functions")
    allowed = []
    for i, one in enumerate(named):
        tool = next((tool for tool in tools if one.get("type") == "function" and tool.name == one.get("name")), None)
        if tool is None:
            raise _wrong(f"tool_choice.tools[{i}]", "names no function of this request")
        allowed.append(tool)
    reading.tool_choice = mode
    shown = [{"type": "function", "name": tool.name} for tool in allowed]
    reading.fields["tool_choice"] = {"type": "allowed_tools", "mode": mode, "tools": shown}
    return allowed, choice


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_METADATA:
        raise _wrong("metadata", f"must be an object of at most {MAX_METADATA} texts")
    for name, text in value.items():
        if not isinstance(text, str) or len(text) > MAX_METADATA_TEXT or len(name) > MAX_METADATA_KEY:
            raise _wrong(
                "metadata",
                f"must have texts of at most {MAX_METADATA_TEXT} characters under names of at most {MAX_METADATA_KEY}",
            )
    return value


def _count(body: Mapping[str, Any], name: str, most: int) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _wrong(name, f"must be a whole number from 0 to {most}")
    return value


def _word(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_WORD:
        raise _wrong(name, f"must be text of at most {MAX_WORD} characters")
    return value


def _wrong(param: str, what: str) -> InvalidInput:
    return InvalidInput(f"{param} {what}", param=param)
