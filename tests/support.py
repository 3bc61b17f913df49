# SPDX-License-Identifier: Apache-2.0
"""Reading the output of real SDK providers as plain values."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as logs_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_resinstr._ticker import THREAD_NAME
from otel_resinstr.semconv import (
    CPYTHON_GC_PAUSE_MAX,
    PROCESS_CPU_UTILIZATION,
    RESINSTR_PRESSURE_STALL_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_resinstr.semconv import Metric


_NOT_AT_ONCE = {PROCESS_CPU_UTILIZATION.name, CPYTHON_GC_PAUSE_MAX.name, RESINSTR_PRESSURE_STALL_MAX.name}

# Before 1.38 it had another name.
_InMemoryLogs = getattr(logs_export, "InMemoryLogRecordExporter", None) or logs_export.InMemoryLogExporter


def own_threads() -> list[threading.Thread]:
    """The threads of the package that are there."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def run_python(code: str, *arguments: str, timeout: float = 60, **environ: str) -> str:
    """Run *code* in a new interpreter with no settings but *environ*, and return what it printed.

    It fails if the program does, or says anything on its standard error: a warning, a traceback that was ignored.
    """
    program = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            textwrap.dedent(code),
            *arguments,
        ],
        env=clean_environ(**environ),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert (0, "") == (program.returncode, program.stderr), program.stderr
    return program.stdout


def clean_environ(**environ: str) -> dict[str, str]:
    """The environment for a program: without settings of OpenTelemetry's or ours, and with what we import."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *(path for path in sys.path if path)]),
        **environ,
    }


class TickerByHand:
    """A ticker without a thread: it beats when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def every(self, _seconds: float, call: Any) -> Any:
        """Call *call* at each beat; returns what ends that."""
        self.calls.append(call)
        return lambda: self.calls.remove(call)

    def settle(self) -> None:
        """There is no thread to wait for."""
        assert [] == self.calls

    def beat(self) -> None:
        """Call all."""
        for call in list(self.calls):
            call()


class Collected:
    """One collection of metrics."""

    def __init__(self, data: MetricsData | None) -> None:
        scopes = [
            scope for resource in (data.resource_metrics if data else []) for scope in resource.scope_metrics
        ]
        self.metrics = [metric for scope in scopes for metric in scope.metrics]

    def names(self) -> list[str]:
        """The names of the metrics that have points, sorted; one that is there twice shows twice."""
        return sorted(metric.name for metric in self.metrics if metric.data.data_points)

    def steady_names(self) -> list[str]:
        """The names but for those that have nothing to say before some time, or a garbage collection, has passed."""
        return [name for name in self.names() if name not in _NOT_AT_ONCE]

    def points(self, metric: Metric | str) -> dict[tuple[Any, ...], Any]:
        """The points of *metric*: the values of the attributes (in the order of their keys) and the value.

        The value of a histogram is its (count, sum).
        """
        name = metric if isinstance(metric, str) else metric.name
        points = {}
        for found in self.metrics:
            if found.name == name:
                for point in found.data.data_points:
                    key = tuple(value for _, value in sorted((point.attributes or {}).items()))
                    assert key not in points, f"{name} has two points for {key}"
                    points[key] = point.value if hasattr(point, "value") else (point.count, point.sum)
        return points

    def value(self, metric: Metric | str) -> Any:
        """The one value of a metric without attributes, or None where it has no point."""
        points = self.points(metric)
        assert set(points) <= {()}
        return points.get(())

    def as_dict(self) -> dict[str, dict[tuple[Any, ...], Any]]:
        """All of it."""
        return {metric.name: self.points(metric.name) for metric in self.metrics if metric.data.data_points}


class Sink:
    """Real providers, and what they were given."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self._spans = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._logs = _InMemoryLogs()
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(logs_export.SimpleLogRecordProcessor(self._logs))

    @property
    def providers(self) -> dict[str, Any]:
        """As `otel_resinstr.instrument` takes them."""
        return {
            "meter_provider": self.meter_provider,
            "tracer_provider": self.tracer_provider,
            "logger_provider": self.logger_provider,
        }

    def collect(self) -> Collected:
        """Collect metrics once."""
        return Collected(self.reader.get_metrics_data())

    def spans(self, name: str | None = None) -> Sequence[ReadableSpan]:
        """The spans that have ended, or those of one name."""
        return [span for span in self._spans.get_finished_spans() if name in (None, span.name)]

    def events(self, name: str | None = None) -> list[Any]:
        """The events, or those of one name."""
        records = [data.log_record for data in self._logs.get_finished_logs()]
        return [record for record in records if name in (None, record.event_name)]

    def shutdown(self) -> None:
        """Shut the providers down."""
        self.meter_provider.shutdown()
        self.tracer_provider.shutdown()
        self.logger_provider.shutdown()
