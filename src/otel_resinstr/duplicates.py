# SPDX-License-Identifier: Apache-2.0
"""What reports the same as we do, or would set OpenTelemetry up a second time: found, and said once.

Looked for twice: when the launcher has loaded all instrumentations, before the application begins and before it
forks, and when an application calls `otel_resinstr.instrument`. What an application instruments later is not seen.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from otel_resinstr.semconv import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import ModuleType

_logger = logging.getLogger(SCOPE)

ATTACHED = "attached"
DISTROS = "distros"
PYMONGO = "pymongo"
SYSTEM_METRICS = "system_metrics"


@dataclass(frozen=True)
class Duplicate:
    """Something that is there twice."""

    kind: str
    """`attached`, `distros`, `pymongo` or `system_metrics`."""
    what: str
    """What is there, and what comes of it: a sentence without its full stop."""
    remedy: str
    """What to do about it: likewise."""
    subject: str | None = None
    """The one of ours that it is about; without it there is nothing to say."""


def find(
    environ: Mapping[str, str],
    *,
    launcher: bool,
    code: bool,
    modules: Mapping[str, ModuleType] = sys.modules,
    entry_points: Callable[..., Iterable[metadata.EntryPoint]] = metadata.entry_points,
) -> list[Duplicate]:
    """What is doubled in a process with this *environ* and these *modules*.

    Args:
        environ: The environment of the process.
        launcher: Whether `opentelemetry-instrument` has started it: it chooses a distro and a configurator.
        code: Whether the application sets OpenTelemetry up in its code.
        modules: What is imported: from there it is known which instrumentations run.
        entry_points: The installed entry points of a group.
    """
    found = [_attached(environ, launcher=launcher, code=code), *_instrumentors(modules)]
    if launcher:
        found.append(_distros(environ, entry_points))
    return [duplicate for duplicate in found if duplicate is not None]


def _attached(environ: Mapping[str, str], *, launcher: bool, code: bool) -> Duplicate | None:
    if not (attached(environ) and (launcher or code)):
        return None
    by = "opentelemetry-instrument" if launcher else "the application's code"
    return Duplicate(
        ATTACHED,
        f"App Service's auto-instrumentation is on, and {by} sets OpenTelemetry up as well: what both report "
        "arrives twice",
        "Switch one off: the application setting ApplicationInsightsAgent_EXTENSION_VERSION=disabled leaves it to "
        f"{by}",
    )


def attached(environ: Mapping[str, str]) -> bool:
    """Whether App Service attaches its own instrumentation to the process.

    https://learn.microsoft.com/azure/azure-monitor/app/codeless-app-service
    """
    kind = environ.get("APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE")
    if kind is not None:
        return kind.lower() == "integratedauto"
    version = environ.get("ApplicationInsightsAgent_EXTENSION_VERSION", "")
    return bool(environ.get("WEBSITE_SITE_NAME")) and version.startswith("~")


def _instrumentors(modules: Mapping[str, ModuleType]) -> Iterator[Duplicate]:
    if _instruments(modules, "system_metrics", "SystemMetricsInstrumentor"):
        yield Duplicate(
            SYSTEM_METRICS,
            "opentelemetry-instrumentation-system-metrics runs as well and has the same names (process.cpu.time, "
            "process.memory.usage and more): back ends that drop the scope, such as Azure Monitor, add the two up",
            "Switch off the other: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=system_metrics; or ours: "
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=resinstr_process,resinstr_host",
            "process",
        )
    if _instruments(modules, "pymongo", "PymongoInstrumentor"):
        yield Duplicate(
            PYMONGO,
            "opentelemetry-instrumentation-pymongo makes the spans of commands, so ours are left out, which say how "
            "long a command had waited for its connection",
            "Switch off the other: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo; nothing is doubled where it stays",
            "mongodb",
        )


def _instruments(modules: Mapping[str, ModuleType], library: str, name: str) -> bool:
    # Private: the instrumentor is a singleton, and to ask for it would make it anew, which some do not survive.
    instrumentor = getattr(modules.get(f"opentelemetry.instrumentation.{library}"), name, None)
    return bool(getattr(getattr(instrumentor, "_instance", None), "is_instrumented_by_opentelemetry", False))


_VARIABLES = {
    "OTEL_PYTHON_DISTRO": "opentelemetry_distro",
    "OTEL_PYTHON_CONFIGURATOR": "opentelemetry_configurator",
}


def _distros(
    environ: Mapping[str, str], entry_points: Callable[..., Iterable[metadata.EntryPoint]]
) -> Duplicate | None:
    """Two packages that each bring a distro and a configurator, of which the launcher takes one each.

    Without the variables it takes the first that comes up, and which one that is depends on the order of folders.
    """
    brought = {
        variable: {point.name: _package(point) for point in entry_points(group=group)}
        for variable, group in _VARIABLES.items()
    }
    packages = sorted({package for points in brought.values() for package in points.values()})
    taken = {brought[variable].get(environ.get(variable, "")) for variable in _VARIABLES}
    if len(packages) < 2 or (len(taken) == 1 and None not in taken):  # noqa: PLR2004  of two, or of one that is chosen
        return None
    choices = "; or for ".join(
        f"{package}: " + " ".join(f"{variable}={name}" for variable, name in _of(package, brought))
        for package in packages
    )
    return Duplicate(
        DISTROS,
        f"{' and '.join(packages)} are installed, which each set OpenTelemetry up, and "
        "OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR do not both name the same one: telemetry may go elsewhere, "
        "twice, or nowhere",
        f"Set both, for {choices}",
    )


def _of(package: str, brought: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for variable, points in brought.items():
        for name, brings in points.items():
            if brings == package:
                yield variable, name


def _package(point: metadata.EntryPoint) -> str:
    # Always known of what is installed; a module's name says as much.
    return point.value.partition(":")[0] if point.dist is None else str(point.dist.name)


_said: set[str] = set()


def warn(found: Iterable[Duplicate], subjects: Collection[str]) -> None:
    """Say what of *found* is about one of *subjects*, or all: once in a process and in those that it forks."""
    for duplicate in found:
        if duplicate.kind not in _said and duplicate.subject in {None, *subjects}:
            _said.add(duplicate.kind)
            with contextlib.suppress(Exception):  # a filter or handler of the application's that raises
                _logger.warning("%s. %s", duplicate.what, duplicate.remedy)


def begun_by_the_launcher(modules: Mapping[str, ModuleType] = sys.modules) -> bool:
    """Whether `opentelemetry-instrument` has begun this process, and not App Service's own instrumentation.

    Both go the same way, but for the file that Python runs first.
    """
    begun_by = getattr(modules.get("sitecustomize"), "__file__", None) or ""
    return Path(begun_by).parent.name == "auto_instrumentation"
