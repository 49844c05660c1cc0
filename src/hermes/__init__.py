"""Hermes: a tool-using agent behind an OpenAI-compatible API."""

__version__ = "0.1.0"
