"""What every tool here is made of: arguments validated by pydantic, failures told in words a model can act on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hermes.core.errors import ToolFailed
from hermes.core.model import ToolSpec
from hermes.core.ports import Action, ToolContext, ToolResult


class Arguments(BaseModel):
    """Arguments of a tool. Unknown ones are ignored: models invent some, and a refusal costs a step. So is null: what
    has no value was not given."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)


class BaseTool(ABC, Generic[ArgumentsT]):
    """A `core.ports.Tool`. A tool gives its name, description and arguments, and `run`.

    Secrets are taken out of results in one place, the registry.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    arguments: ClassVar[type[Arguments]]
    is_idempotent: bool = False

    def __init__(self) -> None:
        self._spec = ToolSpec(self.name, " ".join(self.description.split()), parameters(self.arguments))

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    def parse(self, arguments: str) -> ArgumentsT:
        try:
            return self.arguments.model_validate_json(arguments.strip() or "{}")  # type: ignore[return-value]
        except ValidationError as error:
            raise ToolFailed(f"{self.name}: {problems(error)}") from error

    def preview(self, arguments: ArgumentsT) -> str:
        return one_line(self.summary(arguments))

    @abstractmethod
    def summary(self, arguments: ArgumentsT) -> str:
        """What the call does, for a person; made one line by `preview`."""

    def action(self, arguments: ArgumentsT, context: ToolContext) -> Action | None:
        return None

    @abstractmethod
    async def run(self, arguments: ArgumentsT, context: ToolContext) -> ToolResult: ...


def one_line(text: str, characters: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def problems(error: ValidationError) -> str:
    """Which argument is wrong, and how; the value itself is left out, it may be long."""
    said = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            message = "is missing"
        elif item["type"] == "json_invalid":
            message = f"the arguments are not valid JSON ({message.removeprefix('Invalid JSON: ')})"
        said.append(f"{where}: {message}" if where else message)
    return "; ".join(said)


def parameters(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema that a model gets: pydantic's, without what only costs tokens (titles, empty defaults, "or null")
    and without references, which some providers do not follow."""
    schema = arguments.model_json_schema()
    definitions = schema.pop("$defs", {})
    schema.pop("description", None)
    slim: dict[str, Any] = _slim(schema, definitions)
    return slim


def _slim(value: Any, definitions: Mapping[str, Any], *, is_names: bool = False) -> Any:
    if isinstance(value, list):
        return [_slim(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if is_names:
        return {name: _slim(item, definitions) for name, item in value.items()}
    if "$ref" in value:
        there = {key: inner for key, inner in definitions[value["$ref"].rpartition("/")[2]].items() if key not in value}
        there.pop("description", None)
        value = {**there, **{key: inner for key, inner in value.items() if key != "$ref"}}
    kinds = [kind for kind in value.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return _slim({**kinds[0], **{key: inner for key, inner in value.items() if key != "anyOf"}}, definitions)
    return {
        key: _slim(inner, definitions, is_names=key == "properties")
        for key, inner in value.items()
        if key != "title" and not (key == "default" and (inner is None or inner in ("", [])))
    }
