"""The parent's side of the child process: started when needed, asked over a private socket, ended for certain."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from hermes.core.errors import UpstreamRejected, UpstreamUnreachable
from hermes.models.sse import EventStream

log = logging.getLogger(__name__)

START_SECONDS = 120.0
END_SECONDS = 5.0
SILENCE_SECONDS = 120.0
"""The server speaks after each batch of 128 tokens: longer than this, and it hangs."""
LAST_WORDS = 600
INHERITED = (
    *("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TMP", "TEMP", "LANG", "LC_"),
    *("PYTHON", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_", "OMP_", "GOMP_"),
)
"""How the names of the variables begin that the child gets."""
SOCKET_PATH_BYTES = 100
"""A Unix socket's path is limited to 104 (macOS) or 108 bytes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`repack`: the weights once more in memory in a faster order. `cache_mib`: for the prompts of other sessions."""

    model: str
    slots: str
    context: int
    threads: int
    repack: bool
    cache_mib: int


class LlamaServer:
    """One child process. All methods belong to one event loop; requests are made one at a time by the caller.

    `starts` counts its lives: what an earlier one had in memory is gone. `engine` is the library's version.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.starts = 0
        self.engine = ""
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._folder: Path | None = None
        self._url = ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None and self._session is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.is_running else None

    async def start(self) -> None:
        """Load the model: some seconds. Raises UpstreamUnreachable with the library's last words."""
        if self.is_running:
            return
        await self.stop()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="hermes-model-"))
        key = secrets.token_urlsafe(32)
        socket = self._folder / "model.sock"  # llama.cpp knows a Unix socket by this ending
        has_socket = sys.platform != "win32" and len(os.fsencode(socket)) <= SOCKET_PATH_BYTES
        settings = {**asdict(self.settings), "key": key, "socket": str(socket) if has_socket else None}
        errors = await asyncio.to_thread((self._folder / "errors").open, "wb")
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                str(Path(__file__).with_name("server.py")),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the parent
            )
        finally:
            errors.close()
        self.starts += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        address = await self._listening()
        connector = aiohttp.UnixConnector(str(socket)) if has_socket else aiohttp.TCPConnector()
        self._url = "http://embedded" if has_socket else address
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": f"Bearer {key}", "Connection": "close"},
            json_serialize=lambda value: orjson.dumps(value).decode(),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS),
            trust_env=False,
        )

    async def stop(self) -> None:
        """End the process, whatever it does; nothing is left of it."""
        session, self._session = self._session, None
        process, self._process = self._process, None
        folder, self._folder = self._folder, None
        if session is not None:
            await session.close()
        if process is not None and process.returncode is None:
            await _end(process)
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A whole answer. Raises UpstreamRejected when the server refuses, UpstreamUnreachable when it is gone."""
        async with self._post(path, body) as response:
            answer = orjson.loads(await response.read())
            assert isinstance(answer, dict)
            return answer

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """An answer as it is made. Leaving it early closes the connection, which ends the work in the server."""
        async with self._post(path, body) as response:
            stream, is_over = EventStream(), False
            async for chunk in response.content.iter_any():
                for data in stream.feed(chunk):
                    event = orjson.loads(data)
                    if "error" in event:
                        raise UpstreamRejected(_reason(data))
                    is_over = is_over or event.get("stop", False)
                    yield event
            if not is_over:  # a process that dies may look like one that has finished
                raise aiohttp.ClientPayloadError

    @asynccontextmanager
    async def _post(self, path: str, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        await self.start()
        assert self._session is not None
        try:
            async with self._session.post(self._url + path, json=body) as response:
                if response.status != 200:
                    raise UpstreamRejected(_reason(await response.read()), status=response.status)
                try:
                    yield response
                finally:
                    response.close()
        except TimeoutError as error:
            await self.stop()
            raise UpstreamUnreachable("the built-in model stopped answering and was ended") from error
        except aiohttp.ClientError as error:
            words = await self._last_words()
            await self.stop()
            raise UpstreamUnreachable(f"the built-in model's process broke off{words}") from error

    async def _listening(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise UpstreamUnreachable(f"the built-in model did not load within {START_SECONDS:.0f} s") from error
        said = json.loads(line) if line else {}
        if "listening" in said:
            self.engine = str(said["engine"])
            return str(said["listening"])
        words = await self._last_words()
        raise UpstreamUnreachable(f"the built-in model could not be loaded: {said.get('error', 'it ended')}{words}")

    async def _last_words(self) -> str:
        """The end of what the process wrote to standard error, for the message of an error."""
        if self._folder is None:
            return ""
        try:
            text = await asyncio.to_thread((self._folder / "errors").read_text, "utf-8", "replace")
        except OSError:
            return ""
        return f": {text[-LAST_WORDS:].strip()}" if text.strip() else ""


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process needs that computes: no keys.

    GOMP_SPINCOUNT: threads that wait for each other give their core away soon. By default they spin for milliseconds,
    which on a machine with other work to do made 1 token a second of what is 5 now (and 20 instead of 24 without).
    GGML_NO_BACKTRACE: no debugger is started when llama.cpp aborts.
    """
    kept = {name: value for name, value in environment.items() if name.upper().startswith(INHERITED)}
    return {"GOMP_SPINCOUNT": "1000", **kept, "GGML_NO_BACKTRACE": "1", "PYTHONUTF8": "1"}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Closing its standard input is enough for a process that is well."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        log.warning("the built-in model's process %s had to be killed", process.pid)
        process.kill()
        await process.wait()


def _reason(body: bytes) -> str:
    try:
        answer = orjson.loads(body)
        return f"the built-in model refused the request: {answer['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return f"the built-in model refused the request: {body[:200].decode('utf-8', 'replace')}"
