# SPDX-License-Identifier: Apache-2.0
"""Pools whose work waits for a thread: said while it lasts, with what the threads do meanwhile."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

from otel_resinstr._site import Site, application_site
from otel_resinstr.semconv import (
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    CODE_LINE_NUMBER,
    CPYTHON_THREAD_POOL_SATURATED,
    CPYTHON_THREAD_POOL_SATURATED_BUSY,
    CPYTHON_THREAD_POOL_SATURATED_DURATION,
    CPYTHON_THREAD_POOL_SATURATED_LIMIT,
    CPYTHON_THREAD_POOL_SATURATED_LONGEST,
    CPYTHON_THREAD_POOL_SATURATED_QUEUED,
    CPYTHON_THREAD_POOL_SATURATED_SITES,
    CPYTHON_THREAD_POOL_SATURATED_STATE,
    CPYTHON_THREAD_POOL_SATURATED_THREADS,
    THREAD_POOL_NAME,
    THREAD_POOL_TYPE,
)
from otel_resinstr.threadpool.pools import ANYIO, EXECUTOR, LOOP_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr.threadpool.pools import Pool, Pools

_AGAIN = (10.0, 60.0)  # seconds after which it is said again; the last also from then on
_LOOKS = 2  # in the time of the threshold
_LINES = 5  # that are named
_THREADS = 256  # whose stacks are looked at

_REMEDY = {
    EXECUTOR: "Make this work shorter, or give the pool more threads if what they wait for can take it",
    LOOP_DEFAULT: (
        "asyncio.to_thread and run_in_executor(None, ...) share these threads: make this work shorter, or give it "
        "an executor of its own"
    ),
    ANYIO: (
        "`def` endpoints and dependencies share this limit: await in `async def` what they wait for, make it "
        "shorter, or raise total_tokens of anyio.to_thread.current_default_thread_limiter()"
    ),
}
_NO_THREADS = (
    "it has no threads in this process, and what it is given waits for ever. Threads do not follow a fork: make the "
    "pool in the child"
)


class _Spell:
    """A time in which the work of a pool waits for longer than it should."""

    def __init__(self, since: float, due: float) -> None:
        self.since = since
        self.due = due
        """After how many seconds it is to be said next."""
        self.said = False


class Saturation:
    """A pool whose oldest work item has waited for more than *threshold* seconds, and what its threads do.

    Such a pool has no free thread: work is taken in the order of its submission. It is said at once, again after
    10 s, after 60 s and each further minute, and once when no work waits so long any more. A pool whose threads have
    stayed behind in a fork is told apart: what it is given waits for ever.

    Cost: two looks in the time of the threshold, 3 µs for each pool; 1 ms for a queue of 100,000 work items. Stacks
    are taken when it is said, and only then: 1 µs for each frame of at most 256 threads.
    """

    name = "threadpool.saturation"

    def __init__(self, pools: Pools, threshold: float) -> None:
        self._pools = pools
        self._threshold = threshold
        self._spells: dict[Pool, _Spell] = {}

    def start(self, lease: Lease) -> None:
        """Begin to look, as soon as there is a pool."""
        self._lease = lease
        lease.after_fork(self._spells.clear)
        self._pools.at_first(lease, self._begin)

    def _begin(self) -> None:
        self._lease.every(self._threshold / _LOOKS, self._look)

    def _look(self) -> None:
        now = self._pools.clock()
        late = {}
        for pool in self._pools.all():
            since = pool.waiting_since()
            if since is not None and now - since >= self._threshold:
                late[pool] = since
        for pool in self._spells.keys() - late.keys():
            self._over(pool, now)
        for pool, since in late.items():
            self._lasts(pool, since, now)

    def _lasts(self, pool: Pool, since: float, now: float) -> None:
        spell = self._spells.setdefault(pool, _Spell(since, self._threshold))
        lasted = now - spell.since
        if lasted < spell.due:
            return
        step = min(spell.due, _AGAIN[-1])
        spell.due = next((again for again in _AGAIN if again > lasted), lasted + _AGAIN[-1])
        message, attributes = self._found(pool, now - since)
        if self._say(pool, "saturated", step, message, {**attributes, _DURATION: lasted}):
            spell.said = True

    def _over(self, pool: Pool, now: float) -> None:
        spell = self._spells.pop(pool)
        if spell.said:
            lasted = now - spell.since
            message = f"{_called(pool)} keeps up again; for {lasted:.2f} s work had to wait for its threads"
            self._say(pool, "ended", 0.0, message, {_DURATION: lasted})

    def _say(
        self, pool: Pool, state: str, step: float, message: str, attributes: dict[str, AnyValue]
    ) -> bool:
        named = {THREAD_POOL_NAME: pool.series.name, THREAD_POOL_TYPE: pool.series.kind}
        cause = (pool.series.name, pool.series.kind, state, step)
        attributes = {**named, CPYTHON_THREAD_POOL_SATURATED_STATE: state, **attributes}
        return self._lease.event(CPYTHON_THREAD_POOL_SATURATED, message, cause, attributes)

    def _found(self, pool: Pool, longest: float) -> tuple[str, dict[str, AnyValue]]:
        """What there is to say of *pool* at this moment."""
        threads, busy, limit, queued = pool.threads(), pool.busy(), pool.limit(), pool.queued()
        known = {
            CPYTHON_THREAD_POOL_SATURATED_BUSY: busy,
            CPYTHON_THREAD_POOL_SATURATED_LIMIT: limit,
            CPYTHON_THREAD_POOL_SATURATED_LONGEST: longest,
            CPYTHON_THREAD_POOL_SATURATED_QUEUED: queued,
            CPYTHON_THREAD_POOL_SATURATED_THREADS: threads,
        }
        attributes: dict[str, AnyValue] = {name: value for name, value in known.items() if value is not None}
        waiting = (
            f"{_called(pool)} is saturated: {_count(queued)} for a thread, the first for {longest:.2f} s"
        )
        if threads == 0:
            return f"{waiting}; {_NO_THREADS}", attributes
        sites = _sites(pool.workers())
        if busy is not None and limit is not None:
            waiting += f"; {busy:,} of {limit:,} threads are busy"
        if sites:
            attributes.update(_attributes(sites))
            waiting += f", {_listed(sites)}"
        return f"{waiting}. {_REMEDY[pool.series.kind]}", attributes


_DURATION = CPYTHON_THREAD_POOL_SATURATED_DURATION


def _called(pool: Pool) -> str:
    return f"the thread pool {pool.series.name} ({pool.series.kind})"


def _count(queued: int | None) -> str:
    if queued is None:
        return "work waits"
    return "1 work item waits" if queued == 1 else f"{queued:,} work items wait"


def _sites(idents: list[int]) -> Counter[Site]:
    """How many of the threads are at which line of the application, or at which line at all where there is none."""
    tell: Callable[[], dict[int, FrameType]] = getattr(sys, "_current_frames", dict)
    frames = tell()
    # Our own frame would hold itself by way of these, and with it those of the application.
    frames.pop(threading.get_ident(), None)
    sites: Counter[Site] = Counter()
    for ident in idents[:_THREADS]:
        frame = frames.get(ident)
        if frame is not None:
            code = frame.f_code
            sites[application_site(frame) or Site(code.co_filename, frame.f_lineno, code.co_name)] += 1
    return sites


def _attributes(sites: Counter[Site]) -> dict[str, AnyValue]:
    ((first, _),) = sites.most_common(1)
    return {
        CODE_FILE_PATH: first.path,
        CODE_LINE_NUMBER: first.line,
        CODE_FUNCTION_NAME: first.function,
        CPYTHON_THREAD_POOL_SATURATED_SITES: [
            f"{count} {site.label}" for site, count in sites.most_common(_LINES)
        ],
    }


def _listed(sites: Counter[Site]) -> str:
    named = sites.most_common(_LINES)
    parts = [f"{count} at {site.label} ({site.path})" for site, count in named]
    rest = sites.total() - sum(count for _, count in named)
    return ", ".join([*parts, *([f"{rest} elsewhere"] if rest else [])])
