# SPDX-License-Identifier: Apache-2.0
"""Reading this process from the operating system.

On Linux what a probe needs is one system call or one short file of ``/proc/self``; elsewhere psutil knows. No pid and
no reading is remembered beyond a fork: in the child the same object reads the child. Metrics that are made from one
reading and collected within a millisecond share it, and limits, which hardly ever change, are read again no sooner
than ten seconds later.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psutil

from otel_resinstr._cgroup import Cgroup
from otel_resinstr._kernel import Entries, Memory, field, read, statm

try:
    import resource
except ImportError:  # pragma: no cover  Windows has none
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_T = TypeVar("_T")
_Number = TypeVar("_Number", int, float)

_LIMITS_KEPT = 10.0  # seconds
# Seconds: long enough for the metrics that are made from one reading, which are collected together.
_MOMENT = 0.001

# https://man7.org/linux/man-pages/man2/getrusage.2.html: kilobytes; macOS alone counts bytes.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class CpuTimes(NamedTuple):
    """CPU time of all threads, those that ended included, in seconds."""

    user: float
    system: float


class Faults(NamedTuple):
    """Page faults; a major one had to wait for a disk."""

    major: int
    minor: int


class Switches(NamedTuple):
    """Context switches: *voluntary* ones waited for something, *involuntary* ones were pushed off the CPU."""

    voluntary: int
    involuntary: int


class DiskBytes(NamedTuple):
    """Bytes that went to and came from storage, without what the page cache answered."""

    read: int
    write: int


class ProcessReading:
    """This process as the operating system sees it. What it does not tell, or refuses, is None, never zero."""

    def __init__(
        self,
        root: str | os.PathLike[str] = "/",
        *,
        process: Callable[[int], psutil.Process] = psutil.Process,
        machine: Callable[[], Any] = psutil.virtual_memory,
        resource: ModuleType | None = resource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read ``proc`` and the cgroups below *root*, and the rest from *process*, *machine* and *resource*."""
        self._proc = f"{os.fspath(root).rstrip('/')}/proc/self"
        self._cgroup = Cgroup(root)
        self._open_process = process
        self._process: psutil.Process | None = None
        self._machine = machine
        self._machine_memory: int | None = None
        self._resource = resource
        self._clock = clock
        self._remembered: dict[str, tuple[float, Any]] = {}
        self._of_pid = os.getpid()
        self._lacking: set[str] = set()
        self._tasks = Entries(f"{self._proc}/task", links=True)
        self._descriptors = Entries(f"{self._proc}/fd", links=False, besides=1)

    def cpu_times(self) -> CpuTimes | None:
        """The CPU time that the process has used."""
        usage = self._usage()
        if usage is not None:
            return CpuTimes(usage.ru_utime, usage.ru_stime)
        times = self._ask("cpu_times")
        return None if times is None else CpuTimes(times.user, times.system)

    def cpus(self) -> float | None:
        """The CPUs that the process may use: those it may run on, or less where a cgroup gives it a quota."""
        return self._kept("cpus", self._read_cpus, _LIMITS_KEPT)

    def _read_cpus(self) -> float | None:
        allowed = self._ask("cpu_affinity")
        count = len(allowed) if allowed else os.cpu_count()
        with contextlib.suppress(OSError):
            return _smallest(count, self._cgroup.cpu_limit())
        return None

    def memory(self) -> Memory | None:
        """The memory that the process has. Cost: one read of ``statm``."""
        return self._kept("memory", self._read_memory)

    def _read_memory(self) -> Memory | None:
        memory = self._from_proc("statm", statm)
        if memory is None:
            info = self._ask("memory_info")
            memory = None if info is None else Memory(info.rss, info.vms)
        return memory

    def memory_limit(self) -> int | None:
        """The bytes that the process can use at most: the smallest limit of its cgroups, else the machine's memory.

        The size of the machine is read once.
        """
        return self._kept("memory limit", self._read_memory_limit, _LIMITS_KEPT)

    def _read_memory_limit(self) -> int | None:
        if self._machine_memory is None:
            with contextlib.suppress(OSError, psutil.Error):
                self._machine_memory = self._machine().total
        with contextlib.suppress(OSError):
            return _smallest(self._cgroup.memory_limit(), self._machine_memory)
        return None

    def memory_peak(self) -> int | None:
        """The most bytes that were ever resident."""
        # Linux: ru_maxrss outlives an exec, so that a small process that a large one starts reports the large one's
        # peak as its own; VmHWM belongs to the program that runs now. (setmax_mm_hiwater_rss in fs/exec.c)
        peak = self._from_proc("status", _high_water_mark)
        if peak is None:
            usage = self._usage()
            if usage is not None:
                peak = usage.ru_maxrss * _MAXRSS_UNIT
            else:
                peak = getattr(self._ask("memory_info"), "peak_wset", None)
        return peak

    def faults(self) -> Faults | None:
        """Page faults. Windows does not tell major from minor ones."""
        usage = self._usage()
        return None if usage is None else Faults(usage.ru_majflt, usage.ru_minflt)

    def switches(self) -> Switches | None:
        """Context switches of all threads; psutil counts the main thread's only, and Windows does not tell."""
        usage = self._usage()
        return None if usage is None else Switches(usage.ru_nvcsw, usage.ru_nivcsw)

    def _kept(self, name: str, read_now: Callable[[], _T], seconds: float = _MOMENT) -> _T:
        """What was read less than so many *seconds* ago, in this process and no parent of it, or is read now."""
        pid = os.getpid()
        if pid != self._of_pid:
            self._remembered.clear()
            self._of_pid = pid
        now = self._clock()
        at, value = self._remembered.get(name, (-math.inf, None))
        if now - at >= seconds:
            value = read_now()
            self._remembered[name] = (now, value)
        return value  # type: ignore[no-any-return]  # what *read_now* gave

    def threads(self) -> int | None:
        """Threads, also those that Python did not start. Cost: 2 µs."""
        try:
            return self._tasks.count()
        except OSError:
            return self._count("num_threads")

    def descriptors(self) -> int | None:
        """Open file descriptors; None on Windows. Cost: 2 µs; before Linux 6.2 40 µs for a hundred of them."""
        try:
            return self._descriptors.count()
        except OSError:
            return self._count("num_fds")

    def descriptor_limit(self) -> int | None:
        """How many descriptors may be open: the soft limit, which is the one that binds."""
        if self._resource is None:
            return None
        soft: int = self._resource.getrlimit(self._resource.RLIMIT_NOFILE)[0]
        return None if soft == self._resource.RLIM_INFINITY else soft

    def handles(self) -> int | None:
        """Open handles, on Windows."""
        return self._count("num_handles")

    def disk(self) -> DiskBytes | None:
        """What went to and came from disks. Linux only: what other systems count includes pipes and devices."""
        return self._from_proc("io", _io)

    def create_time(self) -> float | None:
        """When the process began, in seconds since the epoch, right to about one second."""
        created: float | None = self._ask("create_time")
        return created

    def _usage(self) -> Any:
        # The kernel adds all threads up: 0.1 µs for each.
        return None if self._resource is None else self._kept("usage", self._read_usage)

    def _read_usage(self) -> Any:
        return self._resource.getrusage(self._resource.RUSAGE_SELF)  # type: ignore[union-attr]  # asked before

    def _from_proc(self, name: str, parse: Callable[[bytes], _T | None]) -> _T | None:
        try:
            return parse(read(f"{self._proc}/{name}"))
        except (OSError, ValueError):
            return None

    def _count(self, method: str) -> int | None:
        count: int | None = self._ask(method)
        return count

    def _ask(self, method: str) -> Any:
        if method in self._lacking:
            return None
        pid = os.getpid()
        process = self._process
        try:
            if process is None or process.pid != pid:
                process = self._process = self._open_process(pid)
            if not hasattr(process, method):
                # psutil leaves out the methods for which a platform has nothing.
                self._lacking.add(method)
                return None
            return getattr(process, method)()
        except (NotImplementedError, OSError, psutil.Error):
            return None


def _high_water_mark(text: bytes) -> int | None:
    peak = field(text, b"VmHWM:")
    return None if peak is None else peak * 1024


def _io(text: bytes) -> DiskBytes | None:
    read_bytes, write_bytes = field(text, b"read_bytes:"), field(text, b"write_bytes:")
    return None if read_bytes is None or write_bytes is None else DiskBytes(read_bytes, write_bytes)


def _smallest(*limits: _Number | None) -> _Number | None:
    return min((limit for limit in limits if limit is not None), default=None)
