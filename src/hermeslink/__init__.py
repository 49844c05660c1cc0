"""Hermes Link: people and their devices on an agent. A client of the API server, and of nothing behind it."""

from hermes import __version__ as __version__
