# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON with the standard library, for the process of an application that may have no SDK and no encoder.

Enums are numbers, 64-bit integers are text, and identifiers are hexadecimal:
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_resinstr.semconv import SCHEMA_URL, SCOPE, Kind
from otel_resinstr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry._logs import LogRecord
    from opentelemetry.metrics import Observation

    from otel_resinstr.semconv import Metric

_CUMULATIVE = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE

_METRICS = ("resourceMetrics", "scopeMetrics", "metrics")
_LOGS = ("resourceLogs", "scopeLogs", "logRecords")


def metrics(encoded: list[dict[str, Any]]) -> bytes:
    """What `line` makes an export request of: metrics that were collected at one moment."""
    return _scoped(_METRICS, encoded)


def logs(encoded: list[dict[str, Any]]) -> bytes:
    """What `line` makes an export request of: log records."""
    return _scoped(_LOGS, encoded)


def _scoped(names: tuple[str, str, str], encoded: list[dict[str, Any]]) -> bytes:
    resources, scopes, items = names
    scope = {"scope": {"name": SCOPE, "version": __version__}, items: encoded, "schemaUrl": SCHEMA_URL}
    return f'{{"{resources}":[{{"{scopes}":[{_dumps(scope)}]'.encode()


def line(request: bytes, resource: Mapping[str, Any]) -> bytes:
    """The export request that `metrics` or `logs` began, of *resource*, as one line.

    The resource comes last because it is known last: the SDK may be set up after the first collection.
    """
    return request + f',"resource":{_dumps(_attributes(resource))}}}]}}\n'.encode()


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def metric(metric: Metric, observations: Iterable[Observation], start: int, now: int) -> dict[str, Any]:
    """*metric*, observed at *now*; sums are since *start* (both in nanoseconds since 1970)."""
    times: dict[str, Any] = {"timeUnixNano": str(now)}
    if metric.kind is not Kind.OBSERVABLE_GAUGE:
        times["startTimeUnixNano"] = str(start)
    points = [
        {**_attributes(observation.attributes), **times, **_number(observation.value)}
        for observation in observations
        if math.isfinite(observation.value)  # not a number is no figure
    ]
    data: dict[str, Any] = {"dataPoints": points}
    kind = "gauge"
    if metric.kind is not Kind.OBSERVABLE_GAUGE:
        kind = "sum"
        data["aggregationTemporality"] = _CUMULATIVE
        if metric.kind is Kind.OBSERVABLE_COUNTER:
            data["isMonotonic"] = True
    return {"name": metric.name, "unit": metric.unit, kind: data}


def _number(value: float) -> dict[str, Any]:
    return {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}


def log_record(record: LogRecord) -> dict[str, Any]:
    """*record*, in the trace that it belongs to."""
    encoded = {
        "timeUnixNano": str(record.timestamp or record.observed_timestamp),
        "observedTimeUnixNano": str(record.observed_timestamp),
        "severityText": record.severity_text,
        "severityNumber": record.severity_number.value if record.severity_number else None,
        "body": None if record.body is None else _value(record.body),
        **_attributes(record.attributes),
        "eventName": record.event_name,
    }
    if record.trace_id and record.span_id:
        encoded["traceId"] = f"{record.trace_id:032x}"
        encoded["spanId"] = f"{record.span_id:016x}"
        encoded["flags"] = int(record.trace_flags or 0)
    return {key: value for key, value in encoded.items() if value is not None}


def _attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"attributes": _pairs(attributes)} if attributes else {}


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    # In this order: a bool is an int as well, and text is a sequence.
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float) and math.isfinite(value):
        return {"doubleValue": value}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _pairs(value)}}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
