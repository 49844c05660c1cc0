from __future__ import annotations

import pytest

from hermes.core.reasoning import EFFORTS, Effort, known_efforts

LOW = ("low", "medium", "high")


@pytest.mark.parametrize(
    ("provider", "model", "efforts"),
    [
        ("openai", "gpt-6.1-terra", ("none", *LOW)),
        ("openai", "gpt-6.1-sol", LOW),
        ("openai", "gpt-5-mini", ("minimal", *LOW)),
        ("openai", "gpt-4o", ()),
        ("openrouter", "openai/o3", LOW),
        ("anthropic", "claude-sonnet-5-5", EFFORTS),
        ("custom", "my-own", None),
        (None, "qwen3", None),
        ("embedded", "embedded", ()),
        ("ollama", "gpt-4-at-home", None),
        ("ollama", "gpt-oss:20b", LOW),
    ],
)
def test_what_is_known_of_a_model(provider: str | None, model: str, efforts: tuple[Effort, ...] | None) -> None:
    assert known_efforts(provider, model) == efforts
