# SPDX-License-Identifier: Apache-2.0
"""How the command line ends when it cannot do what it was asked to."""

from __future__ import annotations

import click


class Failure(click.ClickException):
    """What went wrong and what to do about it, for a person; the command ends with exit code 1."""
