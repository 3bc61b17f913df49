# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks, each in a process of its own, and prints a table for each.

The exit code is 0 whatever the figures are, also where they miss a target; 1 says that one could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Report, Row, environ

BENCHMARKS = ("process", "host", "find_one", "eventloop", "threadpool", "recorder", "startup")


def main() -> int:
    """Run those that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What otel-resinstr costs.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the raw figures, in seconds")
    parser.add_argument(
        "--only", choices=BENCHMARKS, help=argparse.SUPPRESS
    )  # what the process of each is told
    arguments = parser.parse_args()
    for name in set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no {name}; there are {', '.join(BENCHMARKS)}")
    if arguments.only:
        report = import_module(f"benchmarks.{arguments.only}").run()
        arguments.json.write_text(json.dumps(asdict(report)), encoding="utf-8")
        return 0
    return run(arguments.names or BENCHMARKS, arguments.json)


def run(names: tuple[str, ...] | list[str], kept: Path | None) -> int:
    """Run each, and print what it says."""
    console = Console()
    console.width = max(console.width, 100)  # also where it is a file
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    console.print(
        f"{machine}. The rounds are interleaved: median, and in brackets what half of them lie between.\n"
    )
    raw: dict[str, Any] = {"machine": machine, "benchmarks": {}}
    for name in names:
        report = measured(name, console)
        if report is not None:
            raw["benchmarks"][name] = asdict(report)
            console.print(table(report))
            console.print(f"{report.note}\n", highlight=False)
    if kept:
        kept.write_text(json.dumps(raw, indent=1), encoding="utf-8")
    return 0 if len(raw["benchmarks"]) == len(set(names)) else 1


def measured(name: str, console: Console) -> Report | None:
    """The report of a process of its own: what one benchmark patches and imports does not meet the next one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "benchmarks", "--only", name, "--json", str(path)]
        with console.status(name):
            done = subprocess.run(command, env=environ(), stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            console.print(f"{name} could not be measured, see above\n")
            return None
        fields = json.loads(path.read_text(encoding="utf-8"))
    return Report(**{**fields, "rows": [Row(**row) for row in fields["rows"]]})


def table(report: Report) -> Table:
    """The report for a person."""
    shown = Table(title=report.title, title_justify="left", title_style="bold")
    for heading, side in (
        ("", "left"),
        ("median", "right"),
        ("half of them", "right"),
        ("target", "right"),
        ("", "left"),
    ):
        shown.add_column(heading, justify=side, no_wrap=True)
    for row in report.rows:
        low, high = row.spread
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
        shown.add_row(
            row.what, row.shown(row.median), f"{row.shown(low)} … {row.shown(high)}", row.target, verdict
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())
