"""What leads to the API from elsewhere, whoever set it up."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping

from hermes.doctor.finding import Finding, Severity
from hermes.expose.exposure import ExposureFile
from hermes.expose.state import state_of
from hermes.home.keys import check_key
from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermes.home.settings import Settings


def exposure(home: Home, settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    process = running_gateway(home.pid_file)
    port = urllib.parse.urlsplit(process.url).port if process is not None and process.url else settings.api_server.port
    state = state_of(home.run_dir, port or None, environ)
    off = f"{home.command} expose off"
    if state.exposure is not None:
        who = "everybody who has a key" if state.exposure.via.is_public else "your tailnet"
        yield Finding("published", Severity.NOTE, f"the API is open to {who} at {state.exposure.url}", off)
        if process is None:
            text = f"{state.exposure.url} leads to this machine, and no gateway runs"
            yield Finding("published_nothing", Severity.WARNING, text, f"{home.command} gateway start")
    elif (file := ExposureFile(home.run_dir)).read() is not None and not file.is_held:
        yield Finding("lost_tunnel", Severity.NOTE, "a tunnel of hermes expose ended without notice", off)
    for mount in state.by_hand:
        if mount.is_raw:
            text = (
                f"Tailscale passes bytes from port {mount.slot} on to the API unread: whoever sends them looks like "
                "this machine itself"
            )
            severity = Severity.ERROR if mount.is_public else Severity.WARNING
            yield Finding("raw_tunnel", severity, text, mount.closing)
        else:
            who = "everybody who has a key" if mount.is_public else "your tailnet"
            text = f"the API is open to {who} at {mount.url}, by a command of Tailscale"
            yield Finding("published", Severity.NOTE, text, mount.closing)
    verdict = check_key(settings.api_server.key, "127.0.0.1", command=home.command, is_exposed=True)
    if state.is_public and verdict.is_refused:
        mend = f"{home.command} config set API_SERVER_KEY $(openssl rand -hex 32)"
        yield Finding("weak_published_key", Severity.ERROR, f"the API is published: {verdict.text}", mend)
