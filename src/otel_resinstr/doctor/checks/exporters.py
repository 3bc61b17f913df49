# SPDX-License-Identifier: Apache-2.0
"""Which exporters are asked for, whether they are there, and whether what they are told makes sense."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_resinstr.doctor.finding import ERROR, NOTE, WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding
    from otel_resinstr.doctor.launched import Report

SIGNALS = ("traces", "metrics", "logs")
OTLP = "otlp"
BY_PROTOCOL = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"

_GIVEN_BY = {
    "azure_monitor_opentelemetry_exporter": "otel-resinstr[azure]",
    "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc",
    "otlp_proto_http": "opentelemetry-exporter-otlp-proto-http",
    "prometheus": "opentelemetry-exporter-prometheus",
    "prometheus_remote_write": "opentelemetry-exporter-prometheus-remote-write",
    "resinstr_console": "otel-resinstr",
    "resinstr_file": "otel-resinstr[file]",
    "zipkin": "opentelemetry-exporter-zipkin",
    "zipkin_json": "opentelemetry-exporter-zipkin-json",
    "zipkin_proto": "opentelemetry-exporter-zipkin-proto-http",
}
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")

UNKNOWN = Kind(
    "exporters.unknown",
    ERROR,
    "{variable}: there is no exporter {name}; without it the launcher sets up nothing at all.",
    "{remedy}",
)
UNKNOWN_PROTOCOL = Kind(
    "exporters.unknown-protocol",
    ERROR,
    "{variable}={protocol} is no protocol that there is an exporter for; the launcher sets up nothing at all.",
    "Set it to grpc or http/protobuf.",
    "https://opentelemetry.io/docs/languages/sdk-configuration/otlp-exporter/#otel_exporter_otlp_protocol",
)
PROTOCOL_IGNORED = Kind(
    "exporters.protocol-ignored",
    WARNING,
    "{variable} names the exporter {name}, so that the protocol {protocol} has no effect.",
    "Set {variable}=otlp, and the protocol decides; or unset the protocol.",
)
NO_METRICS = Kind(
    "exporters.no-metrics",
    WARNING,
    "OTEL_METRICS_EXPORTER={value}: no metric is sent, and most of what otel-resinstr knows is metrics.",
    "Unset OTEL_METRICS_EXPORTER, or set it to otlp.",
)
NO_SIGNAL = Kind(
    "exporters.no-signal",
    NOTE,
    "{variable}={value}: {missing} are not sent.",
    "Unset {variable}, or set it to otlp, unless it is meant.",
)
UNKNOWN_TEMPORALITY = Kind(
    "exporters.unknown-temporality",
    WARNING,
    f"{PREFERENCE}={{value}} is none that there is: cumulative is used.",
    "Set it to cumulative, delta or lowmemory.",
    "https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/#additional-environment-variable-configuration",
)
PROMETHEUS_DELTA = Kind(
    "exporters.prometheus-delta",
    ERROR,
    "Metrics go to a Prometheus as {value}, which it refuses: it takes cumulative ones.",
    f"Unset {PREFERENCE}.",
    "https://prometheus.io/docs/guides/opentelemetry/",
)
TEMPORALITY_IGNORED = Kind(
    "exporters.temporality-ignored",
    NOTE,
    f"{PREFERENCE} has no effect on the exporter {{name}}.",
    f"Unset {PREFERENCE}.",
)


def check(context: Context) -> Iterator[Finding]:
    """From the names in the environment to the exporters that are alive."""
    if context.report is not None:
        for signal in SIGNALS:
            yield from _of_signal(context, context.report, signal)
        yield from _temporality(context, context.report)


def names(context: Context, signal: str) -> list[str]:
    """The exporters that the environment asks for."""
    value = context.setting(f"OTEL_{signal.upper()}_EXPORTER") or "none"
    return [] if value.lower() == "none" else [name.strip() for name in value.split(",")]


def _protocol(context: Context, signal: str) -> tuple[str, str]:
    """The variable that says how to speak OTLP, and what it says; nothing if it does not."""
    of_signal, of_all = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    told_by = of_signal if context.setting(of_signal) else of_all
    return told_by, context.setting(told_by) or ""


def _of_signal(context: Context, report: Report, signal: str) -> Iterator[Finding]:
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    # An empty value is one here: a distro sets what is not set at all.
    value = context.environ.get(variable)
    if value is not None and not names(context, signal):
        if signal == "metrics":
            yield NO_METRICS.found("", value=value)
        else:
            missing = "spans" if signal == "traces" else "events"
            yield NO_SIGNAL.found("", variable=variable, value=value, missing=missing)
    installed = report.named(f"{signal}_exporter")
    told_by, protocol = _protocol(context, signal)
    for name in names(context, signal):
        wanted = name
        if name == OTLP:
            if protocol and protocol not in BY_PROTOCOL:
                yield UNKNOWN_PROTOCOL.found("", variable=told_by, protocol=protocol)
                continue
            wanted = BY_PROTOCOL[protocol or "grpc"]
        # A distro sets the protocol where nobody has: that is no contradiction of the user's.
        elif name in BY_PROTOCOL.values() and told_by in context.given and BY_PROTOCOL.get(protocol) != name:
            yield PROTOCOL_IGNORED.found(told_by, variable=variable, name=name, protocol=protocol)
        if wanted not in installed:
            yield UNKNOWN.found(
                f"installed are {', '.join(installed) or 'none'}",
                variable=variable,
                name=wanted,
                remedy=_remedy(wanted, list(installed)),
            )


def _remedy(name: str, installed: list[str]) -> str:
    if name in _GIVEN_BY:
        return f"pip install --upgrade '{_GIVEN_BY[name]}'"
    close = difflib.get_close_matches(name, [*installed, *_GIVEN_BY, OTLP], n=1)
    return f"Did you mean {close[0]}?" if close else f"Set it to one of {', '.join([OTLP, *installed])}."


def _temporality(context: Context, report: Report) -> Iterator[Finding]:
    value = context.setting(PREFERENCE)
    if value is None:
        return
    if value.lower() not in _TEMPORALITIES:
        yield UNKNOWN_TEMPORALITY.found("", value=value)
        return
    endpoint = context.setting("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or context.setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    # https://prometheus.io/docs/guides/opentelemetry/ has that path
    if value.lower() != "cumulative" and urlsplit(endpoint or "").path.startswith("/api/v1/otlp"):
        yield PROMETHEUS_DELTA.found("the path /api/v1/otlp is that of a Prometheus", value=value)
    for name in names(context, "metrics"):
        if name != OTLP and name not in BY_PROTOCOL.values() and name in report.named("metrics_exporter"):
            yield TEMPORALITY_IGNORED.found("", name=name)
