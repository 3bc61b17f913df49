# SPDX-License-Identifier: Apache-2.0
"""``OTEL_METRICS_EXPORTER=resinstr_console``: what one would print by hand, at each collection.

A panel on a terminal, else one line, for a log. On standard error, beside the log: standard output may be what the
program is run for. What did not arrive is left out.
"""

from __future__ import annotations

import datetime as dt
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult

from otel_resinstr import semconv
from otel_resinstr._words import duration, mebibytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TextIO

    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics

_LABELS = 15


class ConsoleMetricExporter(MetricExporter):
    """Shows the metrics of this package on *stream*, by default what is standard error at that moment.

    Never raises and does not wait: what nobody reads, since the stream is closed or full, is not written.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        # So the longest wait is that since the last panel; all else is observed as it is.
        super().__init__(preferred_temporality={Histogram: AggregationTemporality.DELTA})
        self._stream = stream

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  it does not wait
        **_: Any,
    ) -> MetricExportResult:
        """Write a panel; a failure is an answer, never an exception."""
        try:
            shown = _shown(metrics_data, self._stream or sys.stderr)
        except Exception:  # noqa: BLE001  to say so would be written to the same stream
            shown = False
        return MetricExportResult.SUCCESS if shown else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is kept back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """The stream is the application's."""


def _shown(data: MetricsData, stream: TextIO) -> bool:
    """Whether all there is to show was written."""
    texts = [_text(of_resource, on_terminal=stream.isatty()) for of_resource in data.resource_metrics]
    return all(_write(stream, text) for text in texts if text)


def _text(of_resource: ResourceMetrics, *, on_terminal: bool) -> str:
    collected = _Collected(of_resource)
    rows = [(label, text) for label, row in _ROWS if (text := ", ".join(row(collected)))]
    if not rows:
        return ""
    at = dt.datetime.fromtimestamp(collected.at / 1e9, dt.timezone.utc)
    head = f"{at:%Y-%m-%d %H:%M:%SZ} {of_resource.resource.attributes.get('service.name')}[{os.getpid()}]"
    if on_terminal:
        return "\n  ".join([head, *(f"{label:<{_LABELS}} {text}" for label, text in rows)]) + "\n"
    return f"{head} " + "; ".join(f"{label} {text}" for label, text in rows) + "\n"


def _write(stream: TextIO, text: str) -> bool:
    try:
        file = stream.fileno()
    except (AttributeError, OSError):  # an object of the application's that is no file
        stream.write(text)
        return True
    if hasattr(select, "poll"):
        # Who writes to a pipe that is full waits for its reader; to one that has none, is killed by SIGPIPE where
        # the application has switched that on again. A pipe that is ready takes 4 KiB at least.
        ready = select.poll()
        ready.register(file, select.POLLOUT)
        if ready.poll(0) != [(file, select.POLLOUT)]:
            return False
    line = text.encode(stream.encoding or "utf-8", "backslashreplace")
    # Past the stream's buffer, whose lock the application's threads need; one call, so that nobody's line is cut.
    return os.write(file, line) == len(line)


class _Collected:
    """The points of our scope at one collection."""

    def __init__(self, of_resource: ResourceMetrics) -> None:
        self._points: dict[str, list[Any]] = {
            metric.name: list(metric.data.data_points)
            for of_scope in of_resource.scope_metrics
            if of_scope.scope.name == semconv.SCOPE
            for metric in of_scope.metrics
        }
        self.at: int = max(
            (point.time_unix_nano for points in self._points.values() for point in points), default=0
        )

    def total(self, metric: semconv.Metric, key: str = "", begins: str = "") -> float | None:
        """The sum of *metric*, or of those points whose attribute *key* *begins* so; None if there is none."""
        values = [value for value, attributes in self._values(metric) if _begins(attributes, key, begins)]
        return sum(values) if values else None

    def most(self, metric: semconv.Metric, key: str = "", begins: str = "") -> float | None:
        """The largest of these points; of a histogram's, the largest value since the last collection."""
        values = (value for value, attributes in self._values(metric) if _begins(attributes, key, begins))
        return max(values, default=None)

    def _values(self, metric: semconv.Metric) -> Iterator[tuple[float, Mapping[str, Any]]]:
        for point in self._points.get(metric.name, ()):
            yield point.value if hasattr(point, "value") else point.max, point.attributes or {}


def _begins(attributes: Mapping[str, Any], key: str, begins: str) -> bool:
    return str(attributes.get(key, "")).startswith(begins)


# What a row says, in parts: none where nothing is known.


def _cpu(collected: _Collected) -> Iterator[str]:
    share = collected.total(semconv.PROCESS_CPU_UTILIZATION)
    if share is not None:
        yield f"{share:.0%}"


def _memory(collected: _Collected) -> Iterator[str]:
    usage = collected.total(semconv.PROCESS_MEMORY_USAGE)
    share = collected.total(semconv.PROCESS_MEMORY_UTILIZATION)
    if usage is not None:
        yield mebibytes(usage) + (f" of {mebibytes(usage / share)}" if share else "")


def _threads(collected: _Collected) -> Iterator[str]:
    yield from _number(collected.total(semconv.PROCESS_THREAD_COUNT))
    of_the_driver = collected.total(semconv.CPYTHON_THREAD_COUNT, semconv.CPYTHON_THREAD_GROUP, "pymongo.")
    yield from _number(of_the_driver, " of pymongo")


def _descriptors(collected: _Collected) -> Iterator[str]:
    limit = collected.total(semconv.RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT)
    of_limit = "" if limit is None else f" of {limit:,}"
    yield from _number(collected.total(semconv.PROCESS_UNIX_FILE_DESCRIPTOR_COUNT), of_limit)
    yield from _number(collected.total(semconv.PROCESS_WINDOWS_HANDLE_COUNT))


def _loop(collected: _Collected) -> Iterator[str]:
    late = collected.most(semconv.ASYNCIO_EVENTLOOP_DELAY_MAX)
    if late is not None:
        yield f"late by {duration(late)} at most"


def _pools(collected: _Collected) -> Iterator[str]:
    limit = collected.total(semconv.CPYTHON_THREAD_POOL_THREAD_LIMIT)
    of_limit = "" if limit is None else f" of {limit:,}"
    yield from _number(collected.total(semconv.CPYTHON_THREAD_POOL_THREAD_BUSY), f"{of_limit} busy")
    yield from _number(collected.total(semconv.CPYTHON_THREAD_POOL_QUEUE_LENGTH), " queued")
    yield from _at_most(collected.most(semconv.CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX))


def _clients(collected: _Collected) -> Iterator[str]:
    yield from _number(collected.total(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT), " open")
    yield from _number(collected.total(semconv.MONGODB_CLIENT_CREATED), " made")
    for reason in ("closed", "dropped"):
        ended = collected.total(semconv.MONGODB_CLIENT_CLOSED, semconv.MONGODB_CLIENT_CLOSE_REASON, reason)
        yield from _number(ended, f" {reason}")


def _sockets(collected: _Collected) -> Iterator[str]:
    for kind, where in (("pool", " in pools"), ("monitor", " of monitors")):
        of_kind = collected.total(
            semconv.MONGODB_CLIENT_SOCKET_COUNT, semconv.MONGODB_CLIENT_SOCKET_TYPE, kind
        )
        yield from _number(of_kind, where)


def _connections(collected: _Collected) -> Iterator[str]:
    yield from _at_most(collected.most(semconv.DB_CLIENT_CONNECTION_WAIT_TIME))
    yield from _number(collected.total(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS), " waiting now")


def _pressure(collected: _Collected) -> Iterator[str]:
    for resource in ("memory", "cpu", "io"):
        stalled = collected.most(
            semconv.RESINSTR_PRESSURE_STALL_MAX, semconv.RESINSTR_PRESSURE_RESOURCE, resource
        )
        if stalled is not None:
            yield f"{resource} {stalled:.0%}"


def _number(value: float | None, of_what: str = "") -> Iterator[str]:
    if value is not None:
        yield f"{value:,}{of_what}"


def _at_most(seconds: float | None) -> Iterator[str]:
    if seconds is not None:
        yield f"waited {duration(seconds)} at most"


_ROWS: tuple[tuple[str, Callable[[_Collected], Iterator[str]]], ...] = (
    ("cpu", _cpu),
    ("memory", _memory),
    ("threads", _threads),
    ("descriptors", _descriptors),
    ("event loop", _loop),
    ("thread pools", _pools),
    ("mongodb clients", _clients),
    ("mongodb sockets", _sockets),
    ("mongodb pools", _connections),
    ("pressure", _pressure),
)
