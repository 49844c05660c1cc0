"""`python -m tests.torture`: clients talk, nodes are killed, and afterwards every promise must have been kept."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.torture.torture import Conditions, torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--nodes", type=int, help="gateways; with SQLite one, with PostgreSQL three unless said")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, help="what was printed by the test that is to be run again")
    options = parser.parse_args()
    nodes = options.nodes or (1 if options.database == "sqlite" else 3)
    if nodes != 1 and options.database == "sqlite":
        parser.error("an SQLite home has one gateway")
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4))
    conditions = Conditions(options.database, nodes, options.clients, options.minutes * 60, seed=seed)
    told = f"{options.database}, {nodes} nodes, {options.clients} clients, {options.minutes:g} minutes, seed {seed}"
    print(f"torture: {told}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="hermes-torture-"))
    result = torture(conditions, root)
    print("\n".join(["", f"torture: {told}", *result.figures.lines(result.done)]))
    print(f"violations     {len(result.ledger.violations)}")
    if not result.is_clean:
        print(f"its homes and logs are in {root}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
