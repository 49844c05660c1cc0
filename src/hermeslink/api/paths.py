"""Which route a path is of, known before the router is asked: access, limits and errors go by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from hermeslink.api.access import Row

ROW = "hermeslink.row"
"""Where the door leaves what it let in, in the scope of a request."""

_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads. `path` is the table's, with `{}` for every parameter; `methods` what it is served with."""

    path: str
    methods: frozenset[str]
    parameters: dict[str, str]

    @property
    def allowed(self) -> str:
        head = {"HEAD"} if "GET" in self.methods else set()
        return ", ".join(sorted({*self.methods, *head, "OPTIONS"}))


@dataclass(slots=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    routes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    path: str = ""


class LetIn(BaseRoute):
    """The router's only route: it runs what the door has let in and nothing else, without a second search."""

    def __init__(self, routes: Sequence[APIRoute]) -> None:
        self._routes = {(method, shape_of(route.path)): route for route in routes for method in route.methods or ()}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._routes[scope[ROW]].matches(scope) if scope["type"] == "http" else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._routes[scope[ROW]].handle(scope, receive, send)


class Paths:
    """A tree of segments. Raises ValueError for a path that it could read differently from its route."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._root = _Node()
        for method, path in rows:
            self._add(method, path)

    def find(self, method: str, path: str) -> Place | None:
        """The route of that method, else all that is served at the path; None where there is nothing."""
        found: list[tuple[_Node, list[str]]] = []
        _walk(self._root, path.split("/")[1:], [], found)
        if not found or not path.startswith("/"):
            return None
        methods = frozenset(method for node, _ in found for method in node.routes)
        node, values = next(((node, values) for node, values in found if method in node.routes), found[0])
        names = node.routes.get(method) or next(iter(node.routes.values()))
        return Place(node.path, methods, dict(zip(names, values, strict=True)))

    def _add(self, method: str, path: str) -> None:
        node, names = self._root, []
        for segment in path.split("/")[1:]:
            match = _PARAMETER.fullmatch(segment)
            if match is not None:
                names.append(match[1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            elif "{" in segment:
                raise ValueError(f"{path}: a parameter must be a whole segment")
            else:
                node = node.fixed.setdefault(segment, _Node())
        node.routes[method] = tuple(names)
        node.path = shape_of(path)


def shape_of(path: str) -> str:
    return _PARAMETER.sub("{}", path)


def _walk(node: _Node, segments: list[str], values: list[str], found: list[tuple[_Node, list[str]]]) -> None:
    """What has fixed words comes before what has parameters."""
    if not segments:
        if node.routes:
            found.append((node, values))
        return
    first, *rest = segments
    if first in node.fixed:
        _walk(node.fixed[first], rest, values, found)
    if node.parameter is not None and first:
        _walk(node.parameter, rest, [*values, first], found)
