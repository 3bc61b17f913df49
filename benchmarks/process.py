# SPDX-License-Identifier: Apache-2.0
"""One collection of the process probes, in a process with 50 threads and 100 descriptors."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.system_metrics import _DEFAULT_CONFIG, SystemMetricsInstrumentor
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Sum

from benchmarks.measuring import Report, Row, differences, each, interleaved, ratios
from otel_resinstr.instrumentors import ProcessInstrumentor, RuntimeInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.metrics.export import Metric

THREADS = 50
DESCRIPTORS = 100
ROUNDS = 120
COLLECTIONS = 10  # a round


class Reader:
    """A provider of its own, and one collection of it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def metrics(self) -> list[Metric]:
        """Collect once."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else []
        return [
            metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics
        ]

    def points(self) -> int:
        """How many points a collection exports."""
        return sum(len(metric.data.data_points) for metric in self.metrics())

    def cost(self) -> float:
        """The CPU time of one collection, which runs in this thread."""
        return each(self._reader.get_metrics_data, COLLECTIONS, time.thread_time)


class Contrib(SystemMetricsInstrumentor):
    """The process metrics of contrib's, without those under ``process.runtime.``, which it calls deprecated."""

    _instance = None

    def __init__(self) -> None:
        super().__init__(config={key: _DEFAULT_CONFIG[key] for key in self.keys()})

    def keys(self) -> Iterator[str]:
        """The metrics that are switched on."""
        return (key for key in _DEFAULT_CONFIG if key.startswith("process.") and "runtime" not in key)


class ContribWithDeprecated(Contrib):
    """The same with those that are deprecated: more points for the same questions to the system."""

    _instance = None

    def keys(self) -> Iterator[str]:
        """The metrics that are switched on."""
        return (key for key in _DEFAULT_CONFIG if key.startswith("process."))


def floor(metrics: list[Metric], reader: Reader) -> None:
    """Make instruments like those of *metrics* on *reader*, that observe the same points, constantly."""
    meter = reader.provider.get_meter("floor")
    for metric in metrics:
        constant = tuple(
            Observation(point.value, dict(point.attributes)) for point in metric.data.data_points
        )
        create: Callable[..., object] = meter.create_observable_gauge
        if isinstance(metric.data, Sum):
            create = meter.create_observable_up_down_counter
            if metric.data.is_monotonic:
                create = meter.create_observable_counter
        elif not isinstance(metric.data, Gauge):
            raise TypeError(metric.name)
        create(metric.name, [lambda _options, constant=constant: constant], metric.unit, metric.description)


@contextlib.contextmanager
def burdened(threads: int = THREADS) -> Iterator[None]:
    """Bring this process up to so many *threads* and descriptors."""
    end = threading.Event()
    for _ in range(threads - threading.active_count()):
        threading.Thread(target=end.wait, daemon=True).start()
    descriptors = []
    while not descriptors or len(list(Path("/dev/fd").iterdir())) <= DESCRIPTORS:  # one more: the listing's
        descriptors.append(os.open(os.devnull, os.O_RDONLY))
    yield
    end.set()
    for descriptor in descriptors:
        os.close(descriptor)


def run() -> Report:
    """Measure, and say what came out."""
    readers = {name: Reader() for name in ("floor", "ours", "contrib", "deprecated", "groups")}
    ProcessInstrumentor().instrument(meter_provider=readers["ours"].provider)
    RuntimeInstrumentor().instrument(meter_provider=readers["groups"].provider)
    Contrib().instrument(meter_provider=readers["contrib"].provider)
    ContribWithDeprecated().instrument(meter_provider=readers["deprecated"].provider)
    with burdened():
        time.sleep(0.1)  # the CPU utilization wants some time to look back over
        floor(readers["ours"].metrics(), readers["floor"])
        points = {name: reader.points() for name, reader in readers.items()}
        costs = interleaved({name: reader.cost for name, reader in readers.items()}, ROUNDS)
    if points["floor"] != points["ours"]:
        raise RuntimeError(f"not the same points: {points}")

    a_point = {name: [cost / points[name] for cost in costs[name]] for name in readers}
    against = partial(ratios, a_point["ours"])
    return Report(
        f"process: CPU of a collection, {THREADS} threads, {DESCRIPTORS} descriptors",
        [
            Row(f"floor: {points['floor']} constant points", costs["floor"], "ms"),
            Row(f"ours: {points['ours']} points", costs["ours"], "ms"),
            Row(f"contrib system_metrics: {points['contrib']} points", costs["contrib"], "ms"),
            Row(f"  with process.runtime.*: {points['deprecated']} points", costs["deprecated"], "ms"),
            Row(f"beside: runtime.threads_by_group, {points['groups']} points", costs["groups"], "ms"),
            Row("ours - floor", differences(costs["ours"], costs["floor"]), "ms", at_most=0.4e-3),
            Row("a point, ours : contrib", against(a_point["contrib"]), at_most=0.8),
            Row("  with process.runtime.*", against(a_point["deprecated"]), at_most=0.8),
        ],
    )
