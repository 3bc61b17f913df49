# SPDX-License-Identifier: Apache-2.0
"""Reading the output of real SDK providers as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_resinstr.semconv import Metric


class Collected:
    """One collection of metrics."""

    def __init__(self, data: MetricsData | None) -> None:
        scopes = [scope for resource in (data.resource_metrics if data else []) for scope in resource.scope_metrics]
        self.metrics = [metric for scope in scopes for metric in scope.metrics]

    def names(self) -> list[str]:
        """The names of the metrics that have points, sorted; one that is there twice shows twice."""
        return sorted(metric.name for metric in self.metrics if metric.data.data_points)

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
        self._logs = InMemoryLogRecordExporter()
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

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
