"""What bodies and queries have in common: every field by its snake_case and its camelCase name, and by the other names
that clients know (spec: link-api, section 1). And what answers have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from hermes.core.errors import InvalidInput

GROUPS = (
    ("content", "text", "input"),
    ("attachments", "blobs"),
    ("profile", "profile_name"),
    ("model", "model_id"),
    ("title", "name"),
    ("q", "query", "keyword"),
    ("cursor", "after"),
    ("before", "before_message_id"),
    ("prompt", "input"),
    ("env", "secrets"),
)
"""Names that clients use for one thing. A field takes those of every group that it is in."""


def names_of(field: str) -> AliasChoices:
    """Its own name first, which beats the others where a client sends two."""
    known = dict.fromkeys([field, *(name for group in GROUPS if field in group for name in group)])
    return AliasChoices(*dict.fromkeys(form for name in known for form in (name, to_camel(name))))


class Body(BaseModel):
    """Of a request's JSON; also of its query: `query: Annotated[ListQuery, Query()]`. What nobody knows is ignored."""

    model_config = ConfigDict(alias_generator=AliasGenerator(validation_alias=names_of), populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _take_no_flag_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """pydantic takes false for 0: `older_than_days: false` would be a plan of everything. And 0 for false."""
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("this is a number, not true or false")
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and bool in kinds
            and not kinds & {int, float}
        ):
            raise ValueError("this is true or false, not a number")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """What a value of it may be, also where limits stand inside: `Annotated[int, Field(gt=0)] | None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(annotation.__origin__)
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation}


def refusing_with(code: str) -> type[APIRoute]:
    """For an APIRouter: a body that breaks the schema of its routes is 400 with this code of the contract, not 422."""

    class Refusing(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_or_refuse(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    told = first_fault(error)
                    raise InvalidInput(told.message, code=code, param=told.param) from error

            return handle_or_refuse

    return Refusing


def first_fault(error: RequestValidationError) -> InvalidInput:
    """By the name that the client sent. Never what it sent: that may be a secret."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return InvalidInput(f"{field}: {first['msg']}", code="validation_error", param=field)


class Answer(BaseModel):
    """Of JSON in snake_case, which says `ok: true` (spec: link-api, section 1, names those that are in camelCase)."""

    ok: Literal[True] = True


class CamelView(BaseModel):
    """Of a part of such an answer. It is made of fields, or of an object that has them."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, from_attributes=True
    )


class CamelAnswer(Answer):
    model_config = ConfigDict(
        alias_generator=AliasGenerator(serialization_alias=to_camel), populate_by_name=True, serialize_by_alias=True
    )
