# SPDX-License-Identifier: Apache-2.0
"""The clocks that a loop is judged by: the time that passes, and the time that threads get of the CPUs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

_PROC = Path("/proc")


class Clocks:
    """The system's clocks, all of them monotonic, in seconds. What the platform does not have is None."""

    def wall(self) -> float:
        """The time that passes."""
        return time.perf_counter()

    def process(self) -> float:
        """What all threads of the process have had of the CPUs."""
        return time.process_time()

    def name_of(self, ident: int) -> int | None:
        """The name of the CPU clock of the thread *ident*, which has to be the calling one or to be run just now.

        To ask for one that has ended may end the process. Who has the GIL, and has seen the thread's stack, is safe
        (https://docs.python.org/3/library/time.html#time.pthread_getcpuclockid).
        """
        ask = getattr(time, "pthread_getcpuclockid", None)
        return None if ask is None else ask(ident)

    def thread(self, name: int | None) -> float | None:
        """What the thread whose clock is called *name* has had of the CPUs; None also if it has ended."""
        if name is None:
            return None
        try:
            return time.clock_gettime(name)
        except OSError:
            return None

    def queued(self, thread: int | None, proc: Path = _PROC) -> float | None:
        """How long the thread with that number has waited for a CPU, while it could have run.

        The second figure of https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat; 20 to 60 µs.
        """
        try:
            text = (proc / "self" / "task" / str(thread) / "schedstat").read_text(encoding="ascii")
            return int(text.split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return None


def number_of(ident: int) -> int | None:
    """The number that the kernel has given to the thread *ident*, the calling one or one that `threading` knows."""
    if ident == threading.get_ident():
        return threading.get_native_id()
    return next((thread.native_id for thread in threading.enumerate() if thread.ident == ident), None)
