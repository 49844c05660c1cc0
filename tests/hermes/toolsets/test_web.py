"""`web_search` and `web_extract`, in front of servers of this machine: the network is nobody's business here."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from hermes.core.clock import SystemClock
from hermes.core.errors import ToolFailed
from hermes.core.ports import ToolContext, ToolResult
from hermes.core.untrusted import mark
from hermes.files.reading import ReadDocuments
from hermes.toolsets.environment import child_environment
from hermes.toolsets.settings import WebSettings
from hermes.toolsets.toolset import Toolset
from hermes.toolsets.web import web_toolset
from hermes.toolsets.web.engines import Ddgs, Hit, hits
from tests.support.documents import pdf, png
from tests.support.stand_in import NEVER, Answer, Pages

HTML = "text/html; charset=utf-8"
TEA = """<html><head><title>All about  tea</title></head><body><nav><a href="/x">Home</a></nav><main><h2>Tea</h2>
<p>Boil <a href="water?hot=1">water</a> first. It takes five minutes or so, then pour it over the leaves.</p>
<table><tr><th>leaf</th><th>minutes</th></tr><tr><td>green</td><td>2</td></tr></table></main></body></html>"""
TEA_TEXT = """\
## Tea

Boil [water]({url}/water?hot=1) first. It takes five minutes or so, then pour it over the leaves.

| leaf | minutes |\x20
|---|---|
| green | 2 |"""


class Found:
    """A search engine that finds what it is told to."""

    def __init__(self, *found: Hit, raises: ToolFailed | None = None) -> None:
        self.found = found
        self.raises = raises
        self.asked: list[tuple[str, int]] = []

    async def search(self, query: str, *, most: int, environment: Mapping[str, str]) -> Sequence[Hit]:
        self.asked.append((query, most))
        if self.raises is not None:
            raise self.raises
        return self.found


class Web:
    def __init__(self, toolset: Toolset, environ: Mapping[str, str] | None = None) -> None:
        self.tools = {tool.spec.name: tool for tool in toolset.tools}
        self.environment = child_environment({**os.environ, **(environ or {})})
        self.state: dict[str, Any] = {}

    async def __call__(self, name: str, **arguments: Any) -> ToolResult:
        tool = self.tools[name]
        context = ToolContext("s1", "run_1", "call_1", Path(), None, SystemClock(), self.environment, self.state)
        return await tool.run(tool.parse(json.dumps(arguments)), context)

    async def failure(self, name: str, **arguments: Any) -> str:
        with pytest.raises(ToolFailed) as failed:
            await self(name, **arguments)
        return failed.value.message


@asynccontextmanager
async def pages(given: Mapping[str, Answer], **settings: Any) -> AsyncIterator[tuple[Pages, Web]]:
    with Pages(given) as server:
        hosts = (server.host,)
        web = web_toolset(WebSettings(allow_private_hosts=hosts, **settings), documents=ReadDocuments())
        yield server, Web(web)


def page(text: str | bytes, media_type: str = HTML, **headers: str) -> Answer:
    body = text.encode() if isinstance(text, str) else text
    return Answer(200, body, media_type, headers)


async def test_search_results_are_numbered_each_with_its_address() -> None:
    engine = Found(Hit("Tea\n\x1b[1m time", "https://tea.example/a", "Boil   water"), Hit("", "https://b.example/", ""))
    web = Web(web_toolset(WebSettings(max_results=3), engine=engine))
    result = await web("web_search", query="tea")
    assert engine.asked == [("tea", 3)]
    assert result == ToolResult(
        "1. Tea time\n   https://tea.example/a\n   Boil water\n2. (no title)\n   https://b.example/",
        preview="2 results",
    )


async def test_more_results_than_wanted_are_left_out_and_none_is_said() -> None:
    many = [Hit(str(number), f"https://{number}.example/", "") for number in range(9)]
    web = Web(web_toolset(WebSettings(max_results=2), engine=Found(*many)))
    assert (await web("web_search", query="tea")).preview == "2 results"
    nothing = await Web(web_toolset(engine=Found()))("web_search", query="tea")
    assert nothing.content == "Nothing was found; try fewer or other words."


async def test_a_search_that_does_not_work_is_told() -> None:
    web = Web(web_toolset(engine=Found(raises=ToolFailed("no search: quiet"))))
    assert await web.failure("web_search", query="tea") == "no search: quiet"
    assert "query" in await web_failure_of_arguments(web, query="")


async def web_failure_of_arguments(web: Web, **arguments: Any) -> str:
    with pytest.raises(ToolFailed) as failed:
        web.tools["web_search"].parse(json.dumps(arguments))
    return failed.value.message


def test_what_ddgs_gives_has_the_fields_that_are_read() -> None:
    from ddgs.results import ResultsAggregator, TextResult

    aggregated: ResultsAggregator[set[str]] = ResultsAggregator({"href", "image", "url", "embed_url"})
    aggregated.extend([TextResult("Tea &amp; time", "https://tea.example/a%20b", "Boil <b>water</b>")])  # type: ignore[list-item]
    found = hits(aggregated.extract_dicts(), title="title", url="href", snippet="body")
    assert [(hit.title, hit.snippet) for hit in found] == [("Tea & time", "Boil water")]
    assert found[0].url.startswith("https://tea.example/a")


def test_what_an_engine_gives_wrongly_is_left_out() -> None:
    given = ["text", {"title": "no address"}, {"url": 7}, {"url": "https://a.example/", "title": None}]
    assert hits(given, title="title", url="url", snippet="content") == [Hit("", "https://a.example/", "")]
    assert hits(None, title="title", url="url", snippet="content") == []


async def test_engines_that_cannot_be_reached_fail_the_search_in_words() -> None:
    with socket.socket() as closed:  # bound and not listening: whoever connects is refused
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        settings = WebSettings(timeout_seconds=20, search_backend="duckduckgo")
        said = await Web(web_toolset(settings), {"DDGS_PROXY": proxy}).failure("web_search", query="tea")
    assert said.startswith("no search: ")
    assert "error" in said.lower()


async def test_an_engine_that_does_not_exist_is_named_with_those_that_do() -> None:
    web = Web(web_toolset(WebSettings(search_backend="duckduckgo, altavista")))
    said = await web.failure("web_search", query="tea")
    assert said.startswith("no search: web.search_backend names altavista; there are auto, ")
    assert "duckduckgo" in said


@asynccontextmanager
async def silence() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A proxy that takes connections and says nothing, and whether one came."""
    came, ends = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await ends.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        ends.set()
        server.close()


def searching_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "ask_ddgs.py" in " ".join(child.cmdline())]


async def test_silent_engines_are_given_up() -> None:
    async with silence() as (proxy, _):
        settings = WebSettings(timeout_seconds=2.0, search_backend="duckduckgo")
        environment = child_environment({**os.environ, "DDGS_PROXY": proxy})
        with pytest.raises(ToolFailed, match="no search: "):
            await Ddgs(settings).search("tea", most=3, environment=environment)
    assert not searching_processes()


async def test_a_stopped_search_is_gone_with_its_process_within_a_second() -> None:
    async with silence() as (proxy, came):
        settings = WebSettings(timeout_seconds=60, search_backend="duckduckgo")
        environment = child_environment({**os.environ, "DDGS_PROXY": proxy})
        search = asyncio.create_task(Ddgs(settings).search("tea", most=3, environment=environment))
        async with asyncio.timeout(30):
            await came.wait()
        assert searching_processes()
        search.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await search
        assert not searching_processes()


@pytest.mark.parametrize(
    ("region", "language"), [("us-en", None), ("de-de", "de-DE"), ("uk-en", "en-GB"), ("wt-wt", "all")]
)
async def test_a_searxng_is_asked_for_the_region_that_is_set(region: str, language: str | None) -> None:
    with Pages({"/search": Answer.of({"results": []})}) as server:
        web = Web(web_toolset(WebSettings(searxng_url=server.url, region=region)))
        await web("web_search", query="tea")
    assert server.asked[0].query == "q=tea&format=json" + (f"&language={language}" if language else "")


async def test_a_searxng_of_ones_own_is_asked_instead() -> None:
    results = [{"title": "Tea", "url": "https://tea.example/", "content": "Boil water"}] * 3
    with Pages({"/sx/search": Answer.of({"results": results})}) as server:
        web = Web(web_toolset(WebSettings(searxng_url=f"{server.url}/sx", max_results=2)))
        result = await web("web_search", query="tea & time")
        server.pages["/sx/search"] = page("<html>")
        no_json = await web.failure("web_search", query="tea")
        server.pages["/sx/search"] = Answer(403)
        refused = await web.failure("web_search", query="tea")
    assert server.asked[0].query == "q=tea+%26+time&format=json"
    assert result.preview == "2 results"
    hint = "(web.searxng_url must lead to a SearXNG whose search.formats have json.)"
    assert no_json == f"no search: what {server.host} answered is not SearXNG's JSON. {hint}"
    assert refused == f"no search: {server.url}/sx/search: the server answered 403. {hint}"


async def test_a_page_is_given_as_markdown_with_whole_links() -> None:
    async with pages({"/a": page(TEA)}) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/a#top"])
    text = TEA_TEXT.format(url=server.url)
    assert result == ToolResult(f"# All about tea\nURL: {server.url}/a\n\n{text}", preview="All about tea")


async def test_a_page_of_links_keeps_them() -> None:
    news = "".join(f"<div><a href='/n{n}'>News number {n}</a><span>{n} points</span></div>" for n in range(20))
    async with pages({"/": page(f"<html><body><div>{news}</div></body></html>")}) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/"])
    assert f"- [News number 19]({server.url}/n19)" in result.content


async def test_several_pages_are_read_at_once_and_one_that_fails_costs_the_others_nothing() -> None:
    given = {"/a": page(TEA), "/t": page("plain", "text/plain"), "/out": Answer(302, headers={"Location": "/t"})}
    async with pages(given) as (server, web):
        url = server.url
        result = await web("web_extract", urls=[f"{url}/a", f"{url}/missing", f"{url}/out", f"{url}/a"])
    parts = [
        f"# All about tea\nURL: {url}/a\n\n{TEA_TEXT.format(url=url)}",
        f"{url}/missing: the server answered 404.",
        f"URL: {url}/t (from {url}/out)\n\nplain",
    ]
    asked = [f"{url}/a", f"{url}/missing", f"{url}/out"]
    assert result == ToolResult(
        "\n\n".join(map(mark, asked, parts)), preview=f"All about tea, {server.host} (1 failed)"
    )


async def test_where_nothing_could_be_read_the_call_has_failed() -> None:
    async with pages({}) as (server, web):
        said = await web.failure("web_extract", urls=[f"{server.url}/a", f"{server.url}/b"])
    assert said == f"{server.url}/a: the server answered 404.\n{server.url}/b: the server answered 404."


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/", "does not lead to a public address"),
        ("http://169.254.169.254/latest/meta-data/", "hands out credentials of this machine"),
        ("localhost/x", "is a name of this network"),
        ("file:///etc/passwd", "the URL must start with http:// or https://"),
        ("http://[::ffff:127.0.0.1]/", "does not lead to a public address"),
        ("http://2130706433/", "does not lead to a public address"),
    ],
)
async def test_addresses_of_this_network_are_refused(url: str, why: str) -> None:
    assert why in await Web(web_toolset()).failure("web_extract", urls=[url])


@pytest.mark.parametrize(
    "there", ["http://127.0.0.1:1/", "http://169.254.169.254/latest", "//[::1]/", "file:///etc/passwd"]
)
async def test_a_redirect_into_this_network_is_refused(there: str) -> None:
    async with pages({"/a": Answer(302, headers={"Location": there})}) as (server, web):
        said = await web.failure("web_extract", urls=[f"{server.url}/a"])
    assert "root:" not in said
    assert any(why in said for why in ("public address", "credentials", "must start with http"))


async def test_the_metadata_address_is_refused_to_an_owner_too() -> None:
    web = Web(web_toolset(WebSettings(allow_private_hosts=("169.254.169.254",))))
    assert "credentials" in await web.failure("web_extract", urls=["http://169.254.169.254/latest"])


async def test_a_long_text_is_cut_and_goes_on_from_where_it_was_shown() -> None:
    text = "".join(f"{number:04d} " for number in range(50))  # 250 characters
    async with pages({"/a": page(text, "text/plain")}, output_characters=100) as (server, web):
        url = f"{server.url}/a"
        first = await web("web_extract", urls=[url])
        server.pages["/a"] = page("it changed", "text/plain")
        second = await web("web_extract", urls=[url], offset=100)
        third = await web("web_extract", urls=[url], offset=200)
        beyond = await web("web_extract", urls=[url], offset=999)
    head = f"URL: {url}\n\n"
    assert first.content == f"{head}{text[:100]}\n[characters 0 to 100 of 250; the rest: offset 100]"
    assert second.content == f"{head}{text[100:200]}\n[characters 100 to 200 of 250; the rest: offset 200]"
    assert third.content == f"{head}{text[200:]}"
    assert beyond.content == f"{head}\n[it has 250 characters: nothing is at offset 999]"
    assert len(server.asked) == 1


async def test_a_huge_body_is_read_to_the_limit_packed_or_not() -> None:
    bomb = gzip.compress(b"a" * (20 << 20))
    given = {"/big": page(b"b" * 5000, "text/plain"), "/bomb": page(bomb, "text/plain", **{"Content-Encoding": "gzip"})}
    async with pages(given, max_bytes=1000) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/big", f"{server.url}/bomb"])
    note = "[only the first 1,000 bytes were read (web.max_mb)]"
    assert f"URL: {server.url}/big\n\n{'b' * 1000}\n{note}\n" in result.content
    assert f"URL: {server.url}/bomb\n\n{'a' * 1000}\n{note}\n" in result.content


async def test_a_slow_page_is_given_up() -> None:
    async with pages({}, timeout_seconds=0.2) as (server, web):
        server.next.append(NEVER)
        said = await web.failure("web_extract", urls=[f"{server.url}/a"])
    assert said == f"{server.url}/a: nothing came within 0.2 s."


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ("Grüße".encode("cp1252"), "text/plain; charset=windows-1252"),
        ("Grüße".encode(), "text/plain; charset=no-such-charset"),
        ("Grüße".encode(), "text/plain; charset=undefined"),  # a codec of Python's that fails at all it is given
        ("Grüße".encode(), "application/json; charset=idna"),
        ("\ufeffGrüße".encode(), "text/plain"),
        ("<html><head><meta charset=iso-8859-1></head><body><p>Grüße</p></body></html>".encode("latin-1"), "text/html"),
        ("<html><body><p>Grüße</p></body></html>".encode(), "text/html; charset=no-such-charset"),
        ("<html><body><p>Grüße</p></body></html>".encode(), "text/html; charset=undefined"),
    ],
)
async def test_text_is_read_in_the_charset_it_is_in(body: bytes, media_type: str) -> None:
    async with pages({"/a": page(body, media_type)}) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/a"])
    assert result.content.endswith("\n\nGrüße")


async def test_text_in_no_charset_at_all_is_shown_as_far_as_it_is_text() -> None:
    async with pages({"/a": page(b"ok \xff\xfe\x1b[31m", "text/plain; charset=utf-8")}) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/a"])
    assert result.content.endswith("\n\nok \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")


async def test_json_is_text_a_pdf_is_read_and_a_picture_is_refused() -> None:
    given = {
        "/j": page('{"a": 1}', "application/vnd.api+json"),
        "/p": page(pdf("Boil water"), "application/octet-stream"),
        "/i": page(png(), "image/png"),
        "/x": page(b"%PDF-1.4 broken", "application/pdf"),
    }
    async with pages(given) as (server, web):
        url = server.url
        result = await web("web_extract", urls=[f"{url}{path}" for path in given])
    for said in (
        f'URL: {url}/j\n\n{{"a": 1}}\n',
        f"URL: {url}/p\n\n--- page 1 ---\nBoil water\n[1 page]\n",
        f"{url}/i: it is image/png, {len(png())} bytes: no text can be read\n",
        f"{url}/x: the document cannot be read: it is damaged (PdfStreamError)\n",
    ):
        assert said in result.content


@pytest.mark.parametrize(
    "body", ["", "   ", "<html>", "<" * 5000, "<div>" * 20_000, "\0\0\0", "<!DOCTYPE html><body></body>"]
)
async def test_broken_html_harms_nobody(body: str) -> None:
    async with pages({"/a": page(body), "/b": page(TEA)}) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/a", f"{server.url}/b"])
    assert TEA_TEXT.format(url=server.url) in result.content


async def test_a_piece_of_html_is_given_as_the_text_it_holds() -> None:
    async with pages({"/a": page("Boil &amp; wait")}) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/a"])
    assert result.content == f"URL: {server.url}/a\n\nBoil & wait\n[its plain text alone could be read]"


@pytest.mark.slow
async def test_a_page_that_takes_too_long_to_lay_out_is_given_as_plain_text() -> None:
    rows = "".join(f"<tr><td>{number}<td>b</tr>" for number in range(300_000))
    async with pages({"/a": page(f"<html><table>{rows}")}, timeout_seconds=60) as (server, web):
        result = await web("web_extract", urls=[f"{server.url}/a"])
    assert result.content.startswith(f"URL: {server.url}/a\n\n0\nb\n1\nb\n")
    assert "[its plain text alone could be read; only the first 400,000 characters are there]" in result.content


async def test_a_stopped_extraction_is_gone_within_a_second() -> None:
    async with pages({}) as (server, web):
        server.next.append(NEVER)
        call = asyncio.create_task(web("web_extract", urls=[f"{server.url}/a"]))
        await asyncio.to_thread(server.came.wait, 5)
        call.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await call
