# SPDX-License-Identifier: Apache-2.0
"""A table of what arrived, a column a process, and what it means: what `demo` and `report` print."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from otel_resinstr._words import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from otel_resinstr.cli._phases import Run
    from otel_resinstr.explain.figures import Figures
    from otel_resinstr.explain.verdict import Verdict

_LABELS, _CELLS = 30, 13
_WIDTH = 100  # of five phases
_UNKNOWN = "?"
_LEGEND = "All of it is what arrived over OTLP{}. ? = did not arrive."
_ASKED = ", except * = serverStatus().connections, asked by the demo, beyond those that were there before the phase"


@dataclass(frozen=True)
class Result:
    """A process: what arrived of it, and what that means; both are None if nothing arrived."""

    title: str
    figures: Figures | None
    verdict: Verdict | None
    run: Run | None = None
    """How it ran, if we have run it: a phase of the demo."""
    watched: str | None = None
    """When, if nobody has looked on; a sentence."""

    @property
    def complete(self) -> bool:
        """Whether its metrics arrived, and the application ended well as far as we know."""
        ended_well = self.run is None or self.run.exit_code == 0
        return ended_well and self.figures is not None and self.figures.seconds is not None


def _figure(name: str, factor: float = 1, digits: int = 0, plus: str = "") -> Callable[[Result], str]:
    """The cell that shows the figure *name*."""

    def cell(result: Result) -> str:
        value = getattr(result.figures, name, None)
        return _UNKNOWN if value is None else f"{value * factor:{plus},.{digits}f}"

    return cell


def _asked(name: str) -> Callable[[Result], str | None]:
    """The cell that shows what the demo asked the server; None where nobody has."""

    def cell(result: Result) -> str | None:
        if result.run is None:
            return None
        value = getattr(result.run, name)
        return _UNKNOWN if value is None else f"{value:,}"

    return cell


def _lines_to_look_at(result: Result) -> str:
    if result.verdict is None:
        return _UNKNOWN
    sites = dict.fromkeys(finding.site for finding in result.verdict.findings if finding.site)
    return "\n".join(site.replace(" ", "\n") for site in sites) or "-"


_MIB = 2**-20
_SECTIONS: tuple[tuple[tuple[str, Callable[[Result], str | None]], ...], ...] = (
    (
        ("Commands, close() included", _figure("check_outs")),
        ("Clients made", _figure("clients_created")),
        ("  closed", _figure("clients_closed")),
        ("  dropped without close()", _figure("clients_dropped")),
        ("  open at a time, at most", _figure("clients_peak")),
    ),
    (
        ("Sockets at most, client sees", _figure("sockets_peak")),
        ("  of them in pools", _figure("pool_connections_peak")),
        ("Sockets at most, server sees *", _asked("connections_peak")),
        ("Connections server accepted *", _asked("connections_accepted")),
        ("Time to connect, mean, ms", _figure("connect_time", 1e3, 1)),
    ),
    (
        ("Threads at most", _figure("threads_peak")),
        ("  of them pymongo's", _figure("driver_threads_peak")),
        ("File descriptors at most", _figure("descriptors_peak")),
        ("Memory (RSS) at most, MiB", _figure("memory_peak", _MIB, 1)),
        ("  more than at the start", _figure("memory_growth", _MIB, 1, "+")),
        ("CPU, ms per second", _figure("cpu_per_second", 1e3)),
    ),
    (("Event loop late at worst, ms", _figure("loop_delay_max", 1e3, 1)),),
    (("Line to look at", _lines_to_look_at),),
)


def show(console: Console, results: Sequence[Result], unreadable: int = 0) -> None:
    """Print a table, or several below each other if there are many processes, and a paragraph for each process."""
    width = min(_WIDTH, console.width) if console.is_terminal else _WIDTH
    console.width = width  # rich takes a pipe for a terminal of 80 columns
    at_a_time = max(1, (width - _LABELS) // (_CELLS + 1))
    for first in range(0, len(results), at_a_time):
        console.print(_table(results[first : first + at_a_time]))
        console.print()
    asked = _ASKED if any(result.run is not None for result in results) else ""
    _print_wrapped(console, _LEGEND.format(asked), width, style="dim")
    if unreadable:
        left_out = f"Left out: {count(unreadable, 'line')} of telemetry that made no sense."
        _print_wrapped(console, left_out, width, "red")
    for result in results:
        console.print()
        console.print(Text(result.title, style="bold"))
        for line, style in _paragraph(result):
            _print_wrapped(console, line, width, style, indent="  ")


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", width=_LABELS)
    for result in results:
        title = textwrap.fill(result.title, _CELLS)  # rich would not break at a hyphen
        table.add_column(Text(title), justify="right", width=_CELLS, overflow="fold", vertical="bottom")
    for section in _SECTIONS:
        table.add_row()
        for label, cell in section:
            cells = [cell(result) for result in results]
            if cells != [None] * len(cells):
                table.add_row(Text(label), *(Text(text or "") for text in cells))
    return table


def _print_wrapped(console: Console, text: str, width: int, style: str, indent: str = "") -> None:
    for line in text.splitlines():
        wrapped = textwrap.fill(
            line,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print(Text(wrapped, style=style), soft_wrap=True)


def _paragraph(result: Result) -> Iterator[tuple[str, str]]:
    if result.watched is not None:
        yield result.watched, "dim"
    yield from ((line, "red") for line in troubles(result))
    if result.verdict is not None:
        for sentence in result.verdict.sentences:
            yield _capital(sentence), ""
        for remedy in dict.fromkeys(finding.remedy for finding in result.verdict.findings):
            yield f"-> {remedy}", "green"
        if result.verdict.findings and result.verdict.unknown:
            names = ", ".join(name for unknown in result.verdict.unknown for name in unknown.missing)
            yield f"Not judged: what rests on {names}, which did not arrive.", "yellow"


def _capital(sentence: str) -> str:
    # Not the name of a file.
    return sentence if "." in sentence.partition(" ")[0] else sentence[:1].upper() + sentence[1:]


def troubles(result: Result) -> Iterator[str]:
    """What keeps the result from being complete."""
    if result.run is not None and result.run.exit_code is None:
        yield f"The application did not end in time, and was stopped:\n{result.run.last_words}"
    elif result.run is not None and result.run.exit_code:
        yield f"The application ended with exit code {result.run.exit_code}:\n{result.run.last_words}"
    if result.figures is None:
        yield "No telemetry arrived."
    elif result.figures.seconds is None:
        yield "No metric arrived."


def as_json(result: Result) -> dict[str, Any]:
    """What was judged, for programs."""
    return {
        "complete": result.complete,
        "figures": None if result.figures is None else asdict(result.figures),
        "verdict": None if result.verdict is None else asdict(result.verdict),
    }
