"""What a call costs, in US dollars, from the tables of genai-prices.

Its import takes 0.2 s, so it happens in a thread, begun when a model that costs money is first used, and is never
needed for one that costs nothing. A model's rates are kept, so that a turn costs a microsecond.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hermes.core.providers import LOCAL, provider_named
from hermes.core.run import Usage

_KEPT_SECONDS = 600.0
"""Some rates depend on the date or the hour, so they are read again."""
_FREE = frozenset({*LOCAL, "embedded"})
_NAMES = {"bedrock": "aws", "google-cloud": "google"}

_lock = threading.Lock()
_thread: threading.Thread | None = None
_is_imported = False


def warm(provider: str) -> None:
    """Begin the import, if this provider's models can have a price. Returns at once."""
    global _thread
    if _table_of(provider) is not None and _thread is None:
        with _lock:
            if _thread is None:
                _thread = threading.Thread(target=_import, name="model-prices", daemon=True)
                _thread.start()


def cost_usd(provider: str, model: str, usage: Usage, now: float | None = None) -> float | None:
    """None where the price is unknown; 0.0 for a model that runs on a machine of one's own: nobody bills it.

    What the provider itself said (OpenRouter does) counts before the table. Waits for the import if `warm` was not
    called long enough before.
    """
    if usage.cost_usd is not None:
        return usage.cost_usd
    if provider in _FREE:
        return 0.0
    if _table_of(provider) is None:
        return None
    rates = _rates(provider, model, time.time() if now is None else now).rates
    return rates.cost(usage) if rates is not None else None


def context_length(provider: str, model: str, now: float | None = None) -> int | None:
    """The tokens that the model takes, where the tables know it. Waits for no import: before it, nothing is known."""
    if not _is_imported or _table_of(provider) is None:
        return None
    return _rates(provider, model, time.time() if now is None else now).context_length


@dataclass(frozen=True, slots=True)
class _Rate:
    """Dollars a million tokens. Above a tier's start, counted in input tokens of the call, its price holds for all."""

    base: float
    tiers: tuple[tuple[int, float], ...] = ()

    def at(self, input_tokens: int) -> float:
        price = self.base
        for start, tier_price in self.tiers:
            if input_tokens > start:
                price = tier_price
        return price


@dataclass(frozen=True, slots=True)
class _Rates:
    input: _Rate
    output: _Rate
    cache_read: _Rate
    cache_write: _Rate

    def cost(self, usage: Usage) -> float:
        count = usage.input_tokens
        fresh = max(0, count - usage.cache_read_tokens - usage.cache_write_tokens)
        total = (
            fresh * self.input.at(count)
            + usage.cache_read_tokens * self.cache_read.at(count)
            + usage.cache_write_tokens * self.cache_write.at(count)
            + usage.output_tokens * self.output.at(count)
        )
        return total / 1_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    rates: _Rates | None
    context_length: int | None
    until: float


_known: dict[tuple[str, str], _Known] = {}


def _rates(provider: str, model: str, now: float) -> _Known:
    known = _known.get((provider, model))
    if known is None or known.until < now:
        known = _look_up(_table_of(provider) or "", model, now)
        _known[provider, model] = known
    return known


def _look_up(table: str, model: str, now: float) -> _Known:
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, info = get_snapshot().find_provider_model(model, None, table, None)
        price = info.get_prices(datetime.fromtimestamp(now, UTC))
    except LookupError:
        return _Known(None, None, now + _KEPT_SECONDS)
    entry = _rate(getattr(price, "input_mtok", None))
    output = _rate(getattr(price, "output_mtok", None))
    rates = None
    if entry is not None and output is not None:
        read = _rate(getattr(price, "cache_read_mtok", None)) or entry
        write = _rate(getattr(price, "cache_write_mtok", None)) or entry
        rates = _Rates(entry, output, read, write)
    return _Known(rates, info.context_window, now + _KEPT_SECONDS)


def _rate(price: Any) -> _Rate | None:
    if price is None:
        return None
    tiers = getattr(price, "tiers", None)
    if tiers is None:
        return _Rate(float(price))
    return _Rate(float(price.base), tuple((tier.start, float(tier.price)) for tier in tiers))


def _table_of(provider: str) -> str | None:
    """The provider's name in the tables; None where it is in none, and no import is worth while."""
    known = provider_named(provider)
    if known is not None:
        return known.prices or known.name
    return _NAMES.get(provider)


def _import() -> None:
    global _is_imported
    import genai_prices.data_snapshot

    genai_prices.data_snapshot.get_snapshot()
    _is_imported = True
