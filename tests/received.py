# SPDX-License-Identifier: Apache-2.0
"""What a Collector received, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from otel_resinstr.semconv import DB_OPERATION_NAME, MONGODB_COMMAND, SCOPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otelcol import Collector

TYPES = ("sum", "gauge", "histogram", "exponentialHistogram", "summary")
TEMPORALITIES = {1: "delta", 2: "cumulative"}
KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}

Attributes = dict[str, Any]
Series = tuple[tuple[str, Any], ...]


class Export(NamedTuple):
    """What one process reported at one collection, of our scope."""

    resource: Attributes
    at: int
    """When, in nanoseconds."""
    values: dict[str, dict[Series, Any]]
    """By the name of the metric and its attributes, sorted; the value of a histogram is its count."""

    @property
    def instance(self) -> str:
        """Who reported."""
        return self.resource["service.instance.id"]

    @property
    def pid(self) -> int:
        """Which process reported."""
        return self.resource["process.pid"]

    def total(self, name: str, **attributes: str) -> Any:
        """The sum over the series of *name* that have *attributes* (`__` for a dot); None where there is none."""
        wanted = {(key.replace("__", "."), value) for key, value in attributes.items()}
        found = [value for series, value in self.values.get(name, {}).items() if wanted <= {*series}]
        return sum(found) if found else None


class Event(NamedTuple):
    """An event of our scope."""

    resource: Attributes
    name: str
    attributes: Attributes

    @property
    def pid(self) -> int:
        """Which process reported."""
        return self.resource["process.pid"]


def events(collector: Collector) -> list[Event]:
    """All events that arrived."""
    return [
        Event(attributes(resource["resource"]), record["eventName"], attributes(record))
        for request in collector.requests("logs")
        for resource in request["resourceLogs"]
        for scope in resource["scopeLogs"]
        if _is_ours(scope)
        for record in scope["logRecords"]
    ]


def exports(collector: Collector) -> list[Export]:
    """All collections that arrived, in the order in which they did."""
    return [
        _export(resource)
        for request in collector.requests("metrics")
        for resource in request["resourceMetrics"]
        if any(_is_ours(scope) for scope in resource["scopeMetrics"])
    ]


def _export(resource: dict[str, Any]) -> Export:
    values: dict[str, dict[Series, Any]] = {}
    times = []
    for metric in _metrics(resource):
        series = values.setdefault(metric["name"], {})
        for point in points(metric):
            key = tuple(sorted(attributes(point).items()))
            assert key not in series, f"{metric['name']} has two points for {key}"
            series[key] = _value(point)
            times.append(int(point["timeUnixNano"]))
    return Export(attributes(resource["resource"]), max(times), values)


def _metrics(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for scope in resource["scopeMetrics"]:
        if _is_ours(scope):
            yield from scope["metrics"]


def shapes(collector: Collector) -> dict[str, Any]:
    """What was received of our scope, without what differs from run to run: names, types, units, attribute keys."""
    scopes, metrics, spans, events = {}, {}, {}, {}
    for scope in _scopes(collector, "metrics"):
        _add(
            scopes,
            scope["scope"]["name"],
            {"schema_url": scope.get("schemaUrl", "")},
            attributes(scope["scope"]),
        )
        for metric in scope["metrics"]:
            for point in points(metric):
                _add(metrics, metric["name"], _shape_of_metric(metric, point), attributes(point))
    for scope in _scopes(collector, "traces"):
        _add(
            scopes,
            scope["scope"]["name"],
            {"schema_url": scope.get("schemaUrl", "")},
            attributes(scope["scope"]),
        )
        for span in scope["spans"]:
            _add(spans, _name_of(span), {"kind": KINDS[span["kind"]]}, attributes(span))
    for scope in _scopes(collector, "logs"):
        _add(
            scopes,
            scope["scope"]["name"],
            {"schema_url": scope.get("schemaUrl", "")},
            attributes(scope["scope"]),
        )
        for record in scope["logRecords"]:
            _add(events, record["eventName"], {"severity": record["severityText"]}, attributes(record))
    return {
        "scopes": scopes,
        "metrics": dict(sorted(metrics.items())),
        "spans": dict(sorted(spans.items())),
        "events": dict(sorted(events.items())),
    }


def _name_of(span: dict[str, Any]) -> str:
    # Spans of commands are named after what they do.
    return MONGODB_COMMAND.name if DB_OPERATION_NAME in attributes(span) else span["name"]


def _scopes(collector: Collector, signal: str) -> Iterator[dict[str, Any]]:
    outer, inner = {
        "metrics": ("resourceMetrics", "scopeMetrics"),
        "traces": ("resourceSpans", "scopeSpans"),
        "logs": ("resourceLogs", "scopeLogs"),
    }[signal]
    for request in collector.requests(signal):
        for resource in request[outer]:
            yield from (scope for scope in resource[inner] if _is_ours(scope))


def _is_ours(scope: dict[str, Any]) -> bool:
    return scope["scope"].get("name") == SCOPE


def _add(shapes: dict[str, Any], name: str, shape: dict[str, Any], found: Attributes) -> None:
    known = shapes.setdefault(name, {**shape, "attributes": []})
    keys = sorted(found)
    if keys not in known["attributes"]:
        known["attributes"] = sorted([*known["attributes"], keys])
    assert shape == {key: value for key, value in known.items() if key != "attributes"}, name


def _shape_of_metric(metric: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    (kind,) = (kind for kind in TYPES if kind in metric)
    data = metric[kind]
    shape = {"unit": metric.get("unit", ""), "type": kind}
    if "aggregationTemporality" in data:
        shape["temporality"] = TEMPORALITIES[data["aggregationTemporality"]]
    if kind == "sum":
        shape["monotonic"] = data.get("isMonotonic", False)
    if kind == "histogram":
        shape["boundaries"] = point["explicitBounds"]
    return shape


def points(metric: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of *metric*."""
    (points,) = (metric[kind].get("dataPoints", []) for kind in TYPES if kind in metric)
    return points


def _value(point: dict[str, Any]) -> Any:
    if "count" in point:
        return int(point["count"])
    return point["asDouble"] if "asDouble" in point else int(point["asInt"])


def attributes(holder: dict[str, Any]) -> Attributes:
    """The attributes of a resource, a point, a span or a log record."""
    return dict(_pairs(holder.get("attributes", [])))


def _pairs(attributes: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for attribute in attributes:
        ((kind, value),) = attribute["value"].items()
        yield attribute["key"], int(value) if kind == "intValue" else value
