# SPDX-License-Identifier: Apache-2.0
"""Reads OTLP/JSON lines: one export request a line, as the Collector's file exporter writes them.

Tolerant of what files from the field are like: a last line that was cut, files that were rotated, a request that
was sent twice, fields that a later version added. A line that makes no sense is counted and left out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Attributes = dict[str, Any]

_DELTA = 1  # AGGREGATION_TEMPORALITY_DELTA; OTLP/JSON has enums as numbers
_NONSENSE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Point:
    """What a metric was at one moment: a number, or the sum and the count of a histogram."""

    at: float
    value: float
    count: int = 0


@dataclass(frozen=True)
class Span:
    """A span that has ended."""

    name: str
    start: float
    end: float
    attributes: Attributes


@dataclass(frozen=True)
class Event:
    """A log record that has an event's name."""

    name: str
    at: float
    body: Any
    attributes: Attributes


@dataclass
class Series:
    """The points of one metric with the same attributes."""

    attributes: Attributes
    delta: bool = False
    by_time: dict[int, Point] = field(default_factory=dict)
    """A point that was sent twice is there once."""

    def points(self) -> list[Point]:
        """The points in the order of time; of a counter sent as differences, what they add up to."""
        points = [self.by_time[at] for at in sorted(self.by_time)]
        return list(accumulate(points, _sum)) if self.delta else points


@dataclass
class Process:
    """What one process reported: all that came with the same resource."""

    resource: Attributes
    metrics: dict[str, dict[str, Series]] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def series(self, name: str) -> list[Series]:
        """The series of the metric *name*."""
        return list(self.metrics.get(name, {}).values())

    def totals(self, name: str, where: Callable[[Attributes], bool] = lambda _: True) -> list[Point]:
        """The metric *name* over time, summed up over those of its series for which *where* is true.

        Empty if none has arrived: unknown is not zero. All points of one collection carry the same time.
        """
        totals: dict[float, Point] = {}
        for series in self.series(name):
            if where(series.attributes):
                for point in series.points():
                    totals[point.at] = _sum(totals[point.at], point) if point.at in totals else point
        return [totals[at] for at in sorted(totals)]

    def watched(self) -> tuple[float, float] | None:
        """When any metric was collected first and last; None if none has arrived."""
        times = [
            point.at for name in self.metrics for series in self.series(name) for point in series.points()
        ]
        return (min(times), max(times)) if times else None


@dataclass
class Readings:
    """All processes that reported, and how many lines made no sense."""

    processes: list[Process] = field(default_factory=list)
    unreadable: int = 0


def read(*paths: Path) -> Readings:
    """What files hold, whichever signals they are for and however often rotated: of a folder, those of `files`."""
    return parse(line for path in paths for file in files(path) for line in _lines(file))


def files(path: Path) -> list[Path]:
    """The file *path*, or the files ``*.jsonl`` in the folder *path*."""
    return sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def parse(lines: Iterable[str]) -> Readings:
    """What *lines* of OTLP/JSON hold. Never raises."""
    readings = Readings()
    processes: dict[str, Process] = {}
    for line in lines:
        if not line.strip():
            continue
        try:
            # The whole line before any of it is taken: it counts, or it does not.
            found = list(_request(json.loads(line)))
        except _NONSENSE:
            readings.unreadable += 1
            continue
        for resource, put in found:
            key = _key(resource)
            if key not in processes:
                processes[key] = Process(resource)
                readings.processes.append(processes[key])
            put(processes[key])
    return readings


def _request(request: Any) -> Iterator[tuple[Attributes, Callable[[Process], None]]]:
    """Each item that *request* holds: of which resource it is, and what puts it into a process."""
    for resources, scopes, items, item_reader in (
        ("resourceMetrics", "scopeMetrics", "metrics", _metric),
        ("resourceSpans", "scopeSpans", "spans", _span),
        ("resourceLogs", "scopeLogs", "logRecords", _log_record),
    ):
        for of_resource in request.get(resources, ()):
            resource = _attributes(of_resource.get("resource", {}))
            for of_scope in of_resource.get(scopes, ()):
                for item in of_scope.get(items, ()):
                    yield resource, item_reader(item)


def _metric(metric: dict[str, Any]) -> Callable[[Process], None]:
    name = str(metric["name"])
    points = [
        (
            _attributes(point),
            data.get("aggregationTemporality") == _DELTA,
            at,
            Point(at / 1e9, value, count),
        )
        for kind in ("sum", "gauge", "histogram", "exponentialHistogram")
        if (data := metric.get(kind)) is not None
        for point in data.get("dataPoints", ())
        for at, (value, count) in [(int(point["timeUnixNano"]), _number(point))]
        if math.isfinite(value)
    ]

    def put(process: Process) -> None:
        series = process.metrics.setdefault(name, {})
        for attributes, delta, at, read in points:
            of_attributes = series.setdefault(_key(attributes), Series(attributes, delta))
            of_attributes.by_time[at] = read

    return put


def _number(point: dict[str, Any]) -> tuple[float, int]:
    """The value of a point, or the sum and the count of a histogram's; not a number where it has none."""
    if "asInt" in point:
        return int(point["asInt"]), 0
    return float(point.get("asDouble", point.get("sum", "nan"))), int(point.get("count", 0))


def _span(span: dict[str, Any]) -> Callable[[Process], None]:
    start, end = int(span["startTimeUnixNano"]) / 1e9, int(span["endTimeUnixNano"]) / 1e9
    read = Span(str(span["name"]), start, end, _attributes(span))
    return lambda process: process.spans.append(read)


def _log_record(record: dict[str, Any]) -> Callable[[Process], None]:
    name = record.get("eventName")
    if not name:
        return lambda _: None
    at = int(record.get("timeUnixNano") or record["observedTimeUnixNano"]) / 1e9
    read = Event(str(name), at, _value(record.get("body", {})), _attributes(record))
    return lambda process: process.events.append(read)


def _attributes(holder: dict[str, Any]) -> Attributes:
    return {str(item["key"]): _value(item.get("value", {})) for item in holder.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", ())]
    return next((value[kind] for kind in ("stringValue", "doubleValue", "boolValue") if kind in value), None)


def _key(attributes: Attributes) -> str:
    return json.dumps(attributes, sort_keys=True)


def _sum(one: Point, other: Point) -> Point:
    return Point(other.at, one.value + other.value, one.count + other.count)
