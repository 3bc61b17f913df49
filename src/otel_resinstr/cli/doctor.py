# SPDX-License-Identifier: Apache-2.0
"""`resinstr doctor`: what is wrong with how a command is instrumented, and what to do about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from otel_resinstr.doctor.examine import examine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_resinstr.doctor.examine import Diagnosis

_WIDTH = 110
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs: see docs/doctor.md.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def doctor(command: Sequence[str], *, as_json: bool) -> None:
    """Say why telemetry does not arrive, or not as it should.

    Run it where the application runs, in its environment and its folder, with the application's command line after
    `--`: `resinstr doctor -- gunicorn app:app`, with or without `opentelemetry-instrument` and its options before it.
    Without a command, what this interpreter would run is looked at.

    The command is not run, and no server is started: its line is read for the interpreter, the server and its
    workers, and the launcher starts a small program in its place, which says what came of it. Each exporter of OTLP
    then sends an empty request to where it would send to; to Azure Monitor, an empty list. No secret is printed.

    Exit code: 0 if there is nothing to mend, 1 if there is, 2 for a wrong use of this command.
    """
    diagnosis = examine(command, os.environ, Path.cwd())
    if as_json:
        click.echo(json.dumps(diagnosis.as_dict(), indent=2))
    else:
        console = Console(highlight=False, soft_wrap=False)
        console.width = min(_WIDTH, console.width) if console.is_terminal else _WIDTH
        show(console, diagnosis)
    if not diagnosis.healthy:
        raise SystemExit(1)


def show(console: Console, diagnosis: Diagnosis) -> None:
    """Print what is there, and below it, where one looks first, what is wrong."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for label, value in _facts(diagnosis.facts):
        table.add_row(Text(label, style="bold"), Text(value))
    console.print(table)
    for finding in diagnosis.findings:
        severity = finding.kind.severity.value
        console.print()
        console.print(
            Text.assemble(
                (f"{severity}", f"bold {_COLOURS[severity]}"), f" {finding.what} ", (finding.kind.id, "dim")
            )
        )
        if finding.evidence:
            console.print(Text(f"  seen: {finding.evidence}", style="dim"))
        console.print(Text(f"  -> {finding.remedy}", style="green"))
        if finding.kind.link:
            console.print(Text(f"     {finding.kind.link}", style="dim"), soft_wrap=True)
    console.print()
    console.print(Text(_summary(diagnosis), style="bold"))


def _summary(diagnosis: Diagnosis) -> str:
    severities = [finding.kind.severity.value for finding in diagnosis.findings]
    counted = [(severities.count(severity), severity) for severity in _COLOURS if severity in severities]
    found = ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for count, severity in counted)
    if diagnosis.healthy:
        return f"Nothing to mend{f': {found}' if found else ''}."
    return f"To mend: {found}."


def _facts(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    command, launched = facts["command"], facts["launched"]
    yield "Command", command["program"] or "none: whatever this interpreter runs"
    if command["interpreter"]:
        yield "Interpreter", command["interpreter"]
    if command["launcher"]:
        yield "Launcher", command["launcher"]
    if command["server"]:
        yield "Server", command["server"]
    if launched:
        yield from _launched(launched)
    unread = sorted({source["name"] for source in facts["host"] if source["reason"]})
    read = len({source["name"] for source in facts["host"] if not source["reason"]})
    yield "Machine", f"{read} sources can be read" + (f"; not: {', '.join(unread)}" if unread else "")


def _launched(launched: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Environment", f"{launched['environment']}, Python {launched['python']}"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in launched["versions"].items())
    yield "Service", launched["service"] or "unknown"
    yield "Distro", " or ".join(launched["distros"]) or "none"
    yield "Configurator", " or ".join(launched["configurators"]) or "none"
    for state, label in ((True, "Instrumentors"), (False, "  not started")):
        names = [name for name, instrumented in launched["instrumentors"].items() if instrumented is state]
        yield label, ", ".join(names) or "none"
    for exporter in launched["exporters"]:
        where = (
            f"{exporter['protocol']} to {exporter['endpoint']}" if exporter["protocol"] else exporter["class"]
        )
        yield (
            exporter["signal"].capitalize(),
            where + (f": {exporter['export']}" if exporter["export"] else ""),
        )
    if not launched["exporters"]:
        yield "Exporters", "none"
