# SPDX-License-Identifier: Apache-2.0
"""What is measured or sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr import duplicates
from otel_resinstr.doctor.finding import WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

_DISABLE = "Set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={}, with what stands there already, or uninstall it."

DISTROS = Kind(
    "duplicates.distros",
    WARNING,
    "Several packages are installed that set OpenTelemetry up, and it is not said which one is to do it: "
    "the first one in the order of folders is taken.",
    "Set OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR, both to names of one package, or uninstall the others.",
)
PYMONGO = Kind(
    "duplicates.pymongo",
    WARNING,
    "The instrumentation pymongo of opentelemetry-python-contrib makes the spans of commands: ours stay off, "
    "which also say how long a command waited for a connection.",
    _DISABLE.format("pymongo"),
)
SYSTEM_METRICS = Kind(
    "duplicates.system-metrics",
    WARNING,
    "The instrumentation system_metrics of opentelemetry-python-contrib reports CPU, memory and threads beside us, "
    "partly under the same names: back ends that drop the scope add them up.",
    _DISABLE.format("system_metrics"),
)
ATTACHED = Kind(
    "duplicates.attached",
    WARNING,
    "App Service instruments the application by itself, and the launcher does it again.",
    "Leave one of them out: turn Application Insights off for the site, or start the command without the launcher.",
    "https://learn.microsoft.com/azure/azure-monitor/app/azure-web-apps-python",
)

_KINDS = {
    duplicates.ATTACHED: ATTACHED,
    duplicates.DISTROS: DISTROS,
    duplicates.PYMONGO: PYMONGO,
    duplicates.SYSTEM_METRICS: SYSTEM_METRICS,
}


def check(context: Context) -> Iterator[Finding]:
    """What the package finds itself in the process that the launcher has started."""
    if context.report is None:
        return
    instrumentors = context.report.named("instrumentor")
    at_work = {name for name, entry in instrumentors.items() if entry.instrumented}
    chosen = context.setting("OTEL_PYTHON_DISTRO") and context.setting("OTEL_PYTHON_CONFIGURATOR")
    for twice in context.report.duplicates:
        # Two that are chosen and do not fit are a finding of the launcher's.
        if twice.kind == duplicates.DISTROS and chosen:
            continue
        if twice.subject is None or f"resinstr_{twice.subject}" in at_work:
            yield _KINDS[twice.kind].found(twice.what)
