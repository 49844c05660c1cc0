"""`from run_agent import AIAgent`: the import that published examples use. The code is in `hermes.library`."""

from __future__ import annotations

from hermes.library import (
    AIAgent,
    Conversation,
    HermesError,
    InvalidInput,
    LimitReached,
    NoModel,
    RunStopped,
    StreamCut,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
    events,
)

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
