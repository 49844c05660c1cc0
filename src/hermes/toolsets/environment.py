"""What a child process gets of our environment: everything but secrets."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hermes.core.redact import is_secret_name

OURS = ("HERMES_", "API_SERVER_", "GATEWAY_")
"""Prefixes of our own settings: a child has no business with them."""


def child_environment(
    environ: Mapping[str, str],
    *,
    secret_names: Collection[str] = (),
    secret_values: Collection[str] = (),
    allowed: Collection[str] = (),
) -> dict[str, str]:
    """The environment for commands.

    Left out: names that hold secrets by their look, our own settings, `secret_names` (all of the home's .env), and
    whatever carries one of `secret_values` under any name. `allowed` (setting `terminal.env_passthrough`) beats all.
    """
    values = [value for value in secret_values if len(value) >= 6]
    kept = {
        name: value
        for name, value in environ.items()
        if name in allowed
        or not (
            name in secret_names
            or name.startswith(OURS)
            or is_secret_name(name)
            or any(secret in value for secret in values)
        )
    }
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return kept
