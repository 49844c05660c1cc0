"""The browser, where there is one: in front of servers of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from hermes.core.clock import SystemClock
from hermes.core.errors import ToolFailed
from hermes.core.ports import ToolContext
from hermes.toolsets.browser import browser_toolset, there
from hermes.toolsets.browser.browser import why_not
from hermes.toolsets.environment import child_environment
from hermes.toolsets.registry import Registry
from hermes.toolsets.settings import BrowserSettings
from tests.support.stand_in import NEVER, Answer, Pages
from tests.support.waiting import eventually

MISSING = there.problem(None)
needs_browser = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def page(text: str, **headers: str) -> Answer:
    return Answer(200, text.encode(), "text/html; charset=utf-8", headers)


FIRST = page("<title>First</title><a href=/two>Two</a><a href=/two target=_blank>In a new window</a>")
SECOND = page("<title>Second</title><h1>Here</h1>")
GONE = Answer(404, b"<title>Gone</title>", "text/html")
FORM = page(
    "<title>Form</title><form action=/found><input name=q aria-label=Query></form>"
    "<p id=p>nothing</p><script>addEventListener('keydown', e => p.textContent = 'pressed ' + e.key)</script>"
)


class Surfing:
    """Calls the tools of one registry as turns do."""

    def __init__(self, settings: BrowserSettings) -> None:
        self.registry = Registry([browser_toolset(settings)])
        self.environment = child_environment(os.environ)

    async def __call__(self, what: str, *, session: str = "s1", run: str = "run_1", **arguments: Any) -> str:
        tool = self.registry.tools[f"browser_{what}"]
        context = ToolContext(session, run, "call_1", Path(), None, SystemClock(), self.environment, {})
        return (await tool.run(tool.parse(json.dumps(arguments)), context)).content

    async def failure(self, what: str, **arguments: Any) -> str:
        with pytest.raises(ToolFailed) as failed:
            await self(what, **arguments)
        return failed.value.message


@asynccontextmanager
async def surfing(pages: Mapping[str, Answer], **settings: Any) -> AsyncIterator[tuple[Pages, Surfing]]:
    with Pages(pages) as server:
        own = {"allow_private_hosts": (server.host,), "timeout_seconds": 15.0, "is_sandboxed": False}
        surf = Surfing(BrowserSettings(**{**own, **settings}))
        try:
            yield server, surf
        finally:
            await surf.registry.close()


def ref(shown: str, name: str) -> str:
    found = re.search(rf'"{name}".*?\[ref=(\w+)\]', shown)
    assert found is not None, shown
    return found[1]


def command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "worker.py" in command(child)]


def everything(worker: psutil.Process) -> list[psutil.Process]:
    return [worker, *worker.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def directories() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("hermes-browser-*"))


@needs_browser
async def test_pages_are_shown_clicked_and_left_again() -> None:
    async with surfing({"/": FIRST, "/two": SECOND, "/none": GONE}) as (server, surf):
        assert await surf.failure("snapshot") == "no page is open; browser_navigate opens one"
        first = await surf("navigate", url=server.url)
        assert first.startswith(f"First\nURL: {server.url}/\n\n- ")
        second = await surf("click", ref=ref(first, "Two"))
        assert second.startswith(f'Second\nURL: {server.url}/two\n\n- heading "Here"')
        first = await surf("back")
        assert first.startswith("First\n")
        assert (await surf("click", ref=ref(first, "In a new window"))).startswith("Second\n")
        assert (await surf("back")).startswith("First\n")
        assert (await surf("navigate", url=f"{server.url}/none")).startswith("Gone [HTTP 404]\n")


@needs_browser
async def test_text_is_typed_keys_are_pressed_and_scripts_run() -> None:
    long = page("<ul>" + "".join(f"<li>item {number}</li>" for number in range(100)) + "</ul>")
    async with surfing({"/": FORM, "/found": SECOND, "/long": long}, output_characters=300) as (server, surf):
        form = await surf("navigate", url=server.url)
        assert "pressed x" in await surf("press", key="x")
        assert (await surf("type", ref=ref(form, "Query"), text="tea & time", submit=True)).startswith("Second\n")
        assert [asked.query for asked in server.asked if asked.path == "/found"] == ["q=tea+%26+time"]
        cut = await surf("navigate", url=f"{server.url}/long")
        assert re.search(r"\n\[characters 0 to 300 of [\d,]+; the rest: offset 300\]$", cut)
        assert "item 9" in await surf("snapshot", offset=300)
        assert (await surf("snapshot", offset=100_000)).endswith("[nothing more is there]")
        assert "item 0" in await surf("scroll")
        assert await surf.failure("press", key="Nonsense") == 'Unknown key: "Nonsense"'
        assert await surf.failure("click", ref="body") == (
            "'body' is no ref: those look like e12, and browser_snapshot shows them"
        )
        assert await surf.failure("click", ref="e999") == (
            "nothing on the page is e999 any more; browser_snapshot shows what is"
        )


@needs_browser
async def test_a_page_reaches_nothing_of_this_network_whatever_it_tries() -> None:
    with Pages({}) as secret:
        tries = f"""<title>Tries</title><img src="{secret.url}/img"><iframe src="{secret.url}/frame"></iframe>
            <link rel=preload as=fetch href="{secret.url}/preload"><link rel=stylesheet href="//{secret.host}/css">
            <script>
              const url = "{secret.url}";
              fetch(url + "/fetch").catch(() => 0);
              fetch("/redirect").catch(() => 0);
              navigator.sendBeacon(url + "/beacon", "x");
              try {{ new WebSocket(url.replace("http", "ws") + "/socket"); }} catch (e) {{}}
              const worker = new Worker(URL.createObjectURL(new Blob(["fetch('" + url + "/worker')"])));
              document.title += " " + typeof RTCPeerConnection;
            </script>"""
        redirect = Answer(302, headers={"Location": f"{secret.url}/redirected"})
        leave = page(f"<title>Leave</title><script>location = '{secret.url}/left'</script>")
        async with surfing({"/": page(tries), "/redirect": redirect, "/leave": leave}) as (server, surf):
            shown = await surf("navigate", url=server.url)
            assert shown.startswith("Tries undefined\n")
            assert shown.endswith("[not asked: the host '127.0.0.1' does not lead to a public address]")
            for path in ("/redirect", "/leave"):
                shown = await surf("navigate", url=server.url + path)
                assert shown.endswith("[not asked: the host '127.0.0.1' does not lead to a public address]")
        assert secret.asked == []


@needs_browser
async def test_files_downloads_and_refused_addresses_are_not_opened() -> None:
    load = Answer(200, b"zip", "application/zip", {"Content-Disposition": "attachment; filename=a.zip"})
    async with surfing({"/": FIRST, "/load": load}) as (server, surf):
        assert await surf.failure("navigate", url=f"{server.url}/load") == (
            "it is a file to download, and the browser takes none; web_extract reads documents"
        )
        for url, why in {
            "file:///etc/passwd": "the URL must start with http:// or https://",
            "chrome://version": "the URL must start with http:// or https://",
            "http://localhost/": "the host 'localhost' is a name of this network, not of the internet",
            "http://127.0.0.1:1/": "the host '127.0.0.1' does not lead to a public address",
        }.items():
            assert await surf.failure("navigate", url=url) == f"not opened: {why}"


@needs_browser
async def test_sessions_share_nothing_and_end_by_themselves() -> None:
    cookie = page("<title>Cookie</title>", **{"Set-Cookie": "who=s1"})
    async with surfing({"/": cookie, "/two": SECOND}) as (server, surf):
        await asyncio.gather(
            surf("navigate", url=server.url),
            surf("navigate", url=f"{server.url}/two", session="s2", run="run_2"),
        )
        await surf("navigate", url=f"{server.url}/two", session="s2", run="run_2")
        await surf("navigate", url=f"{server.url}/two")
        assert [asked.headers.get("cookie") for asked in server.asked if asked.path == "/two"] == [None, None, "who=s1"]
        await surf.registry.close_session("s1")
        assert await surf.failure("snapshot") == "no page is open; browser_navigate opens one"
        assert (await surf("snapshot", session="s2", run="run_3")).startswith("Second\n")
        await surf.registry.end_run("run_3")
        assert await surf.failure("snapshot", session="s2") == "no page is open; browser_navigate opens one"


@needs_browser
async def test_a_slow_page_is_given_up_and_a_stopped_call_gone_within_a_second() -> None:
    async with surfing({"/": FIRST}, timeout_seconds=1.0) as (server, surf):
        await surf("navigate", url=server.url)
        server.next.append(NEVER)
        assert await surf.failure("navigate", url=f"{server.url}/slow") == "it took longer than 1 s"
        hangs = page("<title>Hangs</title><button onclick='for (;;);'>Hang</button>")
        server.pages["/hangs"] = hangs
        shown = await surf("navigate", url=f"{server.url}/hangs")
        call = asyncio.create_task(surf("click", ref=ref(shown, "Hang")))
        await asyncio.wait({call}, timeout=0.3)
        call.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await call
            await surf.registry.end_run("run_1")
        assert (await surf("navigate", url=server.url)).startswith("First\n")


@needs_browser
async def test_closing_leaves_no_process_and_no_file() -> None:
    before = directories()
    async with surfing({"/": FIRST}) as (server, surf):
        await surf("navigate", url=server.url)
        [worker] = workers()
        processes = everything(worker)
        assert len(processes) > 3
        await surf.registry.close()
    await asyncio.to_thread(eventually, lambda: all_gone(processes), 5)
    assert directories() <= before


@needs_browser
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a Chromium that hangs is looked for in /proc")
async def test_a_browser_that_hangs_is_killed_with_its_processes() -> None:
    before = directories()
    async with surfing({"/": FIRST}) as (server, surf):
        await surf("navigate", url=server.url)
        [worker] = workers()
        processes = everything(worker)
        [chromium] = [
            one for one in processes if "--user-data-dir=" in (line := command(one)) and "--type=" not in line
        ]
        chromium.suspend()
        await surf.registry.close()
    await asyncio.to_thread(eventually, lambda: all_gone(processes), 5)
    assert directories() <= before


@pytest.mark.slow
@needs_browser
async def test_a_browser_that_was_killed_is_said_to_be_gone_and_started_again() -> None:
    async with surfing({"/": FIRST}) as (server, surf):
        await surf("navigate", url=server.url)
        [worker] = workers()
        processes = everything(worker)
        slow = asyncio.create_task(surf.failure("navigate", url=f"{server.url}/slow"))
        server.next.append(NEVER)
        server.came.clear()
        await asyncio.to_thread(server.came.wait, 10)
        worker.send_signal(signal.SIGKILL)
        assert await slow == "the browser is gone; browser_navigate starts it again"
        await asyncio.to_thread(eventually, lambda: all_gone(processes), 5)
        assert (await surf("navigate", url=server.url)).startswith("First\n")


@needs_browser
async def test_pages_that_nobody_uses_are_closed_and_then_the_browser() -> None:
    async with surfing({"/": FIRST}, idle_seconds=0.5) as (server, surf):
        await surf("navigate", url=server.url)
        [worker] = workers()
        await asyncio.to_thread(eventually, lambda: not psutil.pid_exists(worker.pid), 20)  # and the server knows
        assert await surf.failure("snapshot") == "no page is open; browser_navigate opens one"


@pytest.mark.slow
@needs_browser
async def test_a_hostile_page_is_outlived() -> None:
    opens = page("<title>Opens</title><button onclick=\"for (let i = 0; i < 30; i++) open('/two')\">Go</button>")
    asks = page("<title>Asks</title><script>for (let i = 0; i < 3; i++) { alert(i); confirm(i); prompt(i); }</script>")
    large = page(f"<title>{'T' * 5000}</title><script>document.body.innerHTML = '<p>x</p>'.repeat(20000)</script>")
    async with surfing(
        {"/": FIRST, "/opens": opens, "/asks": asks, "/large": large, "/two": SECOND}, timeout_seconds=5.0
    ) as (server, surf):
        shown = await surf("navigate", url=f"{server.url}/opens")
        with suppress(ToolFailed):  # Chromium may hang at this
            await surf("click", ref=ref(shown, "Go"))
        assert (await surf("navigate", url=f"{server.url}/asks")).startswith("Asks\n")
        assert len(await surf("navigate", url=f"{server.url}/large")) < 13_000
        assert (await surf("navigate", url=server.url)).startswith("First\n")


@pytest.mark.slow
@needs_browser
async def test_the_page_that_was_used_least_makes_room() -> None:
    async with surfing({"/": FIRST}) as (server, surf):
        for number in range(9):
            await surf("navigate", url=server.url, session=f"s{number}")
        assert await surf.failure("snapshot", session="s0") == "no page is open; browser_navigate opens one"
        assert (await surf("snapshot", session="s1")).startswith("First\n")


@needs_browser
async def test_a_program_that_is_no_browser_is_said_to_be_none(tmp_path: Path) -> None:
    before = directories()
    async with surfing({}, executable=shutil.which("false")) as (server, surf):
        assert await surf.failure("navigate", url=server.url) == (
            "the browser cannot be started: its program ended at once"
        )
        assert not workers()
    assert directories() <= before


CLOSED = "BrowserType.launch: Target page, context or browser has been closed\nBrowser logs:\n"
STARTED = "\n<launching> /x --no-sandbox\n<launched> pid=7\n"


@pytest.mark.parametrize(
    ("said", "why"),
    {
        f"{CLOSED}Chromium sandboxing failed!\n===\nCall log:\n  - <launching> /x --no-sandbox": (
            "the browser cannot make its sandbox here; its owner may set browser.sandbox to false"
        ),
        "BrowserType.launch: Executable doesn't exist at /x\n╔═╗": (
            "the browser is of another version than playwright: playwright install chromium"
        ),
        f"{CLOSED}{STARTED}[err] no display\nCall log:\n": "the browser cannot be started: [err] no display",
        f"{CLOSED}{STARTED}Call log:\n  - <launching> /x\n": "the browser cannot be started: its program ended at once",
        "BrowserType.launch: Timeout 30000ms exceeded.\nCall log:\n": (
            "the browser cannot be started: Timeout 30000ms exceeded."
        ),
    }.items(),
)
def test_what_playwright_says_of_a_failed_start_becomes_one_sentence(said: str, why: str) -> None:
    assert why_not(said) == why


def test_what_is_missing_is_said_with_the_command_that_mends_it(tmp_path: Path, monkeypatch) -> None:
    toolset = browser_toolset(BrowserSettings(executable=str(tmp_path / "chrome")))
    if there.problem(None) != there.NO_PACKAGE:
        assert toolset.problem == f"browser.executable is no program: {tmp_path}/chrome"
    assert not toolset.is_usable
    assert "browser_navigate" not in Registry([toolset]).select(None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert there.problem(None) in (there.NO_BROWSER, there.NO_PACKAGE)
    (tmp_path / "chromium-1234").mkdir()
    assert there.problem(None) in ("", there.NO_PACKAGE)


def test_parameters_have_their_published_names() -> None:
    tools = Registry([browser_toolset()]).tools
    assert {name: list(tool.spec.parameters["properties"]) for name, tool in tools.items()} == {
        "browser_navigate": ["url"],
        "browser_snapshot": ["offset"],
        "browser_click": ["ref"],
        "browser_type": ["ref", "text", "submit"],
        "browser_press": ["key"],
        "browser_scroll": ["direction"],
        "browser_back": [],
    }
