"""What docs/models.md promises is there, and what is there it names."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import hermes
from hermes.core.providers import PROVIDERS, Provider
from hermes.models.script import Step

DOCS = Path(hermes.__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_each_providers_key_is_documented_in_its_place(provider: Provider, text: str) -> None:
    places = [text.index(f"`{each.keys[0]}`") for each in PROVIDERS]
    assert places == sorted(places)
    assert f"`{provider.keys[0]}`" in text


@pytest.mark.parametrize("name", [field.name for field in fields(Step)])
def test_each_field_of_a_scripted_step_is_documented(name: str, text: str) -> None:
    assert f"`{name}`" in text
