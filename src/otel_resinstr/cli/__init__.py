# SPDX-License-Identifier: Apache-2.0
"""The command `resinstr`."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line, or say how to install what it needs: click and rich come with an extra."""
    # As from a shell's own command: click would say "Aborted!" and end with 1.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        from otel_resinstr.cli.commands import resinstr  # noqa: PLC0415  an optional dependency
    except ModuleNotFoundError as error:
        sys.exit(f"resinstr needs {error.name}: pip install 'otel-resinstr[demo]'")
    resinstr()


def _interrupted(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
