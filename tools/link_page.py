"""docs/reference/link-http.md: every route of Link with who may call it, its body and its answer, from its OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from http_page import _fields, _nested, _table, _type  # type: ignore[import-not-found] # beside this script

from hermeslink.api.app import create_app
from hermeslink.api.documentation import build

METHODS = ("get", "post", "patch", "delete")


def link_page(made_by: str) -> str:
    document = build(create_app(cast(Any, None)))
    schemas = document["components"]["schemas"]
    operations = list(_operations(document["paths"]))
    parts = [
        "# HTTP routes of Hermes Link",
        made_by,
        "Every route of :18642. The same, for programs, is at `GET /api/openapi.json`, and for a browser at "
        "`GET /api/docs`. What each is for: [docs/link](../link/start.md).",
        "`public` takes no token; `chat` takes the access token of any device, `admin` of one with that scope. Fields "
        "of a request may be written in snake_case or camelCase. A failure is `"
        '{"ok": false, "error": {"code", "message"}}`'
        "; `code` is the word to go by. GET has HEAD beside it, and every path has OPTIONS.",
        _table(
            ("route", "who", ""),
            ((f"[`{m.upper()} {p}`](#{_anchor(m, p)})", _who(one), _first_sentence(one)) for p, m, one in operations),
        ),
    ]
    for path, method, one in operations:
        parts += _route(path, method, one)
    parts += ["## Shapes", "Objects that the tables above name. A field in *italics* may be missing."]
    for name in _nested({"of": [one for _, _, one in operations]}, schemas):
        doc = schemas[name].get("description", "")
        parts += [f"### {name}", " ".join(doc.split()), _fields(schemas[name])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in paths.items():
        for method in METHODS:
            if method in operations:
                yield path, method, operations[method]


def _route(path: str, method: str, operation: Mapping[str, Any]) -> list[str]:
    parts = [
        f'<a id="{_anchor(method, path)}"></a>\n\n## {method.upper()} {path}',
        " ".join(operation.get("description", "").split()),
    ]
    parameters = operation.get("parameters", ())
    if parameters:
        rows = (
            (f"`{one['name']}`", one["in"], _type(one.get("schema", {})), one.get("description", ""))
            for one in parameters
        )
        parts.append(_table(("parameter", "in", "type", "meaning"), rows))
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body (`{media_type}`): {_type(content['schema'])}.")
    for status, answer in operation["responses"].items():
        if status == "default":
            continue
        kinds = [
            _type(content.get("schema", {})) if media_type == "application/json" else f"`{media_type}`"
            for media_type, content in answer.get("content", {}).items()
        ]
        parts.append(f"Answer: {status}, {' or '.join(kinds) or 'no body'}.")
    return parts


def _first_sentence(operation: Mapping[str, Any]) -> str:
    said = " ".join(operation.get("description", "").split())
    if not said:
        raise SystemExit(f"{operation['operationId']} of Link has no docstring: say in one what it does")
    return re.split(r"(?<=[.:])\s", said, maxsplit=1)[0].rstrip(".:")


def _who(operation: Mapping[str, Any]) -> str:
    return f"`{operation['x-hermes-access']}`"


def _anchor(method: str, path: str) -> str:
    return "route-" + re.sub(r"[^a-z0-9]+", "-", f"{method}-{path}".lower()).strip("-")
