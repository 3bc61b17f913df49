# SPDX-License-Identifier: Apache-2.0
"""What is measured or sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr.doctor.finding import WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

_DISABLE = (
    "Set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={name}, with what stands there already, or uninstall it."
)

DISTROS = Kind(
    "duplicates.distros",
    WARNING,
    "Several distros are installed, {names}, and none is chosen: the first one that is found is taken, "
    "in the order of folders.",
    "Set OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR, both to names of one package, or uninstall the others.",
)
PYMONGO = Kind(
    "duplicates.pymongo",
    WARNING,
    "The instrumentation {name} of opentelemetry-python-contrib makes the spans of commands: ours stay off, "
    "which also say how long a command waited for a connection.",
    _DISABLE,
)
SYSTEM_METRICS = Kind(
    "duplicates.system-metrics",
    WARNING,
    "The instrumentation {name} of opentelemetry-python-contrib reports CPU, memory and threads beside us, "
    "partly under the same names: back ends that drop the scope add them up.",
    _DISABLE,
)
ATTACHED = Kind(
    "duplicates.attached",
    WARNING,
    "App Service instruments the application by itself ({variable}), and the launcher does it again.",
    "Leave one of them out: turn Application Insights off for the site, or start the command without the launcher.",
    "https://learn.microsoft.com/azure/azure-monitor/app/azure-web-apps-python",
)

_AGENT = "ApplicationInsightsAgent_EXTENSION_VERSION"
_OFF = ("", "disabled", "default")


def check(context: Context) -> Iterator[Finding]:
    """By the entry points that are there, and the instrumentors that are at work."""
    if context.report is None:
        return
    distros = context.report.named("distro")
    chosen = context.setting("OTEL_PYTHON_DISTRO") and context.setting("OTEL_PYTHON_CONFIGURATOR")
    if len({distro.distribution for distro in distros.values()}) > 1 and not chosen:
        yield DISTROS.found("", names=" and ".join(distros))
    at_work = {name for name, entry in context.report.named("instrumentor").items() if entry.instrumented}
    if {"pymongo", "resinstr_mongodb"} <= at_work:
        yield PYMONGO.found("both are at work", name="pymongo")
    if {"system_metrics", "resinstr_process"} <= at_work:
        yield SYSTEM_METRICS.found("both are at work", name="system_metrics")
    # Here a process is started by the launcher: whatever the site does comes on top.
    if (context.setting(_AGENT) or "").lower() not in _OFF:
        yield ATTACHED.found("", variable=f"{_AGENT}={context.setting(_AGENT)}")
