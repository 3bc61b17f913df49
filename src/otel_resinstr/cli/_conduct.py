# SPDX-License-Identifier: Apache-2.0
"""The demo from start to end: start what it needs, run the phases, read what arrived, print it."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from otel_resinstr.cli import _collector, _mongodb, _phases, _report
from otel_resinstr.cli._collector import Collector
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._phases import HEALTHY, PHASE, PHASES
from otel_resinstr.cli._programs import Programs
from otel_resinstr.cli._report import Result
from otel_resinstr.cli._sink import Sink
from otel_resinstr.explain.figures import figures
from otel_resinstr.explain.readings import read
from otel_resinstr.explain.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_resinstr.cli._phases import Phase, Run

_START_AND_END = 2.5
"""Seconds that a phase takes besides its length, about; for the progress bar."""


def demo(  # noqa: PLR0913  the options of the command
    *,
    otelcol: str | None,
    mongodb_uri: str | None,
    out: Path | None,
    as_json: bool,
    seconds: float,
    phases: Sequence[Phase] = PHASES,
) -> bool:
    """Run it; returns whether every phase ran to its end and its telemetry arrived."""
    # What happens goes to standard error, the result alone to standard output.
    told, shown = Console(stderr=True, highlight=False), Console(highlight=False)
    with ExitStack() as stack:
        folder = new_folder(out, stack)
        programs = stack.enter_context(Programs())
        found = _collector.find(otelcol, os.environ)
        receiver = Sink(folder) if found is None else Collector(programs, found, folder)
        stack.callback(receiver.stop)
        uri = _mongodb.start_server(programs, folder) if mongodb_uri is None else mongodb_uri
        server = _mongodb.connect(uri)
        stack.callback(server.close)
        _tell(
            told,
            f"MongoDB      {server.description}, {'given' if mongodb_uri is not None else 'started for this demo'}",
        )
        _tell(told, f"Telemetry    received by {receiver.description}")
        _tell(told, f"Application  {_phases.application()}, under opentelemetry-instrument")
        run = partial(
            _phases.run,
            seconds=seconds,
            programs=programs,
            server=server,
            uri=uri,
            endpoint=receiver.endpoint,
            logs=folder,
        )
        runs = run_all(phases, run, seconds, told)
        receiver.stop()
        results, unreadable = judge(runs, folder)
        if as_json:
            shown.print_json(
                json.dumps({"unreadable_lines": unreadable, "phases": phases_as_json(runs, results)})
            )
        else:
            _report.show(shown, results, unreadable)
        _tell(
            told, f"Telemetry and logs: {f'kept in {folder}' if out else 'thrown away; --out DIR keeps them'}"
        )
    return all(result.complete for result in results)


def new_folder(out: Path | None, stack: ExitStack) -> Path:
    """Where the telemetry and the logs go."""
    if out is None:
        # Of SecantusDB and the Collector something may still be written while it is deleted.
        temporary = tempfile.TemporaryDirectory(prefix="resinstr-demo-", ignore_cleanup_errors=True)
        return Path(stack.enter_context(temporary))
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise Failure(
                f"{out} is not empty, and what is in it would be taken for this run's: name another folder"
            )
    except OSError as error:
        raise Failure(f"--out {out}: {error.strerror}") from None
    return out.absolute()


def _tell(console: Console, line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def run_all(
    phases: Sequence[Phase],
    run: Callable[[Phase, Callable[[float], None]], Run],
    seconds: float,
    told: Console,
) -> list[Run]:
    """*run* each phase, and show how far it is if a person looks."""
    runs = []
    each = seconds + _START_AND_END
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=told,
        transient=True,
        disable=not told.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=len(phases) * each)
        for number, phase in enumerate(phases):
            progress.update(bar, description=f"{number + 1} of {len(phases)}: {phase.title}", refresh=True)

            def tell(passed: float, done: float = number * each) -> None:
                progress.update(bar, completed=done + passed)

            runs.append(run(phase, tell))
    return runs


def judge(runs: list[Run], folder: Path) -> tuple[list[Result], int]:
    """What arrived of each phase and what it means, and how many lines could not be read."""
    readings = read(folder)
    arrived = {process.resource.get(PHASE): figures(process) for process in readings.processes}
    healthy = arrived.get(HEALTHY.name)
    results = []
    for run in runs:
        of_phase = arrived.get(run.phase.name)
        compared_with = None if run.phase is HEALTHY else healthy
        judged = None if of_phase is None else verdict(of_phase, compared_with)
        results.append(Result(run.phase.title, of_phase, judged, run))
    return results, readings.unreadable


def phases_as_json(runs: Sequence[Run], results: Sequence[Result]) -> list[dict[str, Any]]:
    """The same, for programs."""
    return [
        {
            "phase": run.phase.name,
            "exit_code": run.exit_code,
            "server": {
                "connections_peak": run.connections_peak,
                "connections_accepted": run.connections_accepted,
            },
            **_report.as_json(result),
        }
        for run, result in zip(runs, results, strict=True)
    ]
