"""The secret that signs webhooks: the owner's, else a random one in the home's .env, made when it is first needed."""

from __future__ import annotations

import secrets

from hermes.home.env import read_env, set_env
from hermes.home.paths import Home

NAME = "API_SERVER_CALLBACK_SECRET"


def callback_secret(home: Home | None, configured: str | None) -> str:
    """Without a home it lasts as long as the process. Raises ConfigError or OSError where .env cannot be written."""
    kept = own_secret(home, configured)
    if kept is None:
        kept = new_secret()
        if home is not None:
            set_env(home.env_file, NAME, kept)
    return kept


def own_secret(home: Home | None, configured: str | None) -> str | None:
    """What the home says, now: it may have been set since the settings were read."""
    if configured or home is None:
        return configured or None
    return read_env(home.env_file).get(NAME) or None


def new_secret() -> str:
    return secrets.token_hex(32)
