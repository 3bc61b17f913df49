# SPDX-License-Identifier: Apache-2.0
"""A program in the foreground: it has the terminal, and ends when we are asked to."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from otel_resinstr.cli._failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FrameType

_LOOK_EVERY = 0.1
_PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html


class Foreground:
    """Runs *command* until it ends. Ctrl-C, SIGTERM and SIGHUP ask it to end, and it has the time that it needs.

    Where we are killed, Linux asks it in our place; elsewhere it runs on.
    """

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def run(self, is_ready: Callable[[], bool], when_ready: Callable[[], None]) -> int:
        """Returns its exit code, as a shell would; calls *when_ready* once *is_ready* says so."""
        former = {
            number: signal.signal(number, self._ask)
            for name in ("SIGINT", "SIGTERM", "SIGHUP")
            if (number := getattr(signal, name, None)) and signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            # A group of its own: Ctrl-C reaches only us, and so it is asked once, whoever sent the signal.
            process = self._process = subprocess.Popen(  # noqa: S603  see find
                self._command,
                start_new_session=True,
                preexec_fn=_asked_to_end_with_us(),  # noqa: PLW1509  one call of the system, and no other thread
            )
            if self._asked:
                process.terminate()
            while process.poll() is None and not self._asked:
                if is_ready():
                    when_ready()
                    break
                time.sleep(_LOOK_EVERY)
            code = process.wait()
        except OSError as error:
            raise Failure(f"{self._command[0]} cannot be started: {error}") from None
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        return code if code >= 0 else 128 - code

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._process is not None:
            self._process.terminate()


def _asked_to_end_with_us() -> Callable[[], object] | None:
    """What the new process has to do before it is the program; looked up before there is one."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGTERM)
