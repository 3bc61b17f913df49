# SPDX-License-Identifier: Apache-2.0
"""Whether the launcher reaches the command, and which distro and configurator it takes there."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from otel_resinstr.doctor.finding import ERROR, NOTE, WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding
    from otel_resinstr.doctor.launched import Heard, Report

NO_COMMAND = Kind(
    "launcher.no-command",
    ERROR,
    "There is no program {program}.",
    "Run the doctor where the command would run: in the same folder, and with the same PATH.",
)
NO_LAUNCHER = Kind(
    "launcher.no-launcher",
    ERROR,
    "There is no opentelemetry-instrument.",
    "pip install 'otel-resinstr[otlp]', and have the environment's bin folder on the PATH.",
)
NOT_PYTHON = Kind(
    "launcher.not-python",
    WARNING,
    "How {program} starts Python is not known, so that nothing was looked at.",
    "Name what it starts in the end: resinstr doctor -- gunicorn app:app",
)
NO_ANSWER = Kind(
    "launcher.no-answer",
    ERROR,
    "A process under the launcher did not say anything.",
    "Try it by hand: opentelemetry-instrument {interpreter} -c 'print(1)'",
)
ISOLATED = Kind(
    "launcher.isolated",
    ERROR,
    "The command's interpreter is started with {flags}: it does not look at PYTHONPATH, where the launcher is.",
    "Leave {flags} out.",
    "https://docs.python.org/3/using/cmdline.html#cmdoption-I",
)
OTHER_ENVIRONMENT = Kind(
    "launcher.other-environment",
    ERROR,
    "The launcher belongs to another environment than the command.",
    "Install 'otel-resinstr[otlp]' beside the command, and start it with the launcher of that environment: {launcher}",
)
DISABLED = Kind(
    "launcher.sdk-disabled",
    ERROR,
    "OTEL_SDK_DISABLED turns everything off.",
    "Unset OTEL_SDK_DISABLED.",
    "https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration",
)
NO_DISTRO = Kind(
    "launcher.no-distro",
    ERROR,
    "No distro is installed: nobody sets up the SDK or chooses exporters.",
    "pip install opentelemetry-distro; for Azure Monitor azure-monitor-opentelemetry",
    "https://opentelemetry.io/docs/zero-code/python/",
)
UNKNOWN_DISTRO = Kind(
    "launcher.unknown-distro",
    ERROR,
    "OTEL_PYTHON_DISTRO={name} is the name of no distro.",
    "Set it to one of {known}, or unset it.",
)
UNKNOWN_CONFIGURATOR = Kind(
    "launcher.unknown-configurator",
    ERROR,
    "OTEL_PYTHON_CONFIGURATOR={name} is the name of no configurator: the SDK is not set up.",
    "Set it to one of {known}, or unset it.",
)
MISMATCH = Kind(
    "launcher.mismatch",
    ERROR,
    "The distro is that of {distro}, the configurator that of {configurator}: "
    "what the one prepares is not what the other expects.",
    "Set both, to names of one package: OTEL_PYTHON_DISTRO={distro_name} OTEL_PYTHON_CONFIGURATOR={configurator_name}",
)
FAILED = Kind(
    "launcher.failed",
    ERROR,
    "The launcher gave up while it set up OpenTelemetry: {error}",
    "Mend what it says, or turn off what it names with OTEL_PYTHON_DISABLED_INSTRUMENTATIONS.",
)
NO_SERVICE = Kind(
    "launcher.no-service-name",
    ERROR,
    "The service has no name: what it sends arrives as {name}.",
    "Set OTEL_SERVICE_NAME. On App Service, OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=azure_app_service takes the site's.",
    "https://opentelemetry.io/docs/languages/sdk-configuration/general/#otel_service_name",
)
SAID = Kind(
    "launcher.said",
    NOTE,
    "While OpenTelemetry was set up there was a line in the log: {message}",
    "What it says.",
)

GAVE_UP = "Failed to auto initialize OpenTelemetry"
# What other checks say in words of their own.
_EXPLAINED = re.compile(
    "Requested component .*_exporter'|Unsupported OTLP protocol|Conflicting values for|TEMPORALITY_PREFERENCE"
    "|sampler|not loaded|falls outside|Failed to export|Transient error|Failed to read file|Importing of resinstr_"
)


def check(context: Context) -> Iterator[Finding]:
    """From the command line to what the launcher has set up."""
    if context.report is None:
        yield from _not_started(context)
        return
    isolating = [flag for flag in context.command.flags if flag in ("-I", "-E", "-S")]
    if isolating:
        yield ISOLATED.found("", flags=" ".join(isolating))
    if context.report.launcher_given != context.report.launcher_imported:
        yield OTHER_ENVIRONMENT.found(
            f"the launcher is in {context.report.launcher_given}, the command in {context.report.prefix}",
            launcher=f"{context.report.prefix}/bin/opentelemetry-instrument",
        )
        return
    if (context.setting("OTEL_SDK_DISABLED") or "").lower() == "true":
        yield DISABLED.found("OTEL_SDK_DISABLED=true")
    yield from _distro(context, context.report)
    yield from _log(context.report.log)
    if str(context.report.service).startswith("unknown_service"):
        yield NO_SERVICE.found("", name=context.report.service)


def _not_started(context: Context) -> Iterator[Finding]:
    command = context.command
    if not command.found:
        yield NO_COMMAND.found("", program=command.name)
    elif command.interpreter is None:
        yield NOT_PYTHON.found("", program=command.name)
    elif command.launcher is None:
        yield NO_LAUNCHER.found("not on the PATH, and not beside the interpreter")
    else:
        yield NO_ANSWER.found(context.last_words, interpreter=command.interpreter)


def _distro(context: Context, report: Report) -> Iterator[Finding]:
    distros, configurators = report.named("distro"), report.named("configurator")
    if not distros:
        yield NO_DISTRO.found("no entry point opentelemetry_distro")
        return
    name = context.setting("OTEL_PYTHON_DISTRO")
    distro = distros.get(name or next(iter(distros)))
    if distro is None:
        yield UNKNOWN_DISTRO.found("", name=name, known=", ".join(distros))
    name = context.setting("OTEL_PYTHON_CONFIGURATOR")
    configurator = configurators.get(name or next(iter(configurators), ""))
    if name and configurator is None:
        yield UNKNOWN_CONFIGURATOR.found("", name=name, known=", ".join(configurators))
    if distro and configurator and configurator.distribution != distro.distribution:
        fitting = [each.name for each in configurators.values() if each.distribution == distro.distribution]
        yield MISMATCH.found(
            f"distro {distro.name}, configurator {configurator.name}",
            distro=distro.distribution,
            configurator=configurator.distribution,
            distro_name=distro.name,
            configurator_name=fitting[0] if fitting else "...",
        )


def _log(log: list[Heard]) -> Iterator[Finding]:
    """What made the launcher give up, and what else it found worth a line."""
    gave_up = next((heard for heard in log if heard.message == GAVE_UP), None)
    if gave_up is not None and not _EXPLAINED.search(gave_up.error):
        before = [heard.message for heard in log if heard.error == gave_up.error and heard is not gave_up]
        yield FAILED.found("; ".join(before), error=gave_up.error)
    for heard in log:
        of_failure = gave_up is not None and heard.error == gave_up.error
        # What we say ourselves is said of the settings, which have a check of their own.
        if heard.level < logging.WARNING or heard.logger == "otel_resinstr" or of_failure:
            continue
        if not _EXPLAINED.search(heard.message):
            yield SAID.found(heard.error, message=heard.message)
