"""`python -m bench [nodes|link] [--quick]`: measures, and prints the table of budgets beside a baseline.

`python -m bench tasks` lets a real model do ten tasks and prints its score.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench import link, nodes, tasks
from bench.measures import FULL, QUICK, everything
from bench.servers import Upstream
from bench.table import markdown

QUIET_CORES = 0.1
"""What other processes may use of the machine before the table says so."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "part",
        nargs="?",
        choices=["server", "nodes", "link", "tasks"],
        default="server",
        help="nodes: many on one PostgreSQL; link: what Link adds; tasks: the score of a real model",
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, with one repetition: a first impression")
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    parser.add_argument("--model", help="tasks: the model's name, where the gateway shall not choose")
    parser.add_argument("--base-url", help="tasks: the address of an OpenAI-compatible server, up to /v1")
    options = parser.parse_args()
    began = time.monotonic()
    busy_before = busy_seconds()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what} …", file=sys.stderr, flush=True)

    with Upstream() as upstream:
        if options.part == "tasks":
            table = tasks.everything(options.model, options.base_url, tell)
        elif options.part == "nodes":
            table = markdown(
                nodes.everything(upstream, nodes.QUICK if options.quick else nodes.FULL, tell), "held against"
            )
        elif options.part == "link":
            table = markdown(
                link.everything(upstream, link.QUICK if options.quick else link.FULL, tell), "the API server alone"
            )
        else:
            table = markdown(everything(upstream, QUICK if options.quick else FULL, tell))
    others = (busy_seconds() - busy_before - own_seconds()) / (time.monotonic() - began)
    text = f"{machine(others)}\n\n{table}\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


def busy_seconds() -> float:
    """CPU seconds of all processes of the machine."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0))


def own_seconds() -> float:
    """CPU seconds of the bench and of all it started, which has ended by now."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def machine(others: float) -> str:
    told = (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}; median (least–most); "
    )
    if others <= QUIET_CORES:
        return told + "nothing else ran."
    return (
        f"{told}other processes used {others:.1f} cores meanwhile.\n\n"
        "**The machine was not quiet: the figures are worse than the server's; compare them with the relay's.**"
    )


if __name__ == "__main__":
    sys.exit(main())
