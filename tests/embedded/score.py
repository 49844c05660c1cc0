"""`python -m tests.embedded.score [--model embedded-small] [--set single]`: the figures of docs/embedded-model.md."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hermes.models.embedded import BUILTINS, EmbeddedModel
from tests.embedded import tasks
from tests.embedded.tasks import Task
from tests.embedded.workbench import TOOLS, Outcome, work


def lay_out(task: Task, folder: Path) -> None:
    for name, text in task.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def tried(model: EmbeddedModel, task: Task, *, max_steps: int) -> tuple[bool, Outcome]:
    with tempfile.TemporaryDirectory(prefix="try-") as name:
        folder = Path(name)
        lay_out(task, folder)
        outcome = await work(model, task.request, folder, max_steps=max_steps)
        return task.check(outcome), outcome


async def scored(
    model: EmbeddedModel, some: Sequence[Task], *, max_steps: int, verbose: bool = False
) -> tuple[int, list[Task]]:
    failed: list[Task] = []
    seconds: list[float] = []
    for task in some:
        start = time.perf_counter()
        is_met, outcome = await tried(model, task, max_steps=max_steps)
        seconds.append(time.perf_counter() - start)
        if not is_met:
            failed.append(task)
        print(f"{'ok  ' if is_met else 'FAIL'} {seconds[-1]:5.1f} s  {task.request}", flush=True)
        if verbose or not is_met:
            for (tool, arguments), result in zip(outcome.calls, outcome.results, strict=True):
                print(f"         {tool} {arguments}\n           → {result[:200]!r}")
            print(f"         say {outcome.text!r}", flush=True)
    print(f"{len(some) - len(failed)} of {len(some)}, median {statistics.median(seconds):.1f} s", flush=True)
    return len(some) - len(failed), failed


async def main(arguments: argparse.Namespace) -> None:
    model = EmbeddedModel(BUILTINS[arguments.model], arguments.cache)
    try:
        start = time.perf_counter()
        await model.warm(TOOLS)
        print(f"warm after {time.perf_counter() - start:.1f} s", flush=True)
        for name in arguments.set:
            print(f"--- {name}", flush=True)
            is_single = name.endswith("single")
            await scored(
                model, getattr(tasks, name.upper()), max_steps=1 if is_single else 8, verbose=arguments.verbose
            )
    finally:
        await model.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=BUILTINS, default="embedded")
    parser.add_argument("--set", nargs="*", default=["single", "several"])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--verbose", action="store_true")
    asyncio.run(main(parser.parse_args(sys.argv[1:])))
