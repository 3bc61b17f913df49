# SPDX-License-Identifier: Apache-2.0
"""Our settings, and those of OpenTelemetry whose units are easily mistaken."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from otel_resinstr import settings
from otel_resinstr.doctor.finding import WARNING, Kind
from otel_resinstr.instrumentors import names_of_probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_SHORTEST, _USUAL = 250.0, 60000.0
_LONGEST_TIMEOUT = 1000.0

UNKNOWN = Kind(
    "settings.unknown",
    WARNING,
    "{variable} is not a setting of otel-resinstr and has no effect.",
    "{hint}",
)
NOT_ACCEPTED = Kind(
    "settings.not-accepted",
    WARNING,
    "{variable}={value} is not accepted, and {default} is used instead.",
    "Set it to {accepts}.",
)
UNKNOWN_PROBE = Kind(
    "settings.unknown-probe",
    WARNING,
    settings.PREFIX + "DISABLED_PROBES: {name} is the name of no probe and has no effect.",
    "{hint}",
)
PROBES_DISABLED = Kind(
    "settings.probes-disabled",
    WARNING,
    settings.PREFIX + "DISABLED_PROBES turns off {names}.",
    "Take {patterns} out of it, unless it is meant.",
)
INTERVAL = Kind(
    "settings.interval",
    WARNING,
    _INTERVAL + "={value} is in milliseconds: metrics are sent {rate} times a second.",
    "Set it to {milliseconds} if {value} seconds are meant.",
    "https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#periodic-exporting-metricreader",
)
TIMEOUT = Kind(
    "settings.timeout",
    WARNING,
    "{variable}={value} is in seconds in Python: an export may hang for {hours:.1f} hours.",
    "Set it to {seconds:g} if {value} milliseconds are meant.",
)
PEAK_WINDOW = Kind(
    "settings.peak-window",
    WARNING,
    "Metrics are sent every {interval:g} s, and largest values look back over {window:g} s: a spike between is missed.",
    settings.PREFIX + "PEAK_WINDOW={interval:g}",
)
UNKNOWN_SAMPLER = Kind(
    "settings.unknown-sampler",
    WARNING,
    "OTEL_TRACES_SAMPLER={value} is the name of no sampler and has no effect.",
    "Set it to one of {known}.",
    "https://opentelemetry.io/docs/languages/sdk-configuration/general/#otel_traces_sampler",
)
SAMPLER = Kind(
    "settings.no-spans",
    WARNING,
    "OTEL_TRACES_SAMPLER={value}: no span is kept.",
    "Unset OTEL_TRACES_SAMPLER, unless it is meant.",
)


def check(context: Context) -> Iterator[Finding]:
    """What has no effect, and what has another one than is meant."""
    environ = context.environ
    for variable, hint in settings.unknown(environ):
        yield UNKNOWN.found("", variable=variable, hint=f"{hint[0].upper()}{hint[1:]}")
    for refused in settings.not_accepted(environ):
        yield NOT_ACCEPTED.found("", **refused._asdict())
    chosen = settings.Settings.accepted_from(environ)
    yield from _probes(chosen)
    yield from _intervals(context, chosen)
    yield from _sampler(context)


def _sampler(context: Context) -> Iterator[Finding]:
    value = context.setting("OTEL_TRACES_SAMPLER")
    if value in ("always_off", "parentbased_always_off"):
        yield SAMPLER.found("", value=value)
    known = context.report.named("traces_sampler") if context.report else {}
    # Azure Monitor has names of its own.
    of_azure = context.setting("APPLICATIONINSIGHTS_CONNECTION_STRING")
    if value and known and value not in known and not of_azure:
        yield UNKNOWN_SAMPLER.found("", value=value, known=", ".join(known))


def _probes(chosen: settings.Settings) -> Iterator[Finding]:
    probes = names_of_probes()
    effective, disabled = [], []
    for pattern in chosen.disabled_probes:
        matched = [probe for probe in probes if fnmatch.fnmatchcase(probe, pattern)]
        if matched:
            effective.append(pattern)
            disabled += matched
    for pattern, hint in settings.unknown_probes(chosen.disabled_probes, probes):
        yield UNKNOWN_PROBE.found("", name=pattern, hint=f"{hint[0].upper()}{hint[1:]}")
    if disabled:
        yield PROBES_DISABLED.found(
            "", names=", ".join(dict.fromkeys(disabled)), patterns=", ".join(effective)
        )


def _intervals(context: Context, chosen: settings.Settings) -> Iterator[Finding]:
    interval = _number(context.setting(_INTERVAL))
    if interval is not None and 0 < interval < _SHORTEST:
        yield INTERVAL.found(
            "", value=f"{interval:g}", rate=f"{1000 / interval:.0f}", milliseconds=f"{interval * 1000:g}"
        )
    seconds = (interval or _USUAL) / 1000
    if seconds > chosen.peak_window:
        yield PEAK_WINDOW.found("", interval=seconds, window=chosen.peak_window)
    for part in ("", "TRACES_", "METRICS_", "LOGS_"):
        variable = f"OTEL_EXPORTER_OTLP_{part}TIMEOUT"
        timeout = _number(context.setting(variable))
        if timeout is not None and timeout >= _LONGEST_TIMEOUT:
            yield TIMEOUT.found(
                "", variable=variable, value=f"{timeout:g}", hours=timeout / 3600, seconds=timeout / 1000
            )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
