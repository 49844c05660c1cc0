"""The agent as a Python library: `AIAgent`, what it returns, and what it raises. docs/library.md shows its use."""

from __future__ import annotations

import logging

from hermes.core import event as events
from hermes.core.errors import (
    HermesError,
    InvalidInput,
    LimitReached,
    NoModel,
    StreamCut,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
)
from hermes.library.agent import AIAgent
from hermes.library.conversation import Conversation, RunStopped

__all__ = [
    "AIAgent",
    "Conversation",
    "HermesError",
    "InvalidInput",
    "LimitReached",
    "NoModel",
    "RunStopped",
    "StreamCut",
    "UpstreamAuth",
    "UpstreamError",
    "UpstreamRateLimited",
    "UpstreamRejected",
    "UpstreamUnreachable",
    "events",
]

logging.getLogger("hermes").addHandler(logging.NullHandler())  # a library says nothing unless its user asks for logs
