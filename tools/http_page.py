"""docs/reference/http.md: every route with its scope, body, answer and errors, from the document at /openapi.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hermes.api.pages.openapi import build, operation_id, summary_of
from hermes.api.routes import ROUTES, ApiRoute

REF = "#/components/schemas/"
GENERAL: tuple[str, ...] = (
    "invalid_host",
    "host_not_allowed",
    "internal_error",
    "store_unavailable",
    "invalid_api_key",
    "insufficient_scope",
    "too_many_attempts",
    "origin_not_allowed",
    "body_too_large",
)
OF_BODIES = ("invalid_request", "invalid_json", "unsupported_media_type", "request_timeout")

Schema = Mapping[str, Any]


def http_page(made_by: str) -> str:
    document = build("", ROUTES)
    schemas: dict[str, Schema] = document["components"]["schemas"]
    parts = [
        "# HTTP routes",
        made_by,
        "Every route of the API server. The same, for programs, is at `GET /openapi.json`, and for a browser at "
        "`GET /docs`. What a scope includes: `chat` has `read`, `admin` has both. The codes of errors are explained in "
        "[Errors](errors.md), the events of streams in [Events](events.md).",
        "Every route can also give " + _codes(GENERAL) + "; every route with a body " + _codes(OF_BODIES) + ". "
        "`X-Request-Id` comes back with every answer. GET has HEAD beside it unless it streams, and every path has "
        "OPTIONS.",
        _table(("route", "scope", ""), (_row(route) for route in ROUTES)),
    ]
    for route in ROUTES:
        parts += _route(route, document["paths"])
    parts += ["## Shapes", "Objects that the tables above name. A field in *italics* may be missing."]
    for name in _nested(document["paths"], schemas):
        doc = schemas[name].get("description", "")
        parts += [f"### {name}", " ".join(doc.split()), _fields(schemas[name])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(route: ApiRoute) -> tuple[str, str, str]:
    scope = f"`{route.scope.value}`" if route.scope else "none needed"
    return f"[`{route.method} {route.path}`](#{_anchor(route)})", scope, summary_of(route)[0]


def _route(route: ApiRoute, paths: Mapping[str, Any]) -> list[str]:
    summary, description = summary_of(route)
    parts = [f'<a id="{_anchor(route)}"></a>\n\n## {route.method} {route.path}', f"{summary}.", description]
    if route.method == "WEBSOCKET":
        return parts
    operation = paths[route.path][route.method.lower()]
    schemas = operation.get("requestBody", {}).get("content", {})
    parameters = operation.get("parameters", ())
    if parameters:
        rows = ((f"`{one['name']}`", one["in"], _type(one["schema"]), one.get("description", "")) for one in parameters)
        parts.append(_table(("parameter", "in", "type", "meaning"), rows))
    for media_type, content in schemas.items():
        optional = "" if operation["requestBody"].get("required") else ", which may be left out"
        parts.append(f"Body (`{media_type}`{optional}): {_type(content['schema'])}.")
    parts += _answers(operation["responses"])
    return parts


def _answers(answers: Mapping[str, Any]) -> Iterable[str]:
    errors = []
    for status, answer in answers.items():
        codes = answer.get("x-hermes-codes")
        if codes is not None:
            told = [code for code in codes if code not in (*GENERAL, *OF_BODIES)]
            errors += [f"{status} " + _codes(told)] if told else []
            continue
        kinds = [
            _type(content.get("schema", {})) if media_type == "application/json" else f"`{media_type}`"
            for media_type, content in answer.get("content", {}).items()
        ]
        headers = [name for name in answer["headers"] if name != "X-Request-Id"]
        with_headers = f", with {_codes(headers)} where they apply" if headers else ""
        yield f"Answer: {status}, {' or '.join(kinds) or 'no body'}{with_headers}."
    if errors:
        yield f"Errors: {'; '.join(errors)}."


def _fields(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema.get("properties", {}).items():
        shown = f"`{name}`" if name in required else f"*`{name}`*"
        rows.append((shown, _type(field), " ".join(field.get("description", "").split())))
    return _table(("field", "type", "meaning"), rows) if rows else ""


def _type(schema: Schema) -> str:
    """A schema in a few words; an object of a name is a link."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[union]))
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object":
            values = schema.get("additionalProperties")
            return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
        case "boolean":
            return "true or false"
        case "string" if schema.get("contentMediaType") or schema.get("format") == "binary":
            return "a file"
        case str(kind):
            return kind + _limits(schema)
        case _:
            return "any"


def _limits(schema: Schema) -> str:
    told = [
        f"{word} {schema[name]:g}"
        for name, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
            ("maxLength", "at most"),
        )
        if name in schema
    ]
    return f" ({' '.join(told)})" if told else ""


def _nested(paths: Mapping[str, Any], schemas: Mapping[str, Schema]) -> list[str]:
    """The names of the shapes, in the order in which the routes come to them."""
    found: dict[str, None] = {}

    def look(value: object) -> None:
        if isinstance(value, Mapping):
            name = str(value.get("$ref", "")).removeprefix(REF)
            if name in schemas and name not in found:
                found[name] = None
                look(schemas[name])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(paths)
    return list(found)


def _anchor(route: ApiRoute) -> str:
    return f"route-{operation_id(route)}".replace("_", "-")


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
