# SPDX-License-Identifier: Apache-2.0
"""Reading the machine and the container around this process.

On Linux all comes from ``/proc`` and the files of the cgroups; elsewhere psutil knows some of it. A file that several
metrics are made from is read once for all of them. A file that is missing, may not be read, or does not say what it
should is None, and `sources` says which and why.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psutil

from otel_resinstr._cgroup import Cgroup, Group
from otel_resinstr._kernel import field, number, read, statm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_T = TypeVar("_T")

# Seconds. A collection asks for each file in a few milliseconds, readers and beats come further apart.
_FRESH = 0.02
_GROUP_KEPT = 10.0

RESOURCES = ("memory", "cpu", "io")
"""What a task can be stalled for."""


class Machine(NamedTuple):
    """The memory of the machine in bytes. *available* is what can be had without swapping, page cache included."""

    total: int
    free: int
    available: int | None
    buffers: int | None = None
    cached: int | None = None


class Swap(NamedTuple):
    """Swap space in bytes."""

    used: int
    free: int


class Paging(NamedTuple):
    """What the machine has paged since it was started; swapping in pages, OOM kills in processes."""

    major_faults: int | None
    minor_faults: int | None
    swapped_in: int | None
    swapped_out: int | None
    oom_kills: int | None


class Container(NamedTuple):
    """The memory of the cgroup that binds the process, or of its own, in bytes.

    *inactive* is the page cache that has not been used of late, *reclaimable* all that goes when memory is wanted.
    """

    usage: int
    limit: int | None
    inactive: int | None
    reclaimable: int | None
    major_faults: int | None
    where: tuple[str, str]

    @property
    def working_set(self) -> int | None:
        """The usage without the page cache that has not been used of late."""
        return None if self.inactive is None else max(0, self.usage - self.inactive)

    @property
    def left(self) -> int | None:
        """What the limit leaves, with the page cache that would be given back."""
        if self.limit is None or self.reclaimable is None:
            return None
        return min(self.limit, max(0, self.limit - self.usage + self.reclaimable))


class Counters(NamedTuple):
    """What is counted of the container, and *where*: another limit may come to bind, with counters of its own."""

    where: tuple[str, str] | None
    counts: dict[str, float]


class Stall(NamedTuple):
    """Which stall: for what, of some tasks or of all (full), and of whom."""

    resource: str
    kind: str
    scope: str


class Source(NamedTuple):
    """Where something is read, and why it cannot be: None if it can."""

    name: str
    place: str
    reason: str | None


class HostReading:
    """The machine and the container as this process sees them. What is not known is None, never zero.

    A container may be shown the machine, or a machine of its own (as lxcfs does): what stands here is what is shown.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "/",
        *,
        machine: Callable[[], Any] = psutil.virtual_memory,
        swap: Callable[[], Any] = psutil.swap_memory,
        process: Callable[[], Any] = psutil.Process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read ``proc`` and the cgroups below *root*; where there is no ``proc``, ask the others."""
        self._root = os.fspath(root).rstrip("/")
        self._cgroup = Cgroup(root)
        self._of_pid = os.getpid()
        self._machine = machine
        self._swap = swap
        self._process = process
        self._clock = clock
        # When it was read, what came out, and where that was from.
        self._read: dict[str, tuple[float, Any, Source]] = {}
        self._groups: dict[str, tuple[float, Group | None]] = {}

    def memory(self) -> Machine | None:
        """The memory of the machine."""
        told = self._meminfo()
        return told[0] if told else self._ask(self._machine, _machine_of_psutil)

    def swap(self) -> Swap | None:
        """The swap space of the machine; None where it has none."""
        told = self._meminfo()
        swap = told[1] if told else self._ask(self._swap, lambda told: Swap(told.used, told.free))
        return swap if swap and sum(swap) else None

    def _meminfo(self) -> tuple[Machine, Swap | None] | None:
        return self._file("memory of the machine", f"{self._root}/proc/meminfo", _meminfo)

    def paging(self) -> Paging | None:
        """What the machine has paged. Linux only: psutil counts bytes there and pages elsewhere, if at all."""
        return self._file("paging of the machine", f"{self._root}/proc/vmstat", _paging)

    def own(self) -> int | None:
        """The resident memory of this process."""
        memory = self._file("memory of this process", f"{self._root}/proc/self/statm", statm)
        return memory.usage if memory else self._ask(self._process, lambda process: process.memory_info().rss)

    def container(self) -> Container | None:
        """The memory of the container: the cgroup whose limit binds the process, or else its own."""
        group = self._group("memory", self._cgroup.memory)
        if group is None:
            return None
        file = "memory.current" if group.v2 else "memory.usage_in_bytes"
        usage = self._file("memory of the container", f"{group.directory}/{file}", number)
        if usage is None:
            return None
        stat = self._file(
            "memory of the container by kind",
            f"{group.directory}/memory.stat",
            _memory_stat_v2 if group.v2 else _memory_stat_v1,
        )
        limit = None if group.limit is None else int(group.limit)
        return Container(usage, limit, *(stat or (None, None, None)), group.where)

    def memory_events(self) -> Counters:
        """How often the container came up against its limit, and how many of its processes were killed."""
        group = self._group("memory", self._cgroup.memory)
        if group is None:
            return Counters(None, {})
        if group.v2:
            file = f"{group.directory}/memory.events"
            return Counters(group.where, self._file("events of the container", file, _events) or {})
        # Version 1 counts how often the limit was hit, and, since Linux 4.13, whom it killed for it.
        told = {
            "max": self._file("limit hit", f"{group.directory}/memory.failcnt", number),
            "oom_kill": self._file("OOM kills", f"{group.own}/memory.oom_control", _oom_kills),
        }
        return Counters(group.where, {event: count for event, count in told.items() if count is not None})

    def throttled(self) -> Counters:
        """The seconds for which the container was kept from the CPU because its quota was used up."""
        group = self._group("cpu", self._cgroup.cpu)
        if group is None:
            return Counters(None, {})
        parse = _throttled_v2 if group.v2 else _throttled_v1
        seconds = self._file("CPU of the container", f"{group.directory}/cpu.stat", parse)
        return Counters(group.where, {} if seconds is None else {"throttled": seconds})

    def stalls(self, resources: Iterable[str] = RESOURCES) -> dict[Stall, float]:
        """The seconds for which tasks could not go on for want of each of *resources*.

        https://docs.kernel.org/accounting/psi.html; the scope ``system`` is what the machine, or the sandbox that
        poses as one, says of all its tasks.
        """
        own = self._group("pressure", self._cgroup.own)
        stalls = {}
        for resource in resources:
            places = {"system": f"{self._root}/proc/pressure/{resource}"}
            if own is not None:
                places["container"] = f"{own.directory}/{resource}.pressure"
            for scope, place in places.items():
                told = self._file(f"pressure on {resource} ({scope})", place, _pressure) or {}
                for kind, seconds in told.items():
                    # All tasks of a machine cannot wait for a CPU: the kernel keeps the line, with zeros.
                    if (resource, kind, scope) != ("cpu", "full", "system"):
                        stalls[Stall(resource, kind, scope)] = seconds
        return stalls

    def sources(self) -> list[Source]:
        """Read everything, and say what could be read and what not."""
        self._read.clear()
        self._groups.clear()
        for read_one in (
            self.memory,
            self.swap,
            self.paging,
            self.own,
            self.container,
            self.memory_events,
            self.throttled,
            self.stalls,
        ):
            read_one()
        missing = [
            Source(
                f"cgroup for {name}",
                f"{self._root}/proc/self/cgroup",
                "the process is in none that is shown, or in the root",
            )
            for name, (_, group) in self._groups.items()
            if group is None
        ]
        if self.swap() is None:
            missing.append(Source("swap space", f"{self._root}/proc/meminfo", "the machine has none"))
        return [source for _, _, source in self._read.values()] + missing

    def _group(self, name: str, find: Callable[[], Group | None]) -> Group | None:
        now = self._clock()
        at, group = self._groups.get(name, (-math.inf, None))
        if now - at >= _GROUP_KEPT:
            with contextlib.suppress(OSError):
                group = find()
            self._groups[name] = (now, group)
        return group

    def _file(self, name: str, path: str, parse: Callable[[bytes], _T]) -> _T | None:
        pid = os.getpid()
        if pid != self._of_pid:  # of the parent, which may have read it just now
            self._read.clear()
            self._groups.clear()
            self._of_pid = pid
        now = self._clock()
        kept = self._read.get(name)
        if kept is not None and now - kept[0] < _FRESH and kept[2].place == path:
            return kept[1]  # type: ignore[no-any-return]  # what *parse* gave
        value, reason = None, None
        try:
            value = parse(read(path))
        except FileNotFoundError:
            reason = "there is no such file"
        except OSError as error:
            reason = f"it cannot be read: {error.strerror}"
        except ValueError:
            reason = "it does not say what it should"
        self._read[name] = (now, value, Source(name, path, reason))
        return value

    def _ask(self, source: Callable[[], Any], told: Callable[[Any], _T]) -> _T | None:
        if os.path.exists(f"{self._root}/proc/self"):  # noqa: PTH110  never raises
            return None  # it is Linux: psutil would read the same file
        try:
            return told(source())
        except (AttributeError, NotImplementedError, OSError, RuntimeError, psutil.Error):
            return None


def sources(root: str | os.PathLike[str] = "/") -> list[Source]:
    """What can be read of the machine and the container, and what not, and why. For people, not for metrics."""
    return HostReading(root).sources()


def _meminfo(text: bytes) -> tuple[Machine, Swap | None]:
    told = _kib(text, b"MemTotal:", b"MemFree:", b"MemAvailable:", b"Buffers:", b"Cached:", b"SReclaimable:")
    total, free, available, buffers, cached, reclaimable = told
    if not total or free is None:
        raise ValueError
    # As `free` and psutil have it: caches of the file systems that the kernel gives back count as cached.
    cached = None if cached is None else cached + (reclaimable or 0)
    swap, swap_free = _kib(text, b"SwapTotal:", b"SwapFree:")
    known = (
        None if swap is None or swap_free is None or swap < swap_free else Swap(swap - swap_free, swap_free)
    )
    return Machine(total, free, available, buffers, cached), known


def _kib(text: bytes, *names: bytes) -> list[int | None]:
    fields = [field(text, name) for name in names]
    return [None if kib is None else kib * 1024 for kib in fields]


def _machine_of_psutil(told: Any) -> Machine:
    return Machine(told.total, told.free, told.available)


def _paging(text: bytes) -> Paging:
    faults, major, swapped_in, swapped_out, kills = (
        field(text, name) for name in (b"pgfault ", b"pgmajfault ", b"pswpin ", b"pswpout ", b"oom_kill ")
    )
    if (faults, major, swapped_in, swapped_out, kills) == (None,) * 5:
        raise ValueError
    minor = None if faults is None or major is None else max(0, faults - major)
    return Paging(major, minor, swapped_in, swapped_out, kills)


def _memory_stat_v2(text: bytes) -> tuple[int | None, int | None, int | None]:
    return _memory_stat(text, b"")


def _memory_stat_v1(text: bytes) -> tuple[int | None, int | None, int | None]:
    # Without "total_" it is the group alone, without the groups below it.
    return _memory_stat(text, b"total_")


def _memory_stat(text: bytes, prefix: bytes) -> tuple[int | None, int | None, int | None]:
    inactive, active, slab, major = (
        field(text, prefix + name)
        for name in (b"inactive_file ", b"active_file ", b"slab_reclaimable ", b"pgmajfault ")
    )
    if inactive is None:
        raise ValueError
    reclaimable = None if active is None else inactive + active + (slab or 0)
    return inactive, reclaimable, major


def _events(text: bytes) -> dict[str, float]:
    counts = {event: field(text, event.encode() + b" ") for event in ("high", "max", "oom", "oom_kill")}
    events: dict[str, float] = {event: count for event, count in counts.items() if count is not None}
    if not events:
        raise ValueError
    return events


def _oom_kills(text: bytes) -> int:
    return _required(field(text, b"oom_kill "))


def _throttled_v2(text: bytes) -> float:
    return _required(field(text, b"throttled_usec ")) / 1e6


def _throttled_v1(text: bytes) -> float:
    return _required(field(text, b"throttled_time ")) / 1e9


def _required(value: int | None) -> int:
    if value is None:
        raise ValueError
    return value


def _pressure(text: bytes) -> Mapping[str, float]:
    stalls = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(b" ")
        if kind in (b"some", b"full"):
            stalls[kind.decode()] = number(rest.rpartition(b"total=")[2]) / 1e6
    if not stalls:
        raise ValueError
    return stalls
