"""`python -m hermes.expose RUN_DIR`: keeps what is published in the background. Its wish comes on standard input; how
it went is one line of JSON on standard output. Started by `keeping.publish` alone.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from hermes.core.errors import Conflict, HermesError, InvalidInput
from hermes.expose.exposure import Exposure, Via
from hermes.expose.keeping import keep, publish
from hermes.expose.tunnels import Wish


def main() -> None:
    run_dir = Path(sys.argv[1])
    told = json.loads(sys.stdin.read())
    wish = Wish(**{**told, "via": Via(told["via"]), "may_wait": False})
    if hasattr(os, "fork") and os.fork():
        os._exit(0)  # whoever asked need not wait for a process that lives for hours

    def opened(exposure: Exposure) -> None:
        _tell({"url": exposure.url})

    try:
        if wish.is_kept_by_tool:
            opened(publish(wish, run_dir, os.environ, say=lambda link: None))
            return
        ended, said = keep(wish, run_dir, os.environ, say=lambda link: None, opened=opened)
    except HermesError as error:
        kinds = [kind.__name__ for kind in (InvalidInput, Conflict) if isinstance(error, kind)]
        _tell({"error": {"kind": "".join(kinds[:1]), "code": error.code, "message": error.message}})
        raise SystemExit(1) from None
    sys.stderr.write(f"{ended}: {said}\n")


def _tell(told: object) -> None:
    """Then nobody listens any more."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


if __name__ == "__main__":
    main()
