"""GET /openapi.json, made from the table of routes and each handler's documentation (docs/adr/0084).

FastAPI writes the document and serves nothing: it is imported when the document is first asked for, and the routes it
is shown are thrown away.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.requests import Request
from starlette.responses import Response

from hermes.api.auth import Scope
from hermes.api.documented import Documentation, documented
from hermes.api.errors import RULES
from hermes.api.pages.openapi_parts import (
    COMPONENT_HEADERS,
    DESCRIPTION,
    ERROR_ENVELOPE,
    ErrorEnvelope,
    errors_of,
    headers_in,
    headers_out,
    tag_of,
)
from hermes.api.services import Services

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

    from hermes.api.routes import ApiRoute

EVENTS = "text/event-stream"
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}, "id": {"type": "string"}},
}
REF = "#/components/schemas/{model}"


@documented()
async def show(request: Request, services: Services) -> Response:
    """This document: every route with its bodies, answers, errors and headers, as OpenAPI 3.1.

    Made from the code, for `/docs` and for programs that generate clients.
    """
    return Response(await asyncio.to_thread(document, services.version), media_type="application/json")


@cache
def document(version: str) -> bytes:
    from hermes.api.routes import ROUTES

    return orjson.dumps(build(version, ROUTES))


def build(version: str, routes: Sequence[ApiRoute]) -> dict[str, Any]:
    """The document of `routes`. WebSocket rows have no place in OpenAPI; the description names them."""
    from fastapi.openapi.utils import get_openapi

    sockets = [route for route in routes if route.method == "WEBSOCKET"]
    served = [route for route in routes if route.method != "WEBSOCKET"]
    with warnings.catch_warnings():  # FastAPI silences this one itself, but our models are built later (defer_build)
        warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
        told: dict[str, Any] = get_openapi(
            title="Hermes API server",
            version=version,
            description=DESCRIPTION + "".join(f"\n\nWebSocket: `{one.path}`. {_text(one)[0]}." for one in sockets),
            license_info={"name": "MIT"},
            routes=[_described(route) for route in served],
        )
    components = told.setdefault("components", {})
    components["headers"] = COMPONENT_HEADERS
    envelope = ErrorEnvelope.model_json_schema(ref_template=REF, mode="serialization")
    components.setdefault("schemas", {}).update({**envelope.pop("$defs"), ERROR_ENVELOPE: envelope})
    for route in served:
        _mend(told["paths"][route.path][route.method.lower()], route)
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own errors, which nobody gives here
        components["schemas"].pop(name, None)
    return told


def documentation_of(route: ApiRoute) -> Documentation | None:
    """None where nobody has written it."""
    from hermes.api.status.documentation import DOCUMENTATION

    handler = route.resolve()
    own: Documentation | None = getattr(handler, "documentation", None)
    return own or DOCUMENTATION.get(f"{handler.__module__.removeprefix('hermes.api.')}.{handler.__name__}")


def operation_id(route: ApiRoute) -> str:
    """Its name in /v1/capabilities; a second path of the same thing is called by that path."""
    return route.name or re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_")


def summary_of(route: ApiRoute) -> tuple[str, str]:
    """The first line of the handler's docstring and the rest of it."""
    return _text(route)


def _described(route: ApiRoute) -> APIRoute:
    """What FastAPI looks at: a function whose signature is what the route takes."""
    from fastapi import Security
    from fastapi.routing import APIRoute
    from fastapi.security import APIKeyHeader, HTTPBearer

    documentation = documentation_of(route) or Documentation()
    summary, description = _text(route)
    keys = (HTTPBearer(scheme_name="bearer"), APIKeyHeader(name="x-api-key", scheme_name="x-api-key"))
    return APIRoute(
        route.path,
        _endpoint(route, documentation),
        methods=[route.method],
        name=operation_id(route),
        operation_id=operation_id(route),
        tags=[tag_of(route.path)],
        summary=summary.replace("`", ""),  # Markdown is for descriptions
        description=f"{description}\n\n{_who(route.scope)}".strip(),
        dependencies=[Security(key) for key in keys] if route.scope else [],
        status_code=documentation.status,
        response_class=_response_class(documentation.media_type),
        response_model=documentation.answer,
        response_description="Done.",
        responses=_errors(route, documentation),
        openapi_extra={
            "x-hermes-scope": route.scope.value if route.scope else None,
            "parameters": [{"name": name, "in": "header", **said} for name, said in headers_in(route)],
        },
    )


def _endpoint(route: ApiRoute, documentation: Documentation) -> Callable[..., None]:
    from fastapi import Body, Path, Query

    def endpoint(**values: object) -> None: ...

    def parameter(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    parameters = [parameter(name, Annotated[str, Path()]) for name in re.findall(r"\{(\w+)", route.path)]
    if documentation.query is not None:
        parameters.append(parameter("query", Annotated[documentation.query, Query()]))
    if documentation.body is not None:
        media_type = "multipart/form-data" if route.takes == "upload" else "application/json"
        default = None if documentation.is_body_optional else inspect.Parameter.empty
        parameters.append(parameter("body", Annotated[documentation.body, Body(media_type=media_type)], default))
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return endpoint


def _errors(route: ApiRoute, documentation: Documentation) -> dict[int | str, dict[str, Any]]:
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*errors_of(route, documentation), *documentation.errors)):
        by_status.setdefault(RULES[code].status, []).append(code)
    schema = {"$ref": REF.format(model=ERROR_ENVELOPE)}
    return {
        status: {
            "description": " or ".join(f"`{code}`" for code in codes),
            "content": {"application/json": {"schema": schema}},
            "headers": headers_out(route, status),
            "x-hermes-codes": codes,
        }
        for status, codes in sorted(by_status.items())
    }


def _mend(operation: dict[str, Any], route: ApiRoute) -> None:
    """What FastAPI cannot be told: its 422 is not ours, a parameter is never null, and a route may also stream."""
    documentation = documentation_of(route) or Documentation()
    answers = operation["responses"]
    if "x-hermes-codes" not in answers.get("422", {"x-hermes-codes": ()}):
        del answers["422"]
    good = answers[str(documentation.status)]
    good["headers"] = headers_out(route, documentation.status)
    for media_type in documentation.also:
        good.setdefault("content", {})[media_type] = {"schema": {"type": "string"}}
    if EVENTS in good.get("content", ()):
        good["content"][EVENTS] = {"itemSchema": EVENT_SCHEMA}
    if route.takes == "upload":
        operation["requestBody"]["content"]["*/*"] = {"schema": {"type": "string", "format": "binary"}}
    for status in documentation.other_statuses:
        _merge(answers.setdefault(str(status), {"description": "Done."}), good)
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])


def _merge(answer: dict[str, Any], good: Mapping[str, Any]) -> None:
    """`answer`, which may be that of an error already, can be what `good` is too."""
    answer.setdefault("headers", good["headers"])
    content = answer.setdefault("content", {})
    for media_type, body in good.get("content", {}).items():
        known = content.get(media_type)
        content[media_type] = {"schema": {"anyOf": [known["schema"], body["schema"]]}} if known else body


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if len(kinds) == len(schema.get("anyOf", ())):
        return rest
    rest.pop("anyOf")
    return {**rest, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}


def _response_class(media_type: str) -> type[Response]:
    from starlette.responses import JSONResponse

    return JSONResponse if media_type == "application/json" else type("Answer", (Response,), {"media_type": media_type})


def _text(route: ApiRoute) -> tuple[str, str]:
    summary, _, description = inspect.cleandoc(route.resolve().__doc__ or "").partition("\n")
    return summary.strip().rstrip("."), description.strip()


def _who(scope: Scope | None) -> str:
    return f"A key with the scope `{scope.value}`." if scope else "Without a key."
