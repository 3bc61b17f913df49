# SPDX-License-Identifier: Apache-2.0
"""How much a loop gets done while it is watched, and what watching idle ones takes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import aiocop
import uvloop
from aiowatch import AioWatch
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.measuring import Report, Row, interleaved, ratios
from otel_resinstr.instrumentors import EventLoopInstrumentor
from otel_resinstr.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

ROUNDS = 40
SECONDS = 0.31  # of work in a round: six looks
IDLE_ROUNDS = 3
IDLE_SECONDS = 2.0
MANY = 50  # idle loops, each in its thread
PERIOD = Settings().eventloop_period
OTHERS = ("aiocop", "aiowatch")
VARIANTS = ("bare", "ours", "ours, more", "floor, more", *OTHERS)
TIMES = 10  # as many looks show what a machine's noise hides at the default
MORE = dataclasses.replace(Settings(), eventloop_period=PERIOD / TIMES)

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


@contextlib.contextmanager
def woken(period: float) -> Iterator[None]:
    """A thread that wakes up every *period* seconds, and does nothing."""
    end = threading.Event()
    wake = threading.Lock()
    wake.acquire()

    def waken() -> None:
        while not end.is_set():
            wake.acquire(timeout=period)

    thread = threading.Thread(target=waken)
    thread.start()
    yield
    end.set()
    thread.join()


def of_one(throughputs: list[float]) -> list[float]:
    """The throughput at the default, of those at so many times the looks."""
    return [1 - (1 - throughput) / TIMES for throughput in throughputs]


class Bench:
    """One kind of loop, bare or with a watch over it."""

    def __init__(self, kind: str, provider: MeterProvider) -> None:
        self._new_loop = LOOPS[kind]
        self._provider = provider
        self.turns = 10_000
        self.cpu: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        """The CPU time of each busy round: it tells more than the time where others work too."""
        self.turns = int(self.turns * SECONDS / self.busy("bare"))
        self.cpu["bare"].clear()

    def busy(self, variant: str) -> float:
        """The seconds for a number of turns."""
        with self._watch(variant):
            seconds, cpu = self._run(self._work(variant))
        self.cpu[variant].append(cpu)
        return seconds

    async def _work(self, variant: str) -> None:
        if variant == "aiocop":
            aiocop.activate()  # wraps the scheduling of the loop that runs
            await turns(self.turns)
            aiocop.deactivate()
        elif variant == "aiowatch":
            async with AioWatch(self._provider.get_meter("aiowatch")):
                await turns(self.turns)
        else:
            await turns(self.turns)

    def idle(self, variant: str) -> float:
        """The share of a core that a loop takes, and the watch over it, with nothing to do."""
        with self._watch(variant):
            seconds, cpu = self._run(asyncio.sleep(IDLE_SECONDS))
        return cpu / seconds

    def many(self) -> float:
        """The same of many loops in threads of their own, without what starting and ending them takes."""
        loops = [self._new_loop() for _ in range(MANY)]
        with self._watch("ours"):
            threads = [threading.Thread(target=loop.run_forever) for loop in loops]
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            begin, cpu = time.perf_counter(), time.process_time()
            time.sleep(IDLE_SECONDS)
            share = (time.process_time() - cpu) / (time.perf_counter() - begin)
            for loop, thread in zip(loops, threads, strict=True):
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()
        return share

    def floor(self) -> float:
        """A loop with nothing to do, beside a thread that wakes up as often as ours and does nothing."""
        with woken(PERIOD):
            seconds, cpu = self._run(asyncio.sleep(IDLE_SECONDS))
        return cpu / seconds

    def _run(self, work: Coroutine[object, object, None]) -> tuple[float, float]:
        loop = self._new_loop()
        begin, cpu = time.perf_counter(), time.process_time()
        loop.run_until_complete(work)
        taken = time.perf_counter() - begin, time.process_time() - cpu
        loop.close()
        return taken

    @contextlib.contextmanager
    def _watch(self, variant: str) -> Iterator[None]:
        if variant == "floor, more":
            with woken(MORE.eventloop_period):
                yield
        elif variant.startswith("ours"):
            settings = MORE if variant == "ours, more" else Settings()
            EventLoopInstrumentor().instrument(meter_provider=self._provider, settings=settings)
            yield
            EventLoopInstrumentor().uninstrument()
        else:
            yield


def run() -> Report:
    """Measure, and say what came out."""
    report = Report("eventloop: what a busy loop gets done, what an idle one takes")
    report.note = (
        "aiocop without stacks and audit hook, which cannot be taken back; aiowatch looks every 5 s."
    )
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    aiocop.detect_slow_tasks(threshold_ms=100, cpu_sampling=False)
    # As the SDK's exporting thread in any process that is watched: the first thread makes locks and memory dearer.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    benches = {kind: Bench(kind, provider) for kind in LOOPS}
    busy = interleaved(
        {
            f"{kind}, {variant}": partial(bench.busy, variant)
            for kind, bench in benches.items()
            for variant in VARIANTS
        },
        ROUNDS,
    )
    idle = interleaved(
        {
            f"{kind}, {name}": call
            for kind, bench in benches.items()
            for name, call in (
                ("floor", bench.floor),
                ("ours", partial(bench.idle, "ours")),
                ("many", bench.many),
            )
        },
        IDLE_ROUNDS,
    )
    for kind, bench in benches.items():
        bare = busy[f"{kind}, bare"]
        report.rows += [
            Row(f"{kind}, busy: a turn, bare", [seconds / bench.turns for seconds in bare], "µs"),
            Row(f"{kind}, busy: throughput, ours : bare", ratios(bare, busy[f"{kind}, ours"])),
            Row(
                f"  from that of {TIMES} times as many looks",
                of_one(ratios(bare, busy[f"{kind}, ours, more"])),
                at_least=0.99,
            ),
            Row("  its floor, a thread that wakes up", of_one(ratios(bare, busy[f"{kind}, floor, more"]))),
            *(
                Row(f"{kind}, busy: throughput, {other} : bare", ratios(bare, busy[f"{kind}, {other}"]))
                for other in OTHERS
            ),
            Row(f"{kind}, busy: CPU, ours : bare", ratios(bench.cpu["ours"][1:], bench.cpu["bare"][1:])),
            Row(f"{kind}, idle: floor, a thread that wakes up", idle[f"{kind}, floor"], "%"),
            Row(f"{kind}, idle: ours, of a core", idle[f"{kind}, ours"], "%", at_most=0.002),
            Row(f"{kind}, {MANY} idle loops: ours, of a core", idle[f"{kind}, many"], "%", at_most=0.01),
        ]
    return report
