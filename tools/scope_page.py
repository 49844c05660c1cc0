"""docs/reference/scopes.md: which key may call which route, from the table of routes."""

from __future__ import annotations

from hermes.api.routes import ROUTES
from hermes.core.key import INCLUDES, Scope


def scopes_page(made_by: str) -> str:
    rows = ["| route | " + " | ".join(f"`{scope}`" for scope in Scope) + " |", "| --- | " + "--- | " * len(Scope)]
    rows = [row.rstrip() for row in rows]
    public = []
    for route in ROUTES:
        if route.scope is None:
            public.append(f"`{route.method} {route.path}`")
            continue
        marks = ("yes" if route.scope in INCLUDES[scope] else "" for scope in Scope)
        rows.append(f"| `{route.method} {route.path}` | " + " | ".join(marks) + " |")
    parts = [
        "# Scopes",
        made_by,
        "What a key of each scope may call. Without a key every route but the public ones is 401 `invalid_api_key`; "
        "with too small a scope it is 403 `insufficient_scope`. Whatever its scope, a key sees what it made itself and "
        "nothing else: the rest is 404. The owner's key has all scopes. How to make keys: [Keys](../keys.md).",
        "Public: " + ", ".join(public) + ".",
        "\n".join(rows),
    ]
    return "\n\n".join(parts) + "\n"
