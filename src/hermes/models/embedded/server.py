"""The child process: llama.cpp's server around the model file, on a private socket, until the parent goes.

Run by path (`python -P server.py`), so that it imports nothing of hermes: it needs xllamacpp alone. The first line of
standard input is its settings as JSON (`Settings` in process.py); when standard input ends, it ends. On standard
output it says one line of JSON: `{"listening": url, "engine": version}` or `{"error": why}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any, TextIO

PR_SET_PDEATHSIG = 1
BATCH_TOKENS = 128
"""A stop is noticed between two batches: 2 s at most; larger ones are not faster."""


def main() -> None:
    said = _own_standard_output()
    die_with_parent()
    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_standard_input, daemon=True).start()
    try:
        import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

        server = xllamacpp.Server(_params(xllamacpp, settings))
    except Exception as error:  # noqa: BLE001 -- told to the parent, which raises it
        _say(said, {"error": str(error) or type(error).__name__})
        sys.exit(1)
    _say(said, {"listening": server.listening_address, "engine": xllamacpp.__version__})
    threading.Event().wait()


def die_with_parent() -> None:
    """On Linux the kernel ends us with the parent; elsewhere, and while the model loads, standard input tells."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked
        os._exit(0)


def _params(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = [settings["socket"] or "127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.slot_save_path = os.path.join(settings["slots"], "")  # noqa: PTH118 -- it must end with a separator
    params.n_ctx = settings["context"]
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.cache_ram_mib = settings["cache_mib"]
    params.no_extra_bufts = not settings["repack"]
    params.ui = False
    params.cors_origins = ""
    params.verbosity = 1
    return params


def _own_standard_output() -> TextIO:
    """The real standard output for ourselves; what the library prints goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _say(stream: TextIO, what: dict[str, str]) -> None:
    stream.write(json.dumps(what) + "\n")
    stream.flush()


def _exit_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
