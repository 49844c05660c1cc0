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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, with one repetition: a first impression")
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what} …", file=sys.stderr, flush=True)

    with Upstream() as upstream:
        rows = everything(upstream, QUICK if options.quick else FULL, tell)
    text = f"{machine()}\n\n{markdown(rows)}\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


def machine() -> str:
    day = time.strftime("%Y-%m-%d")
    return (
        f"{day}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}; median (least–most)"
    )


if __name__ == "__main__":
    sys.exit(main())
