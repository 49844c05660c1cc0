"""The secret that signs webhooks: the owner's, else a random one in the home's .env, made when it is first needed."""

from __future__ import annotations

import secrets

from hermes.home.env import read_env, set_env
from hermes.home.paths import Home

NAME = "API_SERVER_CALLBACK_SECRET"


def callback_secret(home: Home | None, configured: str | None) -> str:
    """Without a home it lasts as long as the process. Raises ConfigError or OSError where .env cannot be written."""
    if configured:
        return configured
    if home is None:
        return secrets.token_hex(32)
    kept = read_env(home.env_file).get(NAME)  # it may have been set since the settings were read
    if not kept:
        kept = secrets.token_hex(32)
        set_env(home.env_file, NAME, kept)
    return kept
