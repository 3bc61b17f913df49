# SPDX-License-Identifier: Apache-2.0
"""`resinstr report`: the table and the verdicts from files, wherever and whenever they were written."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from otel_resinstr.cli import _report
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._report import Result
from otel_resinstr.explain.figures import figures
from otel_resinstr.explain.readings import files, read
from otel_resinstr.explain.verdict import verdict
from otel_resinstr.settings import Settings, file_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_resinstr.explain.readings import Attributes, Process

_SHORT = 8  # the first part of a UUID


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="Print figures and verdicts as JSON instead of the table."
)
def report(paths: Sequence[Path], *, as_json: bool) -> None:
    """Say what files of telemetry hold: a table of the processes, and which suspect fits each.

    PATH is a file of OTLP/JSON lines, or a folder with files *.jsonl: what the exporter resinstr_file has written, or
    a Collector's file exporter. Without one, where resinstr_file writes to by default.

    Exit code: 0 if any metrics were found, 1 if not.
    """
    looked_at = paths or (file_folder(Settings.from_environment()),)
    if not any(path.exists() and files(path) for path in looked_at):
        where = ", ".join(map(str, looked_at))
        raise Failure(f"no file *.jsonl in {where}: name the files, or the folder that they are in")
    try:
        readings = read(*looked_at)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from None
    processes = sorted(readings.processes, key=lambda process: process.watched() or (0.0, 0.0))
    results = [
        _result(title, process)
        for title, process in zip(_titles([it.resource for it in processes]), processes, strict=True)
    ]
    console = Console(highlight=False)
    if as_json:
        found = [
            {
                "title": result.title,
                "resource": process.resource,
                **_times(process),
                **_report.as_json(result),
            }
            for result, process in zip(results, processes, strict=True)
        ]
        console.print_json(json.dumps({"unreadable_lines": readings.unreadable, "processes": found}))
    else:
        _report.show(console, results, readings.unreadable)
    if not any(result.complete for result in results):
        raise SystemExit(1)


def _result(title: str, process: Process) -> Result:
    found = figures(process)
    times = _times(process)
    watched = f"Watched from {times['first']} to {times['last']}." if times else None
    return Result(title, found, verdict(found), watched=watched)


def _times(process: Process) -> dict[str, str]:
    """When its metrics were collected first and last."""
    watched = process.watched()
    if watched is None:
        return {}
    first, last = map(_time, watched)
    return {"first": first, "last": last}


def _time(at: float) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(at, dt.timezone.utc):%Y-%m-%d %H:%M:%SZ}"
    except (OSError, OverflowError, ValueError):  # no year that there is: files are read as they are
        return f"second {at:g}"


def _titles(resources: Sequence[Attributes]) -> list[str]:
    """A short name for each process: its service, its id if that is known, and more if others are called the same."""
    titles = [_title(resource) for resource in resources]
    counted = Counter(titles)
    return [
        title if counted[title] == 1 else f"{title}, {_life(resource)}"
        for title, resource in zip(titles, resources, strict=True)
    ]


def _life(resource: Attributes) -> str:
    began = resource.get("process.creation.time")
    return str(resource.get("service.instance.id", "?"))[:_SHORT] if began is None else str(began)


def _title(resource: Attributes) -> str:
    service, pid = resource.get("service.name", "no service.name"), resource.get("process.pid")
    return f"{service}, pid {pid}" if pid is not None else str(service)
