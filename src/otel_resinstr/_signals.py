# SPDX-License-Identifier: Apache-2.0
"""Whose a signal is."""

from __future__ import annotations

import signal

from otel_resinstr import _kernel


def is_free(number: int, status: str = "/proc/self/status") -> bool:
    """Whether the signal *number* has its default action.

    Python knows of its own handlers only. One in C, as uWSGI and `faulthandler.register` have, is among those that
    Linux says are caught, in a mask as https://man7.org/linux/man-pages/man5/proc_pid_status.5.html has it.
    """
    if signal.getsignal(number) is not signal.SIG_DFL:
        return False
    try:
        _, _, caught = _kernel.read(status).partition(b"\nSigCgt:")
        return not int(caught.split(None, 1)[0], 16) >> (number - 1) & 1
    except (OSError, IndexError, ValueError):
        return True  # another system, of which nothing more is known
