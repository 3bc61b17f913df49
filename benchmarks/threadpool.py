# SPDX-License-Identifier: Apache-2.0
"""What a work item costs that goes through a thread pool, from its submission to its result."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor, thread, wait
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from aiowatch import AioWatch
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.measuring import Report, Row, differences, interleaved
from otel_resinstr.instrumentors import ThreadPoolInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 24
ITEMS = 500  # in a round
AT_MOST = 5e-6


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    yield


@contextlib.contextmanager
def floor() -> Iterator[None]:
    """No more than a date for each work item, and a look at it when a thread takes it."""
    kind = thread._WorkItem
    init, run = kind.__init__, kind.run

    def dated(item: Any, *args: Any) -> None:
        init(item, *args)
        item.submitted = time.perf_counter()

    def looked_at(item: Any, *args: Any) -> None:
        assert time.perf_counter() >= item.submitted
        run(item, *args)

    kind.__init__, kind.run = dated, looked_at  # type: ignore[method-assign]
    yield
    kind.__init__, kind.run = init, run  # type: ignore[method-assign]


class Bench:
    """Work through pools that stay, with one thread, so that it is always the same one that is woken."""

    def __init__(self) -> None:
        self._provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        self._pool = ThreadPoolExecutor(1)
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._pool)
        self._aiowatch = AioWatch(self._provider.get_meter("aiowatch"), thread_pools={"pool": self._pool})

    @contextlib.contextmanager
    def ours(self) -> Iterator[None]:
        ThreadPoolInstrumentor().instrument(meter_provider=self._provider)
        yield
        ThreadPoolInstrumentor().uninstrument()

    @contextlib.contextmanager
    def aiowatch(self) -> Iterator[None]:
        self._loop.run_until_complete(self._aiowatch.start())
        yield
        self._loop.run_until_complete(self._aiowatch.stop())

    def batch(self) -> None:
        wait([self._pool.submit(int) for _ in range(ITEMS)])

    def one_by_one(self) -> None:
        for _ in range(ITEMS):
            self._pool.submit(int).result()

    def to_thread(self) -> None:
        self._loop.run_until_complete(self._turns(asyncio.to_thread))

    def anyio(self) -> None:
        self._loop.run_until_complete(self._turns(anyio.to_thread.run_sync))

    async def _turns(self, hand_over: Callable[..., Any]) -> None:
        for _ in range(ITEMS):
            await hand_over(int)

    def measure(self, way: Callable[[], None], watched: Callable[[], Any]) -> float:
        """The seconds of CPU for a work item, in all threads."""
        with watched():
            way()  # the threads are there, and known
            begin = time.process_time()
            way()
            return (time.process_time() - begin) / ITEMS

    def close(self) -> None:
        self._pool.shutdown()
        self._loop.close()


def run() -> Report:
    """Measure, and say what came out."""
    report = Report(
        "threadpool: CPU of a work item, submit to result",
        note="aiowatch does nothing for a work item, and its gauges of pools never arrive (C-17).",
    )
    bench = Bench()
    watchers = {"bare": nothing, "floor": floor, "aiowatch": bench.aiowatch, "ours": bench.ours}
    for what, way in (
        ("in a batch", bench.batch),
        ("one by one", bench.one_by_one),
        ("asyncio.to_thread", bench.to_thread),
        ("anyio.to_thread", bench.anyio),
    ):
        cost = interleaved(
            {name: partial(bench.measure, way, watch) for name, watch in watchers.items()}, ROUNDS
        )
        report.rows += [
            Row(f"{what}: bare", cost["bare"], "µs"),
            Row("  floor - bare", differences(cost["floor"], cost["bare"]), "µs"),
            Row("  aiowatch - bare", differences(cost["aiowatch"], cost["bare"]), "µs"),
            Row("  ours - bare", differences(cost["ours"], cost["bare"]), "µs", at_most=AT_MOST),
        ]
    bench.close()
    return report
