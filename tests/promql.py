# SPDX-License-Identifier: Apache-2.0
"""What OpenTelemetry's names become in Prometheus, and what a scrape says."""

from __future__ import annotations

import re
from typing import Any

SUFFIXES = {"s": "seconds", "By": "bytes"}
_SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def label(attribute: str) -> str:
    """The label that an attribute becomes."""
    return re.sub(r"\W", "_", attribute)


def name_of(name: str, unit: str, *, monotonic: bool, gauge: bool) -> str:
    """The name that a metric becomes: unit and kind are part of it.

    https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#metric-metadata-1
    """
    parts = [label(name)]
    if unit in SUFFIXES:
        parts.append(SUFFIXES[unit])
    if unit == "1" and gauge:
        parts.append("ratio")
    if monotonic:
        parts.append("total")
    return "_".join(parts)


def exposed_name(metric: dict[str, Any]) -> str:
    """The name of a metric of OTLP/JSON."""
    monotonic = metric.get("sum", {}).get("isMonotonic", False)
    return name_of(metric["name"], metric.get("unit", ""), monotonic=monotonic, gauge="gauge" in metric)


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The series of a scrape: name and labels, and the value."""
    series = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _SERIES.match(line)
            assert match, line
            name, labels, value = match.groups()
            found = [(key, re.sub(r"\\(.)", r"\1", text)) for key, text in _LABEL.findall(labels or "")]
            series[name, frozenset(found)] = float(value)
    return series
