# SPDX-License-Identifier: Apache-2.0
"""Lines of OTLP/JSON, written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return {kinds[type(value)]: str(value) if type(value) is int else value}


class Lines:
    """Export requests of one process, a line each; times are in seconds."""

    def __init__(self, **resource: Any) -> None:
        self.lines: list[str] = []
        self._resource = {"attributes": attributes(resource)}

    def add(self, signal: str, **scope: Any) -> Lines:
        part = {"resource": self._resource, f"scope{signal}": [{"scope": {"name": "otel_resinstr"}, **scope}]}
        self.lines.append(json.dumps({f"resource{signal}": [part]}))
        return self

    def metric(
        self, name: str, at: float, *points: tuple[dict[str, Any], Any], kind: str = "sum", **of: Any
    ) -> Lines:
        """One collection of one metric: the attributes and the value of each series."""
        shown = [{"attributes": attributes(of_point), **_point(value, at)} for of_point, value in points]
        return self.add("Metrics", metrics=[{"name": name, kind: {"dataPoints": shown, **of}}])

    def number(self, name: str, *values: Any, **of_point: Any) -> Lines:
        """A metric with one series, collected once a second from second 1 on."""
        for at, value in enumerate(values, 1):
            self.metric(name, at, ({key.replace("__", "."): item for key, item in of_point.items()}, value))
        return self

    def event(self, name: str, at: float, body: str, **of: Any) -> Lines:
        record = {
            "timeUnixNano": nanoseconds(at),
            "body": {"stringValue": body},
            "eventName": name,
            "attributes": attributes({key.replace("__", "."): item for key, item in of.items()}),
        }
        return self.add("Logs", logRecords=[record])


def _point(value: Any, at: float) -> dict[str, Any]:
    if isinstance(value, tuple):  # of a histogram
        return {"timeUnixNano": nanoseconds(at), "sum": value[0], "count": str(value[1])}
    number = {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
    return {"timeUnixNano": nanoseconds(at), **number}


def nanoseconds(seconds: float) -> str:
    return str(round(seconds * 1_000_000_000))


@pytest.fixture
def lines() -> type[Lines]:
    """What makes lines."""
    return Lines
