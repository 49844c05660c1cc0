"""A service with OpenAI's wire format that a tool asks: pictures, speech, transcripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hermes.core.errors import ToolFailed
from hermes.toolsets.tool import one_line

if TYPE_CHECKING:
    import aiohttp

MOST_JSON_BYTES = 4 << 20
LONGEST_SAID = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """`media_type` is in lower case, without parameters."""

    media_type: str
    data: bytes

    def json(self) -> Any:
        """None for what is no JSON."""
        try:
            return json.loads(self.data)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`name` is the section of its settings, `key_name` the variable or setting that holds its key, `set_key` the
    command that sets it. `proxy`: None is a direct connection."""

    name: str
    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    key_name: str = ""
    set_key: str = ""
    timeout_seconds: float = 120.0
    proxy: str | None = None

    @property
    def host(self) -> str:
        """With its port where the address has one."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    async def post(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        form: aiohttp.FormData | None = None,
        most_bytes: int = MOST_JSON_BYTES,
    ) -> Reply:
        """One try. Raises ToolFailed for everything but an answer of 2xx, saying what the owner can do."""
        import aiohttp

        from hermes import __version__

        headers = {"User-Agent": f"hermes-server/{__version__}"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            async with asyncio.timeout(self.timeout_seconds):
                session = aiohttp.ClientSession(
                    cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None), trust_env=False
                )
                asked = session.post(
                    f"{self.base_url}/{path}",
                    json=body,
                    data=form,
                    headers=headers,
                    proxy=self.proxy,
                    allow_redirects=False,
                )
                async with session, asked as answer:
                    data = await _read(answer, most_bytes, self.host)
                    if 200 <= answer.status < 300:
                        return Reply(answer.content_type.lower(), data)
                    raise self._refused(answer.status, data, answer.headers.get("Retry-After", ""))
        except TimeoutError as error:
            seconds = f"{self.timeout_seconds:g}"
            raise ToolFailed(f"{self.host} did not answer within {seconds} s (setting {self.name}.timeout).") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ToolFailed(
                f"{self.host} cannot be asked ({type(error).__name__}): is the server of {self.name}.base_url running?"
            ) from error

    def no_answer(self, what: str) -> ToolFailed:
        """For a 2xx that does not hold what it should."""
        return ToolFailed(f"{self.host} gave an answer without {what}; does {self.name}.base_url speak OpenAI's API?")

    def _refused(self, status: int, body: bytes, retry_after: str) -> ToolFailed:
        said = _said(body)
        because = f": {said.rstrip('.')}" if said else ""
        if status in (401, 403):
            what = f"does not accept {self.key_name}" if self.api_key else "wants a key"
            return ToolFailed(f"{self.host} {what} ({status}){because}. The owner can set it: {self.set_key}")
        if status == 429:
            when = f"try again in {retry_after} s" if retry_after.isdigit() else "try again later"
            return ToolFailed(f"{self.host} limits its requests (429){because}. If it is not the credit, {when}.")
        if 300 <= status < 400:
            return ToolFailed(f"{self.host} redirects ({status}), which is not followed: mend {self.name}.base_url.")
        if status == 404:
            return ToolFailed(f"{self.host} has no model {self.model}, or not this service (404){because}.")
        return ToolFailed(f"{self.host} {'rejected the call' if status < 500 else 'failed'} ({status}){because}.")


async def _read(answer: aiohttp.ClientResponse, most_bytes: int, host: str) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > most_bytes:
            raise ToolFailed(f"{host} answers with more than {most_bytes:,} bytes.")
    return bytes(data)


def _said(body: bytes) -> str:
    """The message of an error body: OpenAI's envelope, `{"error": "text"}`, `detail`, else the text itself."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace")
        return "" if "<html" in text[:500].lower() else one_line(text, LONGEST_SAID)
    for name in ("error", "message", "detail"):
        while isinstance(value, dict) and name in value:
            value = value[name]
    return one_line(value if isinstance(value, str) else json.dumps(value), LONGEST_SAID)
