# SPDX-License-Identifier: Apache-2.0
"""`resinstr collector`: the configurations of the OpenTelemetry Collector that come with the package."""

from __future__ import annotations

import os
import socket
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import click

from otel_resinstr.cli import _collector
from otel_resinstr.cli._configurations import configurations, variables
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._foreground import Foreground

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otel_resinstr.cli._configurations import Configuration

_REMEDY = (
    f"Tested is version {_collector.TESTED}: from there on `otelcol-contrib` has all that our files need, and\n"
    "`make collector` builds a smaller one in a clone of the project. Put it on the PATH, or name it with\n"
    "--otelcol PATH or OTELCOL_BIN."
)
_HEALTH = "OTELCOL_HEALTH_ENDPOINT"
_FILES = configurations()

_name = click.argument("name", type=click.Choice([name for name, it in _FILES.items() if not it.is_overlay]))
_overlays = click.option(
    "--with",
    "overlays",
    multiple=True,
    type=click.Choice([name for name, it in _FILES.items() if it.is_overlay]),
    help="An overlay to lay over it; may be given several times.",
)
_otelcol = click.option(
    "--otelcol",
    metavar="PATH",
    help="The Collector to use. Default: $OTELCOL_BIN, else otelcol-resinstr, otelcol-contrib or otelcol on the PATH, "
    "else what `make collector` built.",
)


@click.group()
def collector() -> None:
    """Configurations of the OpenTelemetry Collector, ready to run."""


@collector.command("list")
def list_() -> None:
    """Say which configurations there are, and what they are for."""
    for name, configuration in _FILES.items():
        click.echo(f"{name}\n    {configuration.says}")


@collector.command()
@click.argument("name", type=click.Choice(list(_FILES)))
def show(name: str) -> None:
    """Print a configuration, to read it or to take it away."""
    click.echo(_FILES[name].text, nl=False)


@collector.command()
@_name
@_overlays
@_otelcol
def validate(name: str, overlays: Sequence[str], otelcol: str | None) -> None:
    """Have a Collector check a configuration, with its overlays; nothing is started."""
    chosen = [_FILES[name], *(_FILES[overlay] for overlay in overlays)]
    program, described = _find(otelcol)
    _check(program, described, chosen)
    click.echo(f"{_named(chosen)}: valid for {described}")


@collector.command()
@_name
@_overlays
@_otelcol
def run(name: str, overlays: Sequence[str], otelcol: str | None) -> None:
    """Run a Collector in the foreground, with a configuration as it is.

    What it listens on and where things go comes from the environment, and is shown when it is ready. Ctrl-C stops it.

    Exit code: that of the Collector, which is 0 after Ctrl-C or SIGTERM.
    """
    chosen = [_FILES[name], *(_FILES[overlay] for overlay in overlays)]
    program, described = _find(otelcol)
    _check(program, described, chosen)
    health = next(variable for variable in variables(chosen) if variable.name == _HEALTH).value(os.environ)
    if _listens(health):
        raise Failure(
            f"something listens at {health} already: another Collector? If so, set {_HEALTH} and the others"
        )
    _tell(f"Collector  {described}")
    for configuration in chosen:
        _tell(f"reads      {configuration.path}")
    foreground = Foreground([program, *_arguments(chosen)])
    raise SystemExit(foreground.run(partial(_collector.is_healthy, health), partial(_tell_ready, chosen)))


def _find(option: str | None) -> tuple[Path, str]:
    found = _collector.find(option, os.environ, _REMEDY)
    if found is None:
        raise Failure(f"there is no Collector\n{_REMEDY}")
    return found, _collector.described(found, _REMEDY)


def _check(program: Path, described: str, chosen: Sequence[Configuration]) -> None:
    """Its components, its keys: all that can be known before it is started."""
    done = subprocess.run(  # noqa: S603  a program that the user has named, or installed under its name
        [program, "validate", *_arguments(chosen)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Failure(f"{described} does not take {_named(chosen)}:\n{done.stderr.strip()}\n{_REMEDY}")


def _arguments(chosen: Sequence[Configuration]) -> list[str]:
    return [argument for one in chosen for argument in ("--config", str(one.path))]


def _named(chosen: Sequence[Configuration]) -> str:
    return " with ".join(one.name for one in chosen)


def _listens(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except (OSError, ValueError):  # nobody, or not an address: then the Collector says so in its own words
        return False
    return True


def _tell_ready(chosen: Sequence[Configuration]) -> None:
    _tell("Ready; Ctrl-C stops it")
    listed = list(variables(chosen))
    values = [variable.value(os.environ) for variable in listed]
    name_width = max(len(variable.name) for variable in listed)
    value_width = max(len(value) for value in values)
    for variable, value in zip(listed, values, strict=True):
        _tell(f"  {variable.name:<{name_width}}  {value:<{value_width}}  {variable.says}")


def _tell(line: str) -> None:
    # The Collector has standard output: records may go there.
    click.echo(line, err=True)
