"""Runs one piece of code in the sandbox: `python -I -c STUB DIRECTORY`, a process of its own.

Why a process around pydantic-monty, which has its interpreter in a process already: this one's environment is empty, so
the interpreter's is, too; it may write no file; both are killed together; and the threads of the library, which can
abort a Python that ends, are none of the gateway's (docs/adr/0113).

Lines of JSON. In: what to run (`code`, `functions`, `seconds`, `memory_bytes`, `recursion`, `characters`), then an
answer to each call (`value` or `error`). Out: `call`s, then one `done`. The end of the input ends everything.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

STUB = "import sys; sys.path.append(sys.argv[1]); import code_worker; code_worker.main()"
LONGEST_CALL = 1 << 20
"""Characters of JSON. All of it is told in an event, kept, and sent to whoever follows the run."""
SPACE_BYTES = 4 << 30
"""Address space, of which the interpreter's threads reserve a good part without using it."""


def main() -> None:
    _limit()
    request = json.loads(sys.stdin.readline())
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(answers,), daemon=True).start()
    printed = Printed(request["characters"])
    try:
        outcome = _run(request, printed, answers)
    except Exception as error:  # noqa: BLE001 - of the library or of ours: told as what it is
        outcome = {"fault": f"{type(error).__name__}: {error}"[:2000]}
    _tell({"done": {**outcome, "printed": printed.text, "printed_characters": printed.total}})
    os._exit(0)


def _run(request: dict[str, Any], printed: Printed, answers: queue.SimpleQueue[dict[str, Any]]) -> dict[str, Any]:
    import pydantic_monty

    limits = pydantic_monty.ResourceLimits(
        max_feed_duration_secs=request["seconds"],
        max_total_sleep_secs=request["seconds"],
        max_memory=request["memory_bytes"],
        max_recursion_depth=request["recursion"],
        max_suspensions=10_000,
    )
    functions = {name: _function(name, answers) for name in request["functions"]}
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool, pool.checkout(limits=limits) as session:
        try:
            value = session.feed_run(request["code"], external_lookup=functions, print_callback=printed)
        except (pydantic_monty.MontyRuntimeError, pydantic_monty.MontySyntaxError) as error:
            return {"error": error.display()[-request["characters"] :]}
        except pydantic_monty.MontyCrashedError as error:
            return {"error": f"the sandbox crashed: {error}"}
        except pydantic_monty.MontyError as error:
            return {"error": str(error)[: request["characters"]]}
    if value is None:
        return {}
    shown = value if isinstance(value, str) else repr(value)
    return {"value": shown[: request["characters"]], "value_characters": len(shown)}


class Printed:
    """What was printed, its beginning; how much it was in all."""

    def __init__(self, characters: int) -> None:
        self.room = characters
        self.total = 0
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def __call__(self, stream: str, text: str) -> None:
        self.total += len(text)
        if self.room > 0:
            self._pieces.append(text[: self.room])
            self.room -= len(text)


def _function(name: str, answers: queue.SimpleQueue[dict[str, Any]]) -> Callable[..., str]:
    def call(*args: Any, **kwargs: Any) -> str:
        try:
            line = {"call": name, "args": args, "kwargs": kwargs}
            length = len(json.dumps(line))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: arguments are text, numbers, lists and dicts ({error})") from None
        if length > LONGEST_CALL:
            raise ValueError(f"{name}: {length:,} characters of arguments; at most {LONGEST_CALL:,} are passed on")
        _tell(line)
        answer = answers.get()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return str(answer["value"])

    return call


def _listen(answers: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        answers.put(json.loads(line))
    os.killpg(0, signal.SIGKILL)  # whoever started us is gone


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, SPACE_BYTES)):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS refuses some
            continue
