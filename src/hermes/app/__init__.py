"""The composition root: the only place that joins every part."""

from hermes.app.api import build_api, is_weak, model_id, owner_key
from hermes.app.engine import Engine, open_engine

__all__ = ["Engine", "build_api", "is_weak", "model_id", "open_engine", "owner_key"]
