"""Who answers a search: engines of the web by the library ddgs, which needs no key, or a SearXNG of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import orjson

from hermes.core.errors import ToolFailed
from hermes.toolsets.child import ChildFailed, ask
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.settings import REGION, WebSettings

ASK_DDGS = Path(__file__).with_name("ask_ddgs.py")
MOST_BYTES = 4 << 20
HINT = "(web.searxng_url must lead to a SearXNG whose search.formats have json.)"


@dataclass(frozen=True, slots=True)
class Hit:
    title: str
    url: str
    snippet: str


class SearchEngine(Protocol):
    """`search` raises ToolFailed saying why there is no answer; nothing found is no error."""

    async def search(self, query: str, *, most: int, environment: Mapping[str, str]) -> Sequence[Hit]: ...


class Ddgs:
    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings

    async def search(self, query: str, *, most: int, environment: Mapping[str, str]) -> Sequence[Hit]:
        seconds = self._settings.timeout_seconds
        question = {
            "query": query,
            "region": self._settings.region,
            "backend": self._settings.search_backend,
            "max_results": most,
            "timeout": max(1, int(seconds / 2)),  # of each engine: the others are asked when the first are silent
        }
        try:
            said = await ask(
                ASK_DDGS,
                stdin=orjson.dumps(question),
                environment=environment,
                timeout_seconds=seconds,
                most_bytes=MOST_BYTES,
            )
        except ChildFailed as failed:
            raise ToolFailed(f"no search: {failed}") from failed
        answer = orjson.loads(said)
        if "error" in answer:
            raise ToolFailed(f"no search: {answer['error']}")
        return hits(answer["results"], title="title", url="href", snippet="body")


class SearXng:
    """`fetcher` must take the host of `base_url` as one of its own. `region` as ddgs writes it, country first; the
    default leaves it to the SearXNG, which has a language of its own."""

    def __init__(self, base_url: str, fetcher: Fetcher, region: str = REGION) -> None:
        self._base_url = base_url.rstrip("/")
        self._fetcher = fetcher
        self._where = {} if region == REGION else {"language": language_of(region)}

    async def search(self, query: str, *, most: int, environment: Mapping[str, str]) -> Sequence[Hit]:
        url = f"{self._base_url}/search?{urlencode({'q': query, 'format': 'json', **self._where})}"
        host = urlsplit(self._base_url).netloc
        try:
            fetched = await self._fetcher.get(url, most_bytes=MOST_BYTES, accept="application/json")
            results = orjson.loads(fetched.data)["results"]
        except ToolFailed as failed:
            raise ToolFailed(f"no search: {failed.message} {HINT}") from failed
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ToolFailed(f"no search: what {host} answered is not SearXNG's JSON. {HINT}") from error
        return hits(results, title="title", url="url", snippet="content")[:most]


def language_of(region: str) -> str:
    """`de-DE` for `de-de`, `en-GB` for `uk-en`; `all` where it is no country's (`wt-wt`)."""
    country, _, language = region.partition("-")
    return "all" if country == "wt" else f"{language}-{'GB' if country == 'uk' else country.upper()}"


def hits(results: Any, *, title: str, url: str, snippet: str) -> list[Hit]:
    """From the field names of a service. What has no URL is left out."""
    found = []
    for result in results if isinstance(results, list) else ():
        if isinstance(result, dict) and isinstance(result.get(url), str) and result[url]:
            said = (str(result.get(name) or "") for name in (title, snippet))
            found.append(Hit(next(said), result[url], next(said)))
    return found
