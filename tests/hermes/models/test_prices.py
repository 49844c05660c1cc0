from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import calc_price
from genai_prices import types as genai

from hermes.core.run import Usage
from hermes.models import prices

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "table"),
    [
        ("openai", "gpt-6.1-terra", "openai"),
        ("anthropic", "claude-sonnet-5-5", "anthropic"),
        ("google", "gemini-3.8-flash", "google"),
        ("mistral", "mistral-medium-latest", "mistral"),
        ("groq", "openai/gpt-oss-120b", "groq"),
        ("deepseek", "deepseek-v4-pro", "deepseek"),
        ("xai", "grok-4.7", "x-ai"),
        ("together", "zai-org/GLM-5.3", "together"),
    ],
)
@pytest.mark.parametrize(
    "usage",
    [
        Usage(1_000, 200),
        Usage(50_000, 900, cache_read_tokens=40_000),
        Usage(600_000, 10, cache_read_tokens=100, cache_write_tokens=300),
    ],
    ids=["plain", "cached", "long"],
)
def test_a_price_is_the_one_of_the_tables(provider: str, model: str, table: str, usage: Usage) -> None:
    theirs = calc_price(
        genai.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens or None,
            cache_write_tokens=usage.cache_write_tokens or None,
        ),
        model,
        provider_id=table,
        genai_request_timestamp=NOON,
    )
    ours = prices.cost_usd(provider, model, usage, NOON.timestamp())
    assert ours is not None
    assert round(Decimal(ours), 9) == round(theirs.total_price, 9)


@pytest.mark.parametrize(
    ("provider", "model", "cost"),
    [
        ("openai", "a-model-nobody-knows", None),
        ("nous", "Hermes-4-405B", None),
        ("127.0.0.1:9000", "gpt-6.1-terra", None),
        ("ollama", "qwen3", 0.0),
        ("vllm", "x", 0.0),
        ("embedded", "embedded", 0.0),
    ],
)
def test_unknown_is_none_and_ones_own_machine_is_nothing(provider: str, model: str, cost: float | None) -> None:
    assert prices.cost_usd(provider, model, Usage(1000, 1000)) == cost


def test_what_the_provider_billed_counts_before_the_table() -> None:
    assert prices.cost_usd("openrouter", "openrouter/auto", Usage(1, 1, cost_usd=0.125)) == 0.125


def test_the_context_length_is_known_where_the_tables_know_it() -> None:
    prices.warm("anthropic")
    assert prices._thread is not None
    prices._thread.join()
    assert prices.context_length("anthropic", "claude-sonnet-5-5") == 1_000_000
    assert prices.context_length("openai", "a-model-nobody-knows") is None
    assert prices.context_length("ollama", "qwen3") is None


def test_a_model_that_costs_nothing_needs_no_tables() -> None:
    code = (
        "import sys; from hermes.core.run import Usage; from hermes.models import prices, resolve\n"
        "for provider in ('ollama', 'embedded', '127.0.0.1:1', 'vllm'):\n"
        "    prices.warm(provider); prices.cost_usd(provider, 'm', Usage(1, 1))\n"
        "print(prices._thread, sorted({'genai_prices', 'aiohttp', 'pydantic_ai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None []\n"
