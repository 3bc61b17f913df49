# SPDX-License-Identifier: Apache-2.0
"""Pools whose state is known because the test holds it, and looks that are made when a test says so."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fakes import FakeClock
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.threadpool.anyio_limiters import AnyioLimiters
from otel_resinstr.threadpool.executors import Executors
from otel_resinstr.threadpool.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0  # seconds after which what should have happened will not


@pytest.fixture(autouse=True)
def pools_of_the_test(no_earlier_pools: None) -> None:
    """Each test finds its own pools, and no others."""


class FakeTicker:
    """Calls when the test says so, in the test's own thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def every(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        entry = (seconds, call)
        self.calls.append(entry)
        return lambda: self.calls.remove(entry)

    def settle(self) -> None:
        pass

    def tick(self) -> None:
        for _, call in tuple(self.calls):
            call()


class Work:
    """Work that begins when a thread takes it, and ends when the test says so."""

    def __init__(self) -> None:
        self._begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.times: list[None] = []  # one for each time that it has begun

    def __call__(self, result: Any = None) -> Any:
        self.enter()
        assert self.release.wait(PATIENCE)
        return result

    def enter(self) -> None:
        """Say that it has begun."""
        self._begun.release()
        self.times.append(None)

    def begun(self, times: int) -> None:
        """Wait until it has begun so many times."""
        for _ in range(times):
            assert self._begun.acquire(timeout=PATIENCE)

    def end(self) -> None:
        self.release.set()


class FakePool:
    """A pool that says what the test says."""

    def __init__(self, series, *, threads=None, limit=None, busy=None, queued=None, since=None):
        self.series = series
        self.threads = lambda: threads
        self.limit = lambda: limit
        self.busy = lambda: busy
        self.queued = lambda: queued
        self.waiting_since = lambda: since
        self.workers = list


class FakeFinder:
    """Finds what the test says."""

    name = "threadpool.fake"

    def __init__(self, pools, found):
        self._pools = pools
        self._found = found

    def start(self, lease):
        self._pools.look_into(lease, lambda: self._found)


@pytest.fixture
def fake() -> Any:
    """Pools, and a finder of them, that say what the test says."""
    return SimpleNamespace(Pool=FakePool, Finder=FakeFinder)


@pytest.fixture
def work() -> Iterator[Work]:
    """Work that ends at the end of the test at the latest."""
    work = Work()
    yield work
    work.end()


@pytest.fixture
def another() -> type[Work]:
    """Make more of it."""
    return Work


@pytest.fixture
def executor(work: Work) -> Iterator[Callable[..., ThreadPoolExecutor]]:
    """Make an executor; it is shut down after the test, and its threads are gone then."""
    with contextlib.ExitStack() as stack:

        def executor(
            threads: int, prefix: str = "job", kind: Any = ThreadPoolExecutor, **more: Any
        ) -> ThreadPoolExecutor:
            return stack.enter_context(kind(threads, prefix, **more))

        yield executor
        work.end()


@pytest.fixture
def clock() -> FakeClock:
    """The time that a test says it is."""
    return FakeClock(1000.0)


@pytest.fixture
def pools(clock: FakeClock) -> Pools:
    """What pools are reported by, on the clock of the test."""
    return Pools(60.0, clock)


@pytest.fixture
def watch(start: Callable[..., Running], pools: Pools) -> Callable[[], Running]:
    """Begin to find pools."""
    return lambda: start(pools, Executors(pools), AnyioLimiters(pools))


@pytest.fixture
def ticker(sink: Any, clock: FakeClock) -> Iterator[Callable[..., FakeTicker]]:
    """Start probes with a ticker that ticks when it is told to; they are stopped after the test."""
    started: list[Running] = []

    def ticker(*probes: Any) -> FakeTicker:
        fake = FakeTicker()
        started.append(Running(probes, Telemetry(**sink.providers, ticker=fake, clock=clock)))
        return fake

    yield ticker
    for running in started:
        running.stop()
