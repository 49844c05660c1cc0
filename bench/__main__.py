"""`python -m bench [--quick]`: measures, and prints the table of budgets beside a bare relay in the same run."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from bench.measures import FULL, QUICK, everything
from bench.servers import Upstream
from bench.table import markdown

BUSY = 0.25
"""Runnable processes a core, before the bench adds its own."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, with one repetition: a first impression")
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    began = time.monotonic()
    load_before = os.getloadavg()[0]

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what} …", file=sys.stderr, flush=True)

    with Upstream() as upstream:
        rows = everything(upstream, QUICK if options.quick else FULL, tell)
    text = f"{machine(load_before)}\n\n{markdown(rows)}\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


def machine(load_before: float) -> str:
    cores = os.cpu_count() or 1
    told = (
        f"{time.strftime('%Y-%m-%d')}, {cores} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}; median (least–most)"
    )
    if load_before > BUSY * cores:
        told += (
            f"\n\n**The machine was busy with other things (load {load_before:.1f} before the bench began): "
            "the figures are worse than the server's, and only the ratio to the relay means something.**"
        )
    return told


if __name__ == "__main__":
    sys.exit(main())
