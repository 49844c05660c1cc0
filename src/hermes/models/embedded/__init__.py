"""The built-in language model: it answers with no key, no account and no network. docs/embedded-model.md"""

from .builtin import BUILTINS, EMBEDDED, EMBEDDED_SMALL, Builtin
from .model import EmbeddedModel
from .parts import NoRoom, PartsMissing, PartsWrong, Progress, is_available, missing

__all__ = [
    "BUILTINS",
    "EMBEDDED",
    "EMBEDDED_SMALL",
    "Builtin",
    "EmbeddedModel",
    "NoRoom",
    "PartsMissing",
    "PartsWrong",
    "Progress",
    "is_available",
    "missing",
]
