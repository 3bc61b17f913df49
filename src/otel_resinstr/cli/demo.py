# SPDX-License-Identifier: Apache-2.0
"""`resinstr demo`: what each way of using MongoClient costs, on this machine, in a minute."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import click

from otel_resinstr.cli._failure import Failure

# What the demo imports, or the application that it runs, beyond what the command line itself needs.
_NEEDED = (
    "rich",
    "pymongo",
    "opentelemetry.sdk",
    "opentelemetry.distro",
    "opentelemetry.exporter.otlp.proto.http",
)


@click.command()
@click.option(
    "--otelcol",
    metavar="PATH",
    help="The Collector to use, or `none` to do without. Default: $OTELCOL_BIN, else otelcol-resinstr, otelcol-contrib "
    "or otelcol on the PATH, else what `make collector` built, else none.",
)
@click.option(
    "--mongodb-uri",
    metavar="URI",
    help="A MongoDB to use instead of one started for the demo. It writes to the database otel_resinstr_demo only.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty folder, or a new one, to keep the telemetry and all logs in. Default: they are thrown away.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print figures and verdicts as JSON instead of the table."
)
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=8.0, show_default=True, help="Length of a phase."
)
def demo(
    otelcol: str | None, mongodb_uri: str | None, out: Path | None, *, as_json: bool, seconds: float
) -> None:
    """Reproduce an outage, and show what each way of using MongoClient costs.

    Runs one application five times under `opentelemetry-instrument`, unchanged: with one shared client, with a client
    per call that is closed, dropped, or kept, and with an event loop that is blocked. What it prints is read from
    the telemetry that arrived. Everything listens on loopback only. Takes about a minute.

    Exit code: 0 if the telemetry of every phase arrived, 1 if not, 130 after Ctrl-C.
    """
    if not hasattr(os, "killpg"):
        raise Failure("the demo needs process groups as Linux and macOS have them; on Windows, run it in WSL")
    missing = [name for name in _NEEDED if not _is_there(name)]
    if missing:
        raise Failure(f"the demo needs {', '.join(missing)}: pip install 'otel-resinstr[demo]'")
    from otel_resinstr.cli import _conduct  # noqa: PLC0415  imports what was looked for above

    complete = _conduct.demo(
        otelcol=otelcol, mongodb_uri=mongodb_uri, out=out, as_json=as_json, seconds=seconds
    )
    if not complete:
        raise SystemExit(1)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False
