"""The toolset `web`: search without a key, and pages as text."""

from __future__ import annotations

from urllib.parse import urlsplit

from hermes.core.addresses import DEFAULT_PORTS, Resolver
from hermes.core.ports import DocumentReader
from hermes.core.toolset import TOOLSETS
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.settings import WebSettings
from hermes.toolsets.toolset import Toolset
from hermes.toolsets.web.engines import Ddgs, SearchEngine, SearXng
from hermes.toolsets.web.extract import WebExtractTool
from hermes.toolsets.web.search import WebSearchTool


def web_toolset(
    settings: WebSettings | None = None,
    *,
    documents: DocumentReader | None = None,
    engine: SearchEngine | None = None,
    resolve: Resolver | None = None,
) -> Toolset:
    """`documents` None: PDF and Office documents are not read. `engine` instead of the one that the settings name."""
    settings = settings or WebSettings()
    fetcher = _fetcher(settings, settings.allow_private_hosts, resolve)
    tools = (
        WebSearchTool(engine or _engine(settings, resolve), settings.max_results),
        WebExtractTool(fetcher, settings, documents),
    )
    return Toolset(TOOLSETS["web"], tools)


def _engine(settings: WebSettings, resolve: Resolver | None) -> SearchEngine:
    if settings.searxng_url is None:
        return Ddgs(settings)
    parts = urlsplit(settings.searxng_url)  # the owner names it: it may be in the owner's network
    own = f"{parts.hostname}:{parts.port or DEFAULT_PORTS.get(parts.scheme, 443)}"
    return SearXng(settings.searxng_url, _fetcher(settings, (own,), resolve), settings.region)


def _fetcher(settings: WebSettings, hosts: tuple[str, ...], resolve: Resolver | None) -> Fetcher:
    return Fetcher(hosts=hosts, timeout_seconds=settings.timeout_seconds, resolve=resolve, allow_http=True)
