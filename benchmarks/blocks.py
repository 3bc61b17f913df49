# SPDX-License-Identifier: Apache-2.0
"""Holds event loops in every way there is, and checks that each hold is found, with its length and its line.

With --healthy, runs a loop that is busy and on time instead, and checks that nothing is said of it and that its
delay is what can be measured from inside. The exit code is 1 if a hold was missed, or a loop accused.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rloop
import uvloop
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pymongo import CursorType, MongoClient
from rich.console import Console
from rich.table import Table

from otel_resinstr import semconv
from otel_resinstr.instrumentors import EventLoopInstrumentor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pymongo.collection import Collection

    Block = Callable[[float], Awaitable[None]]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "rloop": rloop.new_event_loop,
}
THREADS = ("main", "second")
SECONDS = (0.15, 0.3, 1.0)
SHARE, LEAST = 0.2, 0.05  # by how much a length may be wrong: a fifth, or 50 ms
PATIENCE = 5.0  # seconds after which what should have been said will not
BUSY = 0.9  # the utilization of the healthy loop


class Truth:
    """How long something took, as it is seen from inside."""

    seconds = 0.0

    def __enter__(self) -> Truth:  # noqa: PYI034  there is no other
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin


# The ways to hold a loop. The line that holds it ends in "# held".


async def sleeps(truth: Truth, seconds: float) -> None:
    with truth:
        time.sleep(seconds)  # noqa: ASYNC251  # held


async def computes(truth: Truth, seconds: float) -> None:
    with truth:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:  # held
            pass


async def runs_a_program(truth: Truth, seconds: float) -> None:
    with truth:
        subprocess.run(["sleep", str(seconds)], check=True, capture_output=True)  # noqa: ASYNC221  # held


async def receives(truth: Truth, seconds: float) -> None:
    done = asyncio.Event()

    class Slow(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:  # noqa: ARG002  the loop calls it
            with truth:
                time.sleep(seconds)  # held
            done.set()

    here, there = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(Slow, sock=there)
    here.send(b"x")
    await done.wait()
    transport.close()
    here.close()


async def calls_at(truth: Truth, seconds: float) -> None:
    done = asyncio.Event()

    def slow() -> None:
        with truth:
            time.sleep(seconds)  # held
        done.set()

    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() + 0.02, slow)
    await done.wait()


async def collects(truth: Truth, seconds: float) -> None:
    class Slow:
        def __del__(self) -> None:
            with truth:
                time.sleep(seconds)  # held

    cycle = Slow()
    cycle.itself = cycle  # type: ignore[attr-defined]  # what only the garbage collector can free
    del cycle
    gc.collect()


async def queries(jobs: Collection[Any], truth: Truth, seconds: float) -> None:
    with truth:
        list(jobs.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(int(1000 * seconds)))  # held


def line_of(block: Any) -> int:
    """The number of the line of *block* that ends in "# held"."""
    lines, first = inspect.getsourcelines(getattr(block, "func", block))
    return next(first + number for number, line in enumerate(lines) if line.rstrip().endswith("# held"))


@dataclass
class Case:
    """One hold, and what was said of it."""

    block: str
    loop: str
    thread: str
    wanted: float
    line: int
    truth: float
    events: list[Any]

    @property
    def said(self) -> float | None:
        """The length that was said in the end."""
        ended = [event.attributes for event in self.events if self._state(event) == "ended"]
        return ended[-1][semconv.ASYNCIO_EVENTLOOP_BLOCKED_DURATION] if ended else None

    @property
    def right_length(self) -> bool:
        """Whether it is near enough to the truth."""
        return self.said is not None and abs(self.said - self.truth) <= max(SHARE * self.truth, LEAST)

    @property
    def right_line(self) -> bool:
        """Whether all that was said names the line, and no other."""
        return {self.line} == {event.attributes.get(semconv.CODE_LINE_NUMBER) for event in self.events}

    @property
    def causes(self) -> set[str]:
        """What was said of why."""
        return {str(event.attributes.get(semconv.ASYNCIO_EVENTLOOP_BLOCKED_CAUSE)) for event in self.events}

    def _state(self, event: Any) -> str:
        return str(event.attributes[semconv.ASYNCIO_EVENTLOOP_BLOCKED_STATE])

    def __str__(self) -> str:
        said = "nothing" if self.said is None else f"{self.said:.3f} s"
        lines = sorted({str(event.attributes.get(semconv.CODE_LINE_NUMBER)) for event in self.events})
        return (
            f"{self.block}, {self.loop}, {self.thread} thread, {self.wanted} s: "
            f"{self.truth:.3f} s at line {self.line}; "
            f"said: {said} at {', '.join(lines) or '-'}"
        )


class Watch:
    """The probes of event loops, with providers of their own: what was said before holds nothing back."""

    def __enter__(self) -> Watch:  # noqa: PYI034  there is no other
        self.exporter = InMemoryLogRecordExporter()
        logs = LoggerProvider(shutdown_on_exit=False)
        logs.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        metrics = MeterProvider([self.reader], shutdown_on_exit=False)
        self._probes = EventLoopInstrumentor()
        self._probes.instrument(meter_provider=metrics, logger_provider=logs)
        return self

    def __exit__(self, *_: object) -> None:
        self._probes.uninstrument()

    def events(self) -> list[Any]:
        """What was said so far."""
        return [data.log_record for data in self.exporter.get_finished_logs()]

    def over(self) -> bool:
        """Whether it was said that a hold is over."""
        state = semconv.ASYNCIO_EVENTLOOP_BLOCKED_STATE
        return any(event.attributes[state] == "ended" for event in self.events())

    def metrics(self) -> dict[str, float]:
        """The gauges and counters, of all loops."""
        data = self.reader.get_metrics_data()
        found = [
            m for r in (data.resource_metrics if data else []) for s in r.scope_metrics for m in s.metrics
        ]
        return {
            metric.name: point.value
            for metric in found
            for point in metric.data.data_points
            if hasattr(point, "value")
        }


def run_in(thread: str, new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Any]) -> None:
    """Run *main* on a new loop, in the main or in a second thread."""

    def whole() -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    if thread == "main":
        whole()
    else:
        second = threading.Thread(target=whole, name="second")
        second.start()
        second.join()


def case(name: str, block: Any, loop: str, thread: str, seconds: float) -> Case:
    """Hold a loop once."""
    truth = Truth()
    with Watch() as watch:

        async def main() -> None:
            gc.collect()
            gc.freeze()  # a collection is to take no time of its own
            await asyncio.sleep(random.uniform(0.1, 0.2))
            await block(truth, seconds)
            end = time.monotonic() + (PATIENCE if watch.events() else 0.3)
            while time.monotonic() < end and not watch.over():  # noqa: ASYNC110  the probes know no loop's events
                await asyncio.sleep(0.01)

        run_in(thread, LOOPS[loop], main)
        gc.unfreeze()
        return Case(name, loop, thread, seconds, line_of(block), truth.seconds, watch.events())


def holds(loops: list[str], seconds: list[float], console: Console) -> bool:
    """Hold each kind of loop in each way, and print what was found; whether it was all of it."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from mongo import PROGRAM, Server

    if not PROGRAM.exists():
        raise SystemExit("SecantusDB has no wheel for this platform")
    server = Server()
    try:
        with MongoClient(server.uri) as client:
            jobs = client.bench.create_collection("jobs", capped=True, size=4096)
            jobs.insert_one({})
            blocks = {
                "time.sleep": sleeps,
                "a loop that computes": computes,
                "a synchronous query": partial(queries, jobs),
                "subprocess.run": runs_a_program,
                "data_received": receives,
                "call_at": calls_at,
                "__del__ in a collection": collects,
            }
            with console.status("holding loops"):
                cases = [
                    case(name, block, loop, thread, length)
                    for name, block in blocks.items()
                    for loop in loops
                    for thread in THREADS
                    for length in seconds
                ]
    finally:
        server.stop()
    console.print(table(cases))
    wrong = [case for case in cases if not (case.right_length and case.right_line)]
    for each in wrong:
        console.print(f"wrong: {each}", highlight=False)
    return not wrong


def table(cases: list[Case]) -> Table:
    """What was found, by the way in which the loop was held and by the kind of loop."""
    shown = Table(title="Held event loops", title_justify="left", title_style="bold")
    for heading in ("held by", "loop", "found", "right line", "right length", "off by at most", "said to be"):
        shown.add_column(heading)
    for block, loop in dict.fromkeys((case.block, case.loop) for case in cases):
        own = [case for case in cases if (case.block, case.loop) == (block, loop)]
        off = max((abs(case.said - case.truth) for case in own if case.said is not None), default=0.0)
        shown.add_row(
            block,
            loop,
            f"{sum(bool(case.events) for case in own)}/{len(own)}",
            f"{sum(case.right_line for case in own)}/{len(own)}",
            f"{sum(case.right_length for case in own)}/{len(own)}",
            f"{1000 * off:.0f} ms",
            ", ".join(sorted(set().union(*(case.causes for case in own)))),
        )
    return shown


def healthy(loops: list[str], seconds: float, console: Console) -> bool:
    """Run a loop that is busy and never late, and print what is said of it; whether that is the truth."""
    right = True
    for loop in loops:
        lengths: list[float] = []

        async def main(lengths: list[float] = lengths) -> None:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                with Truth() as truth:
                    until = time.perf_counter() + random.uniform(0.001, 0.018)
                    while time.perf_counter() < until:
                        pass
                lengths.append(truth.seconds)
                await asyncio.sleep(truth.seconds * (1 / BUSY - 1))

        with Watch() as watch, Truth() as whole:
            run_in("main", LOOPS[loop], main)
            events, metrics = watch.events(), watch.metrics()
        utilization = metrics[semconv.ASYNCIO_EVENTLOOP_UTILIZATION.name]
        p99 = metrics[semconv.ASYNCIO_EVENTLOOP_DELAY_P99.name]
        true_p99 = late(lengths, whole.seconds, 0.01)
        console.print(
            f"{loop}: {seconds:.0f} s, {len(lengths)} callbacks of {1000 * max(lengths):.1f} ms at most; "
            f"utilization {utilization:.3f}, from inside {sum(lengths) / whole.seconds:.3f}; "
            f"p99 {1000 * p99:.1f} ms, from inside {1000 * true_p99:.1f} ms; {len(events)} events",
            highlight=False,
        )
        for event in events:
            console.print(f"  {event.body}", highlight=False)
        right = right and not events and abs(p99 - true_p99) <= 0.02
    return right


def late(lengths: list[float], whole: float, share: float) -> float:
    """What is due at any time is later than this in *share* of the time, if each of *lengths* was to be waited for."""
    low, high = 0.0, max(lengths)
    for _ in range(40):
        middle = (low + high) / 2
        if sum(max(0.0, length - middle) for length in lengths) > share * whole:
            low = middle
        else:
            high = middle
    return low


def main() -> int:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks", description=__doc__)
    parser.add_argument("--loop", action="append", choices=LOOPS, help="only this kind; all by default")
    parser.add_argument("--seconds", action="append", type=float, help="only holds of this length")
    parser.add_argument(
        "--healthy", type=float, metavar="SECONDS", help="run a healthy loop for so long instead"
    )
    arguments = parser.parse_args()
    console = Console()
    console.width = max(console.width, 130)
    loops = arguments.loop or list(LOOPS)
    if arguments.healthy:
        right = healthy(loops, arguments.healthy, console)
    else:
        right = holds(loops, arguments.seconds or list(SECONDS), console)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
