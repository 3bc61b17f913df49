# SPDX-License-Identifier: Apache-2.0
"""The CPU time that the process uses, and how much that is of what it may use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import CPU_MODE, PROCESS_CPU_TIME, PROCESS_CPU_UTILIZATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import CpuTimes, ProcessReading

# Less than this says more about the clocks than about the process.
_SHORTEST = 0.01


class _Snapshot(NamedTuple):
    at: float
    times: CpuTimes


class Cpu:
    """CPU time by mode, and its share of the CPUs that the process may use, over the last *window* seconds.

    1 means that the process has all that its affinity and its cgroups allow, on any number of CPUs.
    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processcpuutilization

    Cost: two system calls for the time; one more, and the cgroup's files, for the share.
    """

    name = "process.cpu"

    def __init__(
        self, reading: ProcessReading, window: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reading = reading
        self._window = window
        self._clock = clock
        # Replaced, never changed in place: readers that collect at the same time need no lock, at worst one of two
        # snapshots of the same moment is lost.
        self._history: tuple[_Snapshot, ...] = ()

    def start(self, lease: Lease) -> None:
        """Take the first snapshot: a share since the process began would say nothing of now."""
        self._begin()
        lease.after_fork(self._begin)
        lease.observe(PROCESS_CPU_TIME, self._time)
        lease.observe(PROCESS_CPU_UTILIZATION, self._utilization)

    def _begin(self) -> None:
        now = self._now()
        self._history = () if now is None else (now,)

    def _now(self) -> _Snapshot | None:
        times = self._reading.cpu_times()
        return None if times is None else _Snapshot(self._clock(), times)

    def _time(self) -> Iterable[Observation] | None:
        times = self._reading.cpu_times()
        return None if times is None else _by_mode(*times)

    def _utilization(self) -> Iterable[Observation] | None:
        now = self._now()
        cpus = self._reading.cpus()
        if now is None or cpus is None:
            return None
        since = self._since(now)
        if since is None or now.at - since.at < _SHORTEST:
            return None
        available = (now.at - since.at) * cpus
        return _by_mode(
            (now.times.user - since.times.user) / available,
            (now.times.system - since.times.system) / available,
        )

    def _since(self, now: _Snapshot) -> _Snapshot | None:
        """The newest snapshot that is a window old, else the oldest; what is older is forgotten.

        It is there whoever else collects: a reader that asks often does not shorten what another one sees.
        """
        history = self._history
        old = [snapshot for snapshot in history if now.at - snapshot.at >= self._window]
        history = history[max(0, len(old) - 1) :]
        if not history or now.at - history[-1].at >= self._window / 10:
            self._history = (*history, now)
        else:
            self._history = history  # However often readers ask, about ten snapshots are kept.
        return history[0] if history else None


def _by_mode(user: float, system: float) -> Iterable[Observation]:
    return Observation(user, {CPU_MODE: "user"}), Observation(system, {CPU_MODE: "system"})
