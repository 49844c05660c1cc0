"""The process that has the browser: `python worker.py OPTIONS`, told what to do in lines of JSON.

In: `{"id", "do", "session", "given"}`; `do` is an action of `tabs.py`, `close` (a session) or `drop` (a call, by its
id). Out: `{"ready": true}` or `{"failed": "…"}` once, then `{"id", "shows"}` or `{"id", "cannot"}` for each. It ends
when its input does, and with it the browser: whatever happens to the server, nothing stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from contextlib import suppress
from typing import Any

LINE_BYTES = 8 << 20
LOOK_SECONDS = 5.0
START_SECONDS = 30.0
END_SECONDS = 2.0
ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # names are the proxy's business
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    "--disable-file-system",
    "--disable-dev-shm-usage",
)


def say(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def serve(options: dict[str, Any]) -> None:
    from playwright.async_api import Error, async_playwright

    from hermes.toolsets.browser.tabs import Tabs

    lines = await _lines()
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=options["executable"],
                headless=options["is_headless"],
                chromium_sandbox=options["is_sandboxed"] and os.geteuid() != 0,
                args=ARGUMENTS,
                timeout=START_SECONDS * 1000,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error as error:
            say(failed=error.message)
            return
        tabs = Tabs(
            browser,
            hosts=tuple(options["hosts"]),
            timeout_seconds=options["timeout_seconds"],
            output_characters=options["output_characters"],
        )
        say(ready=True)
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(_look(tabs, options["idle_seconds"]))
            doing: dict[int, asyncio.Task[None]] = {}
            while line := await _line(lines, looking):
                asked = json.loads(line)
                if asked["do"] == "drop":
                    dropped = doing.get(asked["id"])
                    if dropped is not None:
                        dropped.cancel()
                    continue
                task = tasks.create_task(_do(tabs, asked))
                doing[asked["id"]] = task
                task.add_done_callback(lambda _, number=asked["id"]: doing.pop(number, None))  # type: ignore[misc]
            looking.cancel()
            for task in doing.values():
                task.cancel()
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await browser.close()


async def _do(tabs: Any, asked: dict[str, Any]) -> None:
    from hermes.toolsets.browser.tabs import CannotDo

    try:
        if asked["do"] == "close":
            await tabs.close(asked["session"])
            say(id=asked["id"], shows="")
        else:
            say(id=asked["id"], shows=await tabs.do(asked["do"], asked["session"], asked["given"]))
    except CannotDo as why:
        say(id=asked["id"], cannot=str(why))
    except Exception as why:  # noqa: BLE001 one page must not end the others; the server is told
        say(id=asked["id"], cannot=f"the browser failed: {type(why).__name__}: {why}"[:400])


async def _look(tabs: Any, idle_seconds: float) -> None:
    """Closes what nobody uses any more. Returns when that is all."""
    while not tabs.is_idle(idle_seconds):
        await asyncio.sleep(min(LOOK_SECONDS, idle_seconds))
        await tabs.close_idle(idle_seconds)


async def _line(lines: asyncio.StreamReader, until: asyncio.Task[None]) -> bytes:
    """Empty at the end of the input, and when `until` is done."""
    reading = asyncio.ensure_future(lines.readline())
    await asyncio.wait({reading, until}, return_when=asyncio.FIRST_COMPLETED)
    if not reading.done():
        reading.cancel()
        return b""
    return reading.result()


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    try:
        asyncio.run(serve(given))
    finally:  # the server may be gone, and with it whoever would tidy up
        shutil.rmtree(given["directory"], ignore_errors=True)
