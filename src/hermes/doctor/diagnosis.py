"""All examinations, in the order of what harms most."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hermes.doctor import configuration, machine
from hermes.doctor.backends import Place, backends, places
from hermes.doctor.exposure import exposure
from hermes.doctor.finding import Finding, Severity
from hermes.doctor.nodes import nodes
from hermes.home.edit import beaten_by
from hermes.home.paths import Home
from hermes.home.settings import load_settings

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]
    examined: tuple[str, ...]
    """What was looked at, in words."""
    places: tuple[Place, ...] = ()
    """Where commands can run, and where not."""


def diagnose(home: Home, environ: Mapping[str, str], *, now: float, asks_model: bool = True) -> Diagnosis:
    """`asks_model`: one short question goes to the language model, with its key. Changes nothing anywhere."""
    if not home.exists():
        note = Finding("no_home", Severity.NOTE, f"there is no home in {home.path} yet", f"{home.command} gateway")
        return Diagnosis(tuple(machine.writable(home)) or (note,), ("the home",))
    settings = load_settings(home, environ, is_lenient=True)
    found = places(home, settings, environ)
    findings = [
        *configuration.api(home, settings),
        *configuration.files(home),
        *configuration.names(home, settings),
        *configuration.toolsets(home, settings),
        *configuration.servers(home, settings, environ),
        *machine.writable(home),
        *machine.gateway(home, settings),
        *exposure(home, settings, environ),
        *machine.unit(home, environ),
        *machine.database(home, settings, now),
        *nodes(home, settings, now),
        *machine.disk(home),
        *machine.clock(environ, now),
        *machine.programs(home, settings),
        *backends(home, settings, found),
    ]
    examined = ["settings", "keys", "files", "gateway", "database", "disk", "clock", "programs"]
    if asks_model:
        from hermes.doctor import model

        findings += asyncio.run(model.examine(home, settings, environ))
        examined.append("model")
    findings = [_with_environment(home, environ, each) for each in findings]
    return Diagnosis(tuple(sorted(findings, key=lambda each: _ORDER[each.severity])), tuple(examined), found)


def _with_environment(home: Home, environ: Mapping[str, str], finding: Finding) -> Finding:
    """A value of the environment beats what `config set` writes: the mend has to take it away first."""
    written = re.fullmatch(rf"{re.escape(home.command)} config (?:set|unset) (\S+)( .*)?", finding.mend or "")
    if written is None:
        return finding
    name = written[1]
    if beaten_by(home, name, environ) != f"{name} in the environment":
        return finding
    text = f"{finding.text} ({name} is set in the environment, which counts before .env)"
    return replace(finding, text=text, mend=f"unset {name}; {finding.mend}")
