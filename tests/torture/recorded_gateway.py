"""`python -m tests.torture.recorded_gateway JOURNAL COMMAND -m MODULE …`: the module runs, and what
its SQLite does to the disk is noted. It stands before a command as `env` does."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.torture.disk import record

if __name__ == "__main__":
    record(Path(sys.argv[1]))
    sys.argv = sys.argv[sys.argv.index("-m") + 1 :]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
