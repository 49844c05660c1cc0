"""The one event loop on which the engines of a process live, in a daemon thread of its own.

`AIAgent` may be called from any thread and from any running loop; its work is done here, so that connections and
background processes outlive the loop of the call that began them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

CLOSE_SECONDS = 10.0


class Background:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        """For what several threads would make at once; a forked child has another."""
        self.is_ending = False
        """The interpreter is: whoever still waits in a daemon thread dies with it, and need not be told."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Threads())
        self._closers: dict[object, Callable[[], Awaitable[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._live, name="hermes-library", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """Not after a fork: the thread stayed in the parent. Not once the interpreter is ending."""
        return self.pid == os.getpid() and not self._loop.is_closed()

    @property
    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Blocks the calling thread."""
        if self.is_here:
            work.close()
            raise RuntimeError("a blocking call cannot be made on the agent's own thread")
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def when_closing(self, owner: object, close: Callable[[], Awaitable[None]]) -> None:
        """Called at the end of the interpreter, on the loop."""
        self._closers[owner] = close

    def forget(self, owner: object) -> None:
        self._closers.pop(owner, None)

    def drop(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin it and wait for nothing; from any thread, a finalizer's too. Does nothing after a fork."""
        if self.is_usable:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(lambda: self._begin(work()))

    def close(self) -> None:
        """At exit, when all but daemon threads have ended."""
        if not self.is_usable:
            return
        self.is_ending = True
        with contextlib.suppress(TimeoutError):
            self.submit(self._close_all()).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _close_all(self) -> None:
        await asyncio.gather(*(close() for close in list(self._closers.values())), return_exceptions=True)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


class _Threads(ThreadPoolExecutor):
    """A thread for each call. The pools of concurrent.futures take nothing more once the main thread has ended; a turn
    in another thread, and closing, go on after that."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)  # never started

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 whoever waits gets it
                future.set_exception(error)

        threading.Thread(target=work, name="hermes-library-call", daemon=True).start()
        return future


_lock = threading.Lock()
_current: Background | None = None


def background() -> Background:
    """This process's; made at the first call, and anew in a forked child."""
    global _current
    with _lock:
        if _current is None or not _current.is_usable:
            _current = Background()
            atexit.register(_current.close)
        return _current


def _after_fork() -> None:
    global _lock, _current
    _lock = threading.Lock()
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
