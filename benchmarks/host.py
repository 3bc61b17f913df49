# SPDX-License-Identifier: Apache-2.0
"""One collection of all default probes of process, runtime and host, and the beats that keep the peaks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
from opentelemetry.instrumentation.system_metrics import _DEFAULT_CONFIG
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from benchmarks.measuring import Report, Row, differences, each, interleaved, ratios
from benchmarks.process import Contrib, Reader, burdened, floor
from otel_resinstr.instrumentors import HostInstrumentor, ProcessInstrumentor, RuntimeInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_resinstr.instrumentors import SubjectInstrumentor

SUBJECTS = (ProcessInstrumentor, RuntimeInstrumentor, HostInstrumentor)
MANY = 2000  # threads
ROUNDS = 40
COLLECTIONS = 3  # a round


class ContribWhole(Contrib):
    """All that contrib's reports by default."""

    _instance = None

    def keys(self) -> Iterator[str]:
        """The metrics that are switched on."""
        return iter(_DEFAULT_CONFIG)


class ReaderOfFew(Reader):
    """The same, less often: contrib's default takes as long as all others together."""

    def cost(self) -> float:
        """The CPU time of one collection, which runs in this thread."""
        return each(self._reader.get_metrics_data, COLLECTIONS, time.thread_time)


def cost_of(call: Callable[[], object]) -> Callable[[], float]:
    """The CPU time of one *call*, which runs in this thread."""
    return lambda: each(call, COLLECTIONS, time.thread_time)


def oneshot(process: psutil.Process) -> None:
    """The usual fields of a process, by psutil's own shortcut."""
    with process.oneshot():
        process.cpu_times()
        process.memory_info()
        process.num_threads()
        process.num_fds()
        process.num_ctx_switches()
        process.create_time()


def beats(subjects: list[SubjectInstrumentor]) -> list[tuple[float, Callable[[], None]]]:
    """What the package's thread calls, each with its period."""
    ticker = subjects[0]._running._telemetry.ticker  # type: ignore[union-attr]  # it runs
    return [(beat.seconds, beat.call) for beat in ticker._beats]


def measured(threads: int) -> tuple[dict[str, list[float]], dict[str, int], list[float]]:
    """What each of the variants costs, how many points it has, and what the beats cost of a second."""
    readers = {name: ReaderOfFew() for name in ("floor", "ours", "contrib", "contrib cut down")}
    subjects = [subject() for subject in SUBJECTS]
    for subject in subjects:
        subject.instrument(meter_provider=readers["ours"].provider)
    ContribWhole().instrument(meter_provider=readers["contrib"].provider)
    Contrib().instrument(meter_provider=readers["contrib cut down"].provider)
    process, prometheus = psutil.Process(), ProcessCollector(registry=CollectorRegistry())
    with burdened(threads):
        time.sleep(1.5)  # the peaks want a second to look back over
        floor(readers["ours"].metrics(), readers["floor"])
        points = {name: reader.points() for name, reader in readers.items()}
        variants: dict[str, Callable[[], float]] = {name: reader.cost for name, reader in readers.items()}
        variants["psutil"] = cost_of(lambda: oneshot(process))
        variants["prometheus"] = cost_of(lambda: list(prometheus.collect()))
        costs = interleaved(variants, ROUNDS)
        of_a_second = [
            sum(each(call, 1, time.thread_time) / period for period, call in beats(subjects))
            for _ in range(20)
        ]
    for subject in (*subjects, ContribWhole(), Contrib()):
        subject.uninstrument()  # contrib's has no effect but that it may be instrumented again
    if points["floor"] != points["ours"]:
        raise RuntimeError(f"not the same points: {points}")
    return costs, points, of_a_second


def run() -> Report:
    """Measure, and say what came out."""
    costs, points, of_a_second = measured(50)
    many, _, _ = measured(MANY)
    return Report(
        "host: CPU of a collection of process, runtime and host, 50 threads, 100 descriptors",
        [
            Row(f"floor: {points['floor']} constant points", costs["floor"], "ms"),
            Row(f"ours: {points['ours']} points", costs["ours"], "ms"),
            Row(f"contrib system_metrics: {points['contrib']} points", costs["contrib"], "ms"),
            Row(
                f"  process metrics only: {points['contrib cut down']} points",
                costs["contrib cut down"],
                "ms",
            ),
            Row("psutil oneshot, 6 calls, no points", costs["psutil"], "ms"),
            Row("prometheus client's process collector, 5 points", costs["prometheus"], "ms"),
            Row("ours - floor", differences(costs["ours"], costs["floor"]), "ms", at_most=0.6e-3),
            Row(f"  with {MANY} threads", differences(many["ours"], many["floor"]), "ms", at_most=2e-3),
            Row("ours : contrib", ratios(costs["ours"], costs["contrib"]), at_most=1 / 8),
            Row(f"  with {MANY} threads", ratios(many["ours"], many["contrib"]), at_most=1 / 8),
            Row("beats between collections, of a core", of_a_second, "%", at_most=0.05e-2),
        ],
    )
