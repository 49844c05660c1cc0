"""What a route takes and gives, as pydantic models beside its handler.

Bodies are checked by them, and /openapi.json and docs/reference/http.md are made from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from hermes.api.answers import headers_of
from hermes.api.limits import read_object
from hermes.core.errors import InvalidInput

Handler = TypeVar("Handler", bound=Callable[..., object])
Model = TypeVar("Model", bound=BaseModel)


class Shape(BaseModel):
    """A JSON object that a client sends. Unknown fields are ignored, and a type is never guessed."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, defer_build=True)


class Query(BaseModel):
    """Parameters behind the `?`: text that becomes numbers and booleans."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class Answer(BaseModel):
    """A JSON object that the server sends. For the document and the tests; handlers send plain mappings."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


@dataclass(frozen=True, slots=True)
class Documentation:
    """`errors` are codes of `hermes.api.errors.RULES` beyond those that every route can give.

    `is_body_optional`: a request without a body is an empty object. `also`: the other media types of a good answer,
    such as text/event-stream of a route that streams when it is asked to. `other_statuses` have the same answer.
    """

    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    media_type: str = "application/json"
    errors: Sequence[str] = ()
    is_body_optional: bool = False
    also: Sequence[str] = ()
    other_statuses: Sequence[int] = ()


def documented(
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    status: int = 200,
    media_type: str = "application/json",
    errors: Sequence[str] = (),
    is_body_optional: bool = False,
    also: Sequence[str] = (),
    other_statuses: Sequence[int] = (),
) -> Callable[[Handler], Handler]:
    """Beside a handler. Its docstring is the route's description: the first line its summary."""

    made = Documentation(body, query, answer, status, media_type, errors, is_body_optional, also, other_statuses)

    def mark(handler: Handler) -> Handler:
        handler.documentation = made  # type: ignore[attr-defined]
        return handler

    return mark


async def read_body(request: Request, shape: type[Model], *, is_optional: bool = False) -> Model:
    """The JSON body as `shape`. `is_optional`: no body at all is an empty object.

    Raises InvalidInput with the field in `param`, UnsupportedMedia, TooLarge.
    """
    headers = headers_of(request)
    is_empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    value = {} if is_optional and is_empty else await read_object(request)
    return checked(shape, value)


def read_query(request: Request, shape: type[Model]) -> Model:
    """Raises InvalidInput with the parameter's name in `param`."""
    return checked(shape, dict(request.query_params))


def checked(shape: type[Model], value: object) -> Model:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = _path(first["loc"])
        raise InvalidInput(f"{param or 'the body'}: {first['msg']}", param=param or None) from error


def _path(loc: Sequence[int | str]) -> str:
    """`("input", 0, "text")` → `input[0].text`."""
    path = ""
    for step in loc:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path[:200]
