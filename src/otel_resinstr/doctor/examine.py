# SPDX-License-Identifier: Apache-2.0
"""Examines a command: starts a process in its place, and has the checks look at what that says."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_resinstr.doctor import inside
from otel_resinstr.doctor.checks import CHECKS
from otel_resinstr.doctor.checks.endpoint import target
from otel_resinstr.doctor.command import recognise
from otel_resinstr.doctor.context import Context
from otel_resinstr.doctor.launched import Launched
from otel_resinstr.doctor.secrets import Secrets
from otel_resinstr.host.reading import sources
from otel_resinstr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from otel_resinstr.doctor.finding import Finding
    from otel_resinstr.doctor.launched import Report
    from otel_resinstr.host.reading import Source

_SHOWN = (
    "otel-resinstr",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-distro",
    "azure-monitor-opentelemetry",
    "azure-monitor-opentelemetry-exporter",
    "pymongo",
    "gunicorn",
    "uvicorn",
)


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and what is there; without secrets."""

    findings: list[Finding]
    facts: dict[str, Any]

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to mend."""
        return not any(finding.to_mend for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For programs; docs/doctor.md says what stands there. A key may come to it, and none is renamed."""
        return {
            "version": 1,
            "healthy": self.healthy,
            "findings": [finding.as_dict() for finding in self.findings],
            **self.facts,
        }


def examine(
    words: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    machine: Callable[[], list[Source]] = sources,
    within: float = inside.WITHIN,
) -> Diagnosis:
    """Examine the command *words* as it would run in *folder*; without words, whatever this interpreter runs.

    An export may take *within* seconds.
    """
    command = recognise(words, environ, folder)
    with contextlib.ExitStack() as stack:
        launched, said = None, ""
        if command.launcher is not None and command.interpreter is not None:
            try:
                launched = stack.enter_context(Launched(command, environ, folder))
            except OSError as error:  # the launcher's own interpreter may have gone
                said = f"{command.launcher}: {error.strerror}"
            else:
                said = launched.last_words()
        context = Context(
            command,
            environ,
            None if launched is None else launched.report,
            said,
            machine,
            list if launched is None else partial(launched.export, within),
        )
        findings = [finding for check in CHECKS for finding in check.check(context)]
        return _without_secrets(findings, _facts(context), Secrets(context.environ))


def _facts(context: Context) -> dict[str, Any]:
    command, report = context.command, context.report
    return {
        "doctor": __version__,
        "command": {
            "program": command.name,
            "interpreter": None if command.interpreter is None else str(command.interpreter),
            "launcher": None if command.launcher is None else str(command.launcher),
            "server": None if command.server is None else command.server.model,
        },
        "launched": None if report is None else _launched(context, report),
        "host": [source._asdict() for source in context.sources()],
    }


def _launched(context: Context, report: Report) -> dict[str, Any]:
    return {
        "python": report.python,
        "environment": report.prefix,
        "versions": {name: report.versions[name] for name in _SHOWN if name in report.versions},
        "service": report.service,
        "distros": list(report.named("distro")),
        "configurators": list(report.named("configurator")),
        "providers": report.providers,
        "instrumentors": {name: entry.instrumented for name, entry in report.named("instrumentor").items()},
        "exporters": [
            {
                "signal": exporter.signal,
                "class": exporter.name,
                "protocol": exporter.protocol,
                "endpoint": None if exporter.protocol is None else _endpoint(context, exporter),
                "export": "arrived" if exporter in context.arrived else None,
            }
            for exporter in report.exporters
        ],
    }


def _endpoint(context: Context, exporter: Any) -> str | None:
    try:
        return target(context, exporter).shown
    except ValueError:  # no address, which is a finding
        return None


def _without_secrets(findings: list[Finding], facts: dict[str, Any], secrets: Secrets) -> Diagnosis:
    unique = dict.fromkeys(finding.without(secrets.hide) for finding in findings)
    return Diagnosis(list(unique), _hidden(facts, secrets))


def _hidden(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each, secrets) for each in value]
    return secrets.hide(value) if isinstance(value, str) else value
