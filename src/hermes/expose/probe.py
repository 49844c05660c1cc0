"""Whether a published server answers, asked by its public address: through the real resolver, with the certificate
checked, and so that only a server of ours could have answered."""

from __future__ import annotations

import http.client
import ipaddress
import secrets
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass

TRY_SECONDS = 10.0
AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """`problem` is empty when it answered. `addresses`: what the resolver gave."""

    url: str
    addresses: tuple[str, ...] = ()
    problem: str = ""

    @property
    def has_answered(self) -> bool:
        return not self.problem

    @property
    def is_from_outside(self) -> bool:
        """It went over the internet. A machine of a tailnet reaches its own name without leaving it."""
        return any(ipaddress.ip_address(address.partition("%")[0]).is_global for address in self.addresses)


def probe(url: str, path: str, *, timeout_seconds: float = TRY_SECONDS) -> Probe:
    """`path`: of a page that anybody may ask for."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label may be longer than a name's may be
        return Probe(url, problem=f"the name {host} is not known yet; a new one may take some minutes")
    addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    return Probe(url, addresses, _asked(host, port, parts.path.rstrip("/") + path, timeout_seconds))


def probe_until(url: str, path: str, *, seconds: float, until: float | None = None) -> Probe:
    """Again, while it does not answer: a name, a certificate and a tunnel take their time. `until`, in unix seconds, it
    is open at most."""
    ends_at = time.monotonic() + (seconds if until is None else min(seconds, until - time.time()))
    while True:
        found = probe(url, path)
        if found.has_answered or time.monotonic() + AGAIN_SECONDS > ends_at:
            return found
        time.sleep(AGAIN_SECONDS)


def _asked(host: str, port: int, path: str, timeout_seconds: float) -> str:
    mark = f"probe-{secrets.token_hex(8)}"
    connection = http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=ssl.create_default_context())
    try:
        connection.request("GET", path, headers={"X-Request-Id": mark, "Cache-Control": "no-cache"})
        answer = connection.getresponse()
        answer.read(100_000)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS connection: {error.reason or 'it was refused'}"
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} s"
    except OSError as error:
        return f"no connection: {error.strerror or error}"
    except http.client.HTTPException:
        return "what answered speaks no HTTP"
    finally:
        connection.close()
    if answer.status == 421:
        return "the server does not know this name as its own (421)"
    if answer.status in (502, 503, 504, 530):
        return f"the tunnel answers, and does not reach the server ({answer.status})"
    if answer.getheader("X-Request-Id") != mark:
        return f"something else answers at this address ({answer.status})"
    return "" if answer.status == 200 else f"it answered {answer.status}"
