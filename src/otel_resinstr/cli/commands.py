# SPDX-License-Identifier: Apache-2.0
"""The sub-commands of `resinstr`: a new one is entered here."""

from __future__ import annotations

import click

from otel_resinstr.cli.collector import collector
from otel_resinstr.cli.demo import demo
from otel_resinstr.cli.doctor import doctor
from otel_resinstr.cli.report import report
from otel_resinstr.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resinstr")
def resinstr() -> None:
    """Says which suspect it is when a Python service with MongoDB stalls."""


resinstr.add_command(collector)
resinstr.add_command(demo)
resinstr.add_command(doctor)
resinstr.add_command(report)
