# SPDX-License-Identifier: Apache-2.0
"""Finds the limiters through which anyio hands work to its threads: the `def` endpoints of FastAPI and Starlette.

``anyio.to_thread.run_sync`` waits for a token of a limiter, by default for one of 40 that a loop has for all of it,
and then takes an idle thread or starts one. So the limiter is the pool, and its tokens are what work waits for
(https://anyio.readthedocs.io/en/stable/threads.html#adjusting-the-default-maximum-worker-thread-count).

No coroutine is wrapped: three functions that are called on the way, and return at once, tell what happens.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from otel_resinstr.threadpool.pools import ANYIO, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Lease
    from otel_resinstr.threadpool.pools import Pools, Series

_DEFAULT = "default"
_CUSTOM = "custom"

_PRUNE = 64  # calls of tasks that are gone are not looked for among fewer


class _Call:
    """A task that has work done in a thread, or waits for it."""

    __slots__ = ("began", "limiter", "submitted", "task")

    def __init__(self, task: Any, limiter: Limiter, submitted: float) -> None:
        self.task = weakref.ref(task)
        self.limiter = limiter
        self.submitted = submitted
        self.began = False


class Limiter:
    """A limiter, as long as it exists, with the threads of the loop that it is used in."""

    def __init__(self, limiter: weakref.ref[Any], loop: object, series: Series, watch: AnyioLimiters) -> None:
        self.series = series
        self.limiter = limiter
        self._loop = weakref.ref(loop)
        self._watch = watch
        self._seen = Seen(watch.clock)

    def _threads(self) -> list[threading.Thread]:
        loop = self._loop()
        return [] if loop is None else self._watch.threads_of(loop)

    def threads(self) -> int | None:
        """How many threads the loop has for all limiters; told once, by the default one."""
        return None if self.series.name == _CUSTOM else len(self._threads())

    def limit(self) -> float | None:
        """How many tokens there are."""
        limiter = self.limiter()
        return None if limiter is None else limiter.total_tokens

    def busy(self) -> int | None:
        """How many of them are taken. One is given back early by a caller that did not wait for the end."""
        limiter = self.limiter()
        return 0 if limiter is None else limiter.borrowed_tokens

    def queued(self) -> int | None:
        """How many tasks wait for one."""
        limiter = self.limiter()
        return 0 if limiter is None else limiter.statistics().tasks_waiting

    def waiting_since(self) -> float | None:
        """When the first of them called, or was first seen to wait."""
        # There is no public way to know who waits. An adapter, made outside of a loop, has the limiter inside.
        # Copied in one step: the loop's thread goes on meanwhile.
        limiter = self.limiter()
        waiting = getattr(getattr(limiter, "_internal_limiter", None) or limiter, "_wait_queue", ())
        submitted = self._watch.submitted(next(iter(list(waiting)), None))
        return self._seen(so=bool(self.queued())) if submitted is None else submitted

    def workers(self) -> list[int]:
        """The threads of the loop that are not idle, for whichever limiter."""
        return [
            thread.ident
            for thread in self._threads()
            if thread.ident is not None and thread not in getattr(thread, "idle_workers", ())
        ]


class AnyioLimiters:
    """The limiters of anyio that work in threads goes through, on asyncio's loops.

    The name is ``default`` for the one that each loop has, and ``custom`` for one that was passed to ``run_sync``.

    Cost: 30 to 37 µs a work item, beside the 107 to 158 µs that it takes (benchmarks/README.md).
    """

    name = "threadpool.anyio_limiters"

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self.clock = pools.clock
        self._forget()

    def start(self, lease: Lease) -> None:
        """Begin to find them, once anyio has imported what it needs for asyncio."""
        self._lease = lease
        self._pools.look_into(lease, self._found)
        lease.after_fork(self._forget)
        lease.when_imported("anyio._backends._asyncio", self._watch)

    def _forget(self) -> None:
        self._limiters: dict[int, Limiter] = {}  # by the id of anyio's, as long as that exists
        self._defaults: weakref.WeakKeyDictionary[Any, Limiter | None] = (
            weakref.WeakKeyDictionary()
        )  # by loop
        # By the ids of the tasks: a `WeakKeyDictionary` would cost a third more. Who gives up stays until it is pruned.
        self._calls: dict[int, _Call] = {}
        self._prune_at = _PRUNE

    def _found(self) -> list[Limiter]:
        return list(self._limiters.values())

    def _watch(self, module: Any) -> None:
        backend: Any = getattr(module, "AsyncIOBackend", None)  # from anyio 4 on
        if not all(hasattr(place, name) for place, name in _needed(module, backend)):
            return
        self._backend = backend
        self._worker = module.WorkerThread
        self._kind = sys.modules["anyio"].CapacityLimiter
        self._asyncio = sys.modules["asyncio"]
        self._lease.patch(backend, "run_sync_in_worker_thread", self._submitting)
        self._lease.replace(module, "find_root_task", self._beginning)
        self._lease.replace(module.CapacityLimiter, "release_on_behalf_of", self._ending)

    def threads_of(self, loop: object) -> list[threading.Thread]:
        """The worker threads that work for *loop*."""
        return [
            thread
            for thread in threading.enumerate()
            if isinstance(thread, self._worker) and getattr(thread, "loop", None) is loop
        ]

    def submitted(self, borrower: object) -> float | None:
        """When the work was submitted that *borrower* waits with, if that is known."""
        call = self._call(borrower)
        return None if call is None else call.submitted

    def _call(self, borrower: object) -> _Call | None:
        # Anybody can take a limiter, on behalf of anything.
        call = self._calls.get(id(borrower))
        return call if call is not None and call.task() is borrower else None

    def _prune(self) -> None:
        for key, call in list(self._calls.items()):
            if call.task() is None:
                self._calls.pop(key, None)
        self._prune_at = max(_PRUNE, 2 * len(self._calls))

    # In the threads of the application's loops

    def _submitting(
        self, wrapped: Callable[..., Any], _backend: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        coroutine = wrapped(*args, **kwargs)
        self._lease.guard(self._submit, kwargs["limiter"] if "limiter" in kwargs else (*args, *_NONE)[3])
        return coroutine

    def _beginning(self, original: Callable[[], Any]) -> Callable[[], Any]:
        def find_root_task() -> Any:
            self._lease.guard(self._begin)
            return original()

        return find_root_task

    def _ending(self, original: Callable[..., None]) -> Callable[..., None]:
        def release_on_behalf_of(limiter: Any, borrower: object) -> None:
            original(limiter, borrower)
            self._lease.guard(self._end, borrower)

        return release_on_behalf_of

    def _submit(self, limiter: Any) -> None:
        task = self._asyncio.current_task()
        known = self._default() if limiter is None else self._know(limiter, _CUSTOM)
        if task is not None and known is not None:
            self._calls[id(task)] = _Call(task, known, self.clock())
            if len(self._calls) > self._prune_at:
                self._prune()

    def _default(self) -> Limiter | None:
        loop = self._asyncio.get_running_loop()
        if loop not in self._defaults:
            self._defaults[loop] = self._know(self._backend.current_default_thread_limiter(), _DEFAULT)
        return self._defaults[loop]

    def _begin(self) -> None:
        call = self._call(self._asyncio.current_task())
        if call is not None and not call.began:
            now = self.clock()
            call.began = True
            call.limiter.series.began(now - call.submitted, now)

    def _end(self, borrower: object) -> None:
        call = self._call(borrower)
        if call is not None and call.began:
            del self._calls[id(borrower)]
            call.limiter.series.ended()

    def _know(self, limiter: Any, name: str) -> Limiter | None:
        if not isinstance(limiter, self._kind):
            return None
        # There may be thousands: FastAPI makes one for each request.
        limiters, key = self._limiters, id(limiter)
        known = limiters.get(key)
        if known is None:
            reference = weakref.ref(limiter, lambda _: limiters.pop(key, None))
            series = self._pools.series(name, ANYIO)
            known = limiters[key] = Limiter(reference, self._asyncio.get_running_loop(), series, self)
        return known


_NONE = (None,) * 4


def _needed(module: Any, backend: Any) -> tuple[tuple[Any, str], ...]:
    """What has to be there for the watch: where, and what."""
    return (
        (backend, "run_sync_in_worker_thread"),
        (backend, "current_default_thread_limiter"),
        (module, "WorkerThread"),
        (module, "find_root_task"),
        (getattr(module, "CapacityLimiter", None), "release_on_behalf_of"),
    )
