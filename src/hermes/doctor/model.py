"""Whether the language model answers: it is asked something short, as a run would ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hermes.core.errors import HermesError, NoModel, UpstreamAuth
from hermes.core.message import Message
from hermes.core.model import ModelRequest
from hermes.doctor.finding import Finding, Severity
from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermes.home.settings import Settings

if TYPE_CHECKING:
    from hermes.models.resolve import Models

PROBE_SECONDS = 20.0
QUESTION = Message("user", "Answer with the word ok.")
MOST_TOKENS = 16


async def examine(
    home: Home, settings: Settings, environ: Mapping[str, str], *, seconds: float = PROBE_SECONDS
) -> list[Finding]:
    from hermes.models.choice import setting_of
    from hermes.models.resolve import Models
    from hermes.models.retry import RetryPolicy

    own_port = running.url.rpartition(":")[2] if (running := running_gateway(home.pid_file)) and running.url else "0"
    models = Models(
        setting_of(settings.model),
        routes={name: setting_of(route) for name, route in settings.model_routes.items()},
        environ={**environ, **settings.environ},
        own_ports=(8642, settings.api_server.port, int(own_port)),
        policy=RetryPolicy(tries=1),
    )
    try:
        await models.choose()
        if models.choice is not None and models.choice.source == "embedded":
            return []  # it is a part of this program, and starting it takes a gigabyte
        try:
            async with asyncio.timeout(seconds):
                model = await models.resolve(None)
                async for _ in model.stream(ModelRequest((QUESTION,), params={"max_tokens": MOST_TOKENS})):
                    pass
        except TimeoutError:
            return [_unreachable(home, f"the model did not answer within {seconds:g} s")]
        except NoModel as error:
            return [Finding("no_model", Severity.ERROR, error.message, f"{home.command} model")]
        except UpstreamAuth as error:
            return [Finding("model_key", Severity.ERROR, error.message, _new_key(home, models))]
        except HermesError as error:
            return [_unreachable(home, error.message)]
    finally:
        await models.close()
    return []


def _unreachable(home: Home, why: str) -> Finding:
    return Finding("model_unreachable", Severity.ERROR, why, f"{home.command} model")


def _new_key(home: Home, models: Models) -> str:
    used = next((candidate.key_name for candidate in models.candidates if candidate.is_usable), "")
    return f"{home.command} config set {used} YOUR_KEY" if used else f"{home.command} model"
