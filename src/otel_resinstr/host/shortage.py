# SPDX-License-Identifier: Apache-2.0
"""Says that memory is short: of whom, by which figures, and what to do about it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from otel_resinstr.host.neighbours import owners
from otel_resinstr.semconv import (
    RESINSTR_MEMORY_PRESSURE,
    RESINSTR_MEMORY_PRESSURE_CONTAINER,
    RESINSTR_MEMORY_PRESSURE_LIMIT,
    RESINSTR_MEMORY_PRESSURE_MAJOR_FAULTS,
    RESINSTR_MEMORY_PRESSURE_OOM_KILLS,
    RESINSTR_MEMORY_PRESSURE_OTHERS,
    RESINSTR_MEMORY_PRESSURE_PROCESS,
    RESINSTR_MEMORY_PRESSURE_SCOPE,
    RESINSTR_MEMORY_PRESSURE_STALL,
    RESINSTR_MEMORY_PRESSURE_USAGE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr.host.reading import HostReading

_PERIOD = 10.0  # seconds; the shortest time over which the kernel itself averages pressure

# A tenth of the time lost is felt by whoever waits for an answer; systemd-oomd acts from 60 %, long after that.
_STALLED = 0.1
# The machine's stalls and kills are also those of a neighbour that comes up against a limit of its own: they are ours
# only where the machine has little left.
_MACHINE_LOW = 0.2
# So little that the next request may be the one that is killed, or that begins to swap.
_LOW = 0.05
# What a request takes does not grow with the machine: with more than this left the next one fits, whatever share it is.
_ROOM = 512 << 20
# Little, and what is used has to be read from a disk again and again: what a kernel without pressure files shows.
_GETTING_LOW = 0.1
_FAULTS = 10.0  # a second

_MIB = 1 << 20


class Reading(NamedTuple):
    """What is to be judged: of the ``container`` or the ``machine``. Sizes in bytes, counts since it was started.

    *usage* leaves page cache out, which is given back when memory is wanted: a machine that has filled its memory
    with that is not short of it. A container without a *limit* can be short too: of what ``memory.high`` or a full
    machine leaves to it, which shows in what it waits for and who is killed. Counts of the container can be compared
    with those that were read at the same place (*where*).
    """

    scope: str
    where: tuple[tuple[str, str] | None, ...]
    limit: int | None
    usage: int
    stalled: float | None
    major_faults: int | None
    oom_kills: float | None


class Finding(NamedTuple):
    """One reading against the one before: shares of 1, and major faults a second."""

    scope: str
    limit: int | None
    usage: int
    stall: float | None
    major_faults: float | None
    oom_kills: int | None

    @property
    def short(self) -> bool:
        """Whether this is a shortage."""
        limit = math.inf if self.limit is None else self.limit
        left = limit - self.usage
        of_ours = self.scope == "container" or left < _MACHINE_LOW * limit
        return bool(
            (of_ours and (self.oom_kills or (self.stall or 0) >= _STALLED))
            or left <= min(_LOW * limit, _ROOM)
            or (left <= min(_GETTING_LOW * limit, 2 * _ROOM) and (self.major_faults or 0) >= _FAULTS)
        )


class Shortage:
    """The event ``resinstr.memory.pressure``: memory is short, in the container or on the machine.

    It is said where a process was killed for want of memory, where tasks were stalled for a tenth of ten seconds,
    where a twentieth of the limit is left, and no more than 512 MiB, or twice as much and major faults abound. What
    page cache fills counts as left.
    Kills and stalls of the whole machine count only where less than a fifth of it is left: they may be a neighbour's.
    One line has the figures from which it was judged, whose the memory is, and what to do; once a minute at most.

    Cost: ten short files every ten seconds, 200 µs, on the package's thread.
    """

    name = "host.shortage"

    def __init__(self, reading: HostReading, clock: Callable[[], float] = time.monotonic) -> None:
        self._reading = reading
        self._clock = clock
        self._before: tuple[float, dict[str, Reading]] = (clock(), {})

    def start(self, lease: Lease) -> None:
        """Look every ten seconds; a forked child looks for itself, from its fork on."""
        self._lease = lease
        self._begin()
        lease.after_fork(self._begin)
        lease.every(_PERIOD, self._look)

    def _begin(self) -> None:
        self._before = (self._clock(), {reading.scope: reading for reading in self._readings()})

    def _readings(self) -> Iterator[Reading]:
        source = self._reading
        machine, container, paging = source.memory(), source.container(), source.paging()
        stalls = {
            stall.scope: seconds
            for stall, seconds in source.stalls(["memory"]).items()
            if stall.kind == "some"
        }
        events = source.memory_events()
        kills = events.counts.get("oom_kill")
        where = (None if container is None else container.where, events.where)
        ours = None
        if container is not None and container.reclaimable is not None:
            used = max(0, container.usage - container.reclaimable)
            ours = Reading(
                "container",
                where,
                container.limit,
                used,
                stalls.get("container"),
                container.major_faults,
                kills,
            )
        if ours is not None and ours.limit is not None:
            yield ours
        if machine is not None and machine.available is not None:
            faults = None if paging is None else paging.major_faults
            if container is None and paging is not None:
                kills = paging.oom_kills
            used = machine.total - machine.available
            yield Reading("machine", where, machine.total, used, stalls.get("system"), faults, kills)
        # Without a limit it lacks what the machine lacks, which says more.
        if ours is not None and ours.limit is None:
            yield ours

    def _look(self) -> None:
        now = self._clock()
        at, before = self._before
        readings = {reading.scope: reading for reading in self._readings()}
        self._before = (now, readings)
        passed = now - at
        for scope, reading in readings.items():
            first = before.get(scope)
            if first is not None and first.where == reading.where and passed > 0:
                finding = compared(first, reading, passed)
                if finding.short:
                    self._say(finding)
                    return  # one is enough, and the first says most

    def _say(self, finding: Finding) -> None:
        shares = owners(self._reading)
        attributes: dict[str, AnyValue] = {
            RESINSTR_MEMORY_PRESSURE_SCOPE: finding.scope,
            RESINSTR_MEMORY_PRESSURE_LIMIT: finding.limit,
            RESINSTR_MEMORY_PRESSURE_USAGE: finding.usage,
            RESINSTR_MEMORY_PRESSURE_STALL: finding.stall,
            RESINSTR_MEMORY_PRESSURE_MAJOR_FAULTS: finding.major_faults,
            RESINSTR_MEMORY_PRESSURE_OOM_KILLS: finding.oom_kills,
            RESINSTR_MEMORY_PRESSURE_PROCESS: shares.get("process"),
            RESINSTR_MEMORY_PRESSURE_CONTAINER: shares.get("container"),
            RESINSTR_MEMORY_PRESSURE_OTHERS: shares.get("others"),
        }
        known: dict[str, AnyValue] = {name: value for name, value in attributes.items() if value is not None}
        # That a process was killed is not held back because memory has been short for a while.
        cause = (finding.scope, bool(finding.oom_kills))
        self._lease.event(RESINSTR_MEMORY_PRESSURE, _message(finding, shares), cause, known)


def compared(before: Reading, now: Reading, passed: float) -> Finding:
    """What happened between two readings of one scope, *passed* seconds apart."""

    def increase(first: float | None, last: float | None) -> float | None:
        return None if first is None or last is None else max(0, last - first)

    stalled, faults, kills = map(increase, before[4:], now[4:])
    return Finding(
        now.scope,
        now.limit,
        now.usage,
        None if stalled is None else min(1.0, stalled / passed),
        None if faults is None else faults / passed,
        None if kills is None else int(kills),
    )


def _message(finding: Finding, shares: dict[str, int]) -> str:
    if finding.limit is None:
        figures = [f"{_mib(finding.usage)} MiB in use beside page cache, without a limit"]
    else:
        share = f"{finding.usage / finding.limit:.0%}"
        figures = [f"{_mib(finding.usage)} of {_mib(finding.limit)} MiB in use beside page cache ({share})"]
    if finding.stall is not None:
        figures.append(f"tasks stalled for memory {finding.stall:.0%} of the time")
    if finding.major_faults is not None:
        figures.append(f"{finding.major_faults:.0f} major faults a second")
    if finding.oom_kills is not None:
        figures.append(f"{finding.oom_kills} killed for want of memory")
    whose = [f"{_mib(shares[owner])} MiB {words}" for owner, words in _WHOSE.items() if owner in shares]
    if whose:
        figures.append(f"in use on the machine: {', '.join(whose)}")
    return f"the {finding.scope} is short of memory: {'; '.join(figures)}. {_remedy(finding, shares)}"


_WHOSE = {
    "process": "this process",
    "container": "the rest of its container",
    "others": "others",
}


def _remedy(finding: Finding, shares: dict[str, int]) -> str:
    if finding.limit is None:
        return (
            "Look for what holds it back, or kills, without a limit: memory.high, or a machine that is full"
        )
    if finding.oom_kills and finding.usage < (1 - _GETTING_LOW) * finding.limit:
        return "What was killed had most of it: see which worker ended, run fewer of them, or raise the limit"
    largest = max(shares, key=lambda owner: shares[owner]) if shares else None
    if finding.scope == "machine" and largest == "others":
        return "Others have most of it: move one of them (a second slot, another service), or take a larger machine"
    if shares.get("container", 0) > shares.get("process", 0):
        return "Other processes of the container have most of it: run fewer workers, or raise the limit"
    return "Look for what grows in this process (OTEL_RESINSTR_TRACEMALLOC=1 names the lines), or raise the limit"


def _mib(size: int) -> int:
    return round(size / _MIB)
