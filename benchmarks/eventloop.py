# SPDX-License-Identifier: Apache-2.0
"""How much a loop gets done while it is watched, and what watching an idle one takes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import uvloop
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.measuring import Report, Row, interleaved, ratios
from otel_resinstr.instrumentors import EventLoopInstrumentor
from otel_resinstr.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

ROUNDS = 32
SECONDS = 0.31  # of work in a round: three beats
IDLE_ROUNDS = 3
IDLE_SECONDS = 2.0
PERIOD = Settings().eventloop_period

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


async def turns(count: int) -> None:
    """Two tasks that let each other go first: each of the turns is a callback of the loop."""

    async def player() -> None:
        for _ in range(count // 2):
            await asyncio.sleep(0)

    await asyncio.gather(player(), player())


class Bench:
    """One kind of loop, with or without a watch over it."""

    def __init__(self, kind: str, provider: MeterProvider) -> None:
        self._new_loop = LOOPS[kind]
        self._provider = provider
        self.turns = 10_000
        self.cpu: dict[bool, list[float]] = {False: [], True: []}
        """The CPU time of each busy round, watched or not: it tells more than the time where others work too."""
        self.turns = int(self.turns * SECONDS / self.busy(watched=False))
        self.cpu[False].clear()

    def busy(self, *, watched: bool) -> float:
        """The seconds for a number of turns."""
        with self._watch(watched=watched):
            seconds, cpu = self._run(turns(self.turns))
        self.cpu[watched].append(cpu)
        return seconds

    def idle(self) -> float:
        """The share of a core that a loop takes, and the watch over it, with nothing to do."""
        with self._watch(watched=True):
            seconds, cpu = self._run(asyncio.sleep(IDLE_SECONDS))
        return cpu / seconds

    def floor(self) -> float:
        """The same with no more than a thread that wakes up and wakes the loop, as often."""
        end = threading.Event()

        async def woken() -> None:
            loop = asyncio.get_running_loop()
            thread = threading.Thread(target=wake, args=(loop,))
            thread.start()
            await asyncio.sleep(IDLE_SECONDS)
            end.set()
            thread.join()

        def wake(loop: asyncio.AbstractEventLoop) -> None:
            while not end.wait(PERIOD):
                loop.call_soon_threadsafe(int)

        seconds, cpu = self._run(woken())
        return cpu / seconds

    def _run(self, work: Coroutine[object, object, None]) -> tuple[float, float]:
        loop = self._new_loop()
        begin, cpu = time.perf_counter(), time.process_time()
        loop.run_until_complete(work)
        taken = time.perf_counter() - begin, time.process_time() - cpu
        loop.close()
        return taken

    @contextlib.contextmanager
    def _watch(self, *, watched: bool) -> Iterator[None]:
        if watched:
            EventLoopInstrumentor().instrument(meter_provider=self._provider)
        yield
        if watched:
            EventLoopInstrumentor().uninstrument()


def run() -> Report:
    """Measure, and say what came out."""
    report = Report("eventloop: what a busy loop gets done, what an idle one takes")
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    # As the SDK's exporting thread in any process that is watched: the first thread makes locks and memory dearer.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    benches = {kind: Bench(kind, provider) for kind in LOOPS}
    busy = interleaved(
        {
            f"{kind}, {watched}": partial(bench.busy, watched=watched)
            for kind, bench in benches.items()
            for watched in (False, True)
        },
        ROUNDS,
    )
    idle = interleaved(
        {
            f"{kind}, {method.__name__}": partial(method, bench)
            for kind, bench in benches.items()
            for method in (Bench.floor, Bench.idle)
        },
        IDLE_ROUNDS,
    )
    for kind, bench in benches.items():
        turn = [seconds / bench.turns for seconds in busy[f"{kind}, False"]]
        done = ratios(busy[f"{kind}, False"], busy[f"{kind}, True"])
        cpu = ratios(bench.cpu[True][1:], bench.cpu[False][1:])
        report.rows += [
            Row(f"{kind}, busy: a turn, unwatched", turn, "µs"),
            Row(f"{kind}, busy: throughput, watched : unwatched", done, at_least=0.99),
            Row(f"{kind}, busy: CPU, watched : unwatched", cpu),
            Row(f"{kind}, idle: floor, a thread that wakes it", idle[f"{kind}, floor"], "%"),
            Row(f"{kind}, idle: watched, of a core", idle[f"{kind}, idle"], "%", at_most=0.002),
        ]
    return report
