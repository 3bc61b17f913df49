# SPDX-License-Identifier: Apache-2.0
"""A leak, a limit and a neighbour differ at a glance from each other and from health: docs/memory.md shows how.

After a change that is meant, ``WRITE_SITUATIONS=1 .venv/bin/pytest tests/machines/test_situations.py`` writes the
table in the note anew.
"""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

import pytest

from fakes import FakeClock, denied
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.host.container import Container
from otel_resinstr.host.memory import Memory as HostMemory
from otel_resinstr.host.neighbours import Neighbours
from otel_resinstr.host.paging import Paging
from otel_resinstr.host.peaks import Peaks as HostPeaks
from otel_resinstr.host.pressure import Pressure
from otel_resinstr.host.shortage import Shortage
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.memory import Memory
from otel_resinstr.process.peaks import Peaks
from support import Sink

NOTE = Path(__file__).parents[2] / "docs" / "memory.md"
BETWEEN = re.compile(r"(<!-- situations -->\n).*?(<!-- /situations -->)", re.DOTALL)
MIB = 1 << 20
CGROUP = "sys/fs/cgroup/"


class Situation:
    """A machine on which a minute passes, in steps of ten seconds."""

    def __init__(self, machine, name):
        self.machine = machine(name)
        self.clock = FakeClock(1000.0)
        self.v2 = (self.machine.root / CGROUP / "memory.current").exists()
        self.counted = {"stalled": 0.0, "major": 0, "max": 0, "oom_kill": 0}

    def has(self, process, container, cache=40, available=None):
        """MiB that the process has, the rest of its container, both without page cache, and that."""
        self.machine.set("proc/self/statm", f"110000 {process * MIB // mmap.PAGESIZE} 3000 1 0 20000 0\n")
        if self.v2:
            self.machine.set(CGROUP + "memory.current", f"{(process + container + cache) * MIB}\n")
            stat = f"inactive_file {cache * MIB}\nactive_file 0\npgmajfault {self.counted['major']}\n"
            self.machine.set(CGROUP + "memory.stat", stat)
        if available is not None:
            text = (self.machine.root / "proc/meminfo").read_text()
            self.machine.set(
                "proc/meminfo", re.sub(r"MemAvailable: +\d+", f"MemAvailable: {available * 1024}", text)
            )

    def counts(self, stalled=0.0, major=0, **events):
        """Seconds for which it stalls in this step, pages that are read, and the container's events."""
        self.counted["stalled"] += stalled
        self.counted["major"] += major
        for event, count in events.items():
            self.counted[event] += count
        if self.v2:
            self.machine.set(
                CGROUP + "memory.pressure",
                f"some avg10=0 total={60000 + int(self.counted['stalled'] * 1e6)}\n",
            )
            told = f"high 0\nmax {5 + self.counted['max']}\noom 1\noom_kill {1 + self.counted['oom_kill']}\n"
            self.machine.set(CGROUP + "memory.events", told)
        faults = 90000 + self.counted["major"]
        self.machine.set(
            "proc/vmstat", f"pgfault 12000000\npgmajfault {faults}\npswpin 0\npswpout 0\noom_kill 3\n"
        )

    def minute(self, step):
        """Start the probes, call *step* with 1 to 6 in each ten seconds, and collect at the end."""
        self.counts()
        step(0)
        root, clock, sink = self.machine.root, self.clock, Sink()
        host = self.machine.reading(clock)
        reading = ProcessReading(root, process=denied, machine=host.memory, resource=None, clock=clock)
        probes = (
            Memory(reading),
            Peaks(reading, 60.0, clock),
            HostMemory(host),
            Paging(host),
            Container(host),
            Pressure(host),
            Neighbours(host),
            HostPeaks(host, 60.0, clock),
            Shortage(host, clock),
        )
        running = Running(probes, Telemetry(**sink.providers, clock=clock))
        for number in range(1, 7):
            clock.now += 10.0
            step(number)
            for beat in running._telemetry.ticker._beats:
                beat.call()
        collected = sink.collect()
        events = [event.body for event in sink.events("resinstr.memory.pressure")]
        running.stop()
        sink.shutdown()
        return collected, events


def healthy(machine):
    """The process and one more, and page cache up to the limit."""
    situation = Situation(machine, "kubernetes_v2")

    def step(_number):
        situation.has(process=120, container=60, cache=332)

    return situation.minute(step)


def leak(machine):
    """The process grows by 50 MiB in each ten seconds."""
    situation = Situation(machine, "kubernetes_v2")

    def step(number):
        situation.has(process=150 + 50 * number, container=50, cache=10)

    return situation.minute(step)


def limit(machine):
    """The workers beside the process leave nothing; tasks stall, pages are read again, one is killed."""
    situation = Situation(machine, "kubernetes_v2")

    def step(number):
        if number:
            situation.counts(stalled=3.0, major=4000, max=20, oom_kill=int(number == 4))
        situation.has(process=120, container=380, cache=12)

    return situation.minute(step)


def neighbour(machine):
    """The process and its container are as ever; a second slot takes what there is."""
    situation = Situation(machine, "app_service")

    def step(number):
        if number:
            situation.counts(major=2500)
        situation.has(process=200, container=350, available=1200 - 180 * number)

    return situation.minute(step)


SITUATIONS = {"healthy": healthy, "a leak": leak, "a limit": limit, "a neighbour": neighbour}

ROWS = {
    "`process.memory.utilization`": ("process.memory.utilization", (), "{:.0%}"),
    "`resinstr.memory.usage`, `process`": ("resinstr.memory.usage", ("process",), "MiB"),
    "`container`": ("resinstr.memory.usage", ("container",), "MiB"),
    "`others`": ("resinstr.memory.usage", ("others",), "MiB"),
    "`container.memory.usage`": ("container.memory.usage", (), "MiB"),
    "`resinstr.container.memory.limit`": ("resinstr.container.memory.limit", (), "MiB"),
    "`resinstr.memory.available.min`": ("resinstr.memory.available.min", (), "MiB"),
    "`resinstr.pressure.stall.time`, `memory`, `some`, `container`": (
        "resinstr.pressure.stall.time",
        ("some", "memory", "container"),
        "{:.0f} s",
    ),
    "`system.paging.faults`, `major`": ("system.paging.faults", ("major",), "{:,}"),
    "`resinstr.container.memory.events`, `max`": ("resinstr.container.memory.events", ("max",), "{}"),
    "`oom_kill`": ("resinstr.container.memory.events", ("oom_kill",), "{}"),
}


def shown(collected, name, key, form):
    value = collected.points(name).get(key)
    if value is None:
        return "-"
    return f"{value / MIB:,.0f} MiB" if form == "MiB" else form.format(value)


def table(found):
    """The table, and the events below it."""
    lines = [["after one minute", *found], ["---"] * (len(found) + 1)]
    for title, (name, key, form) in ROWS.items():
        lines.append([title, *(shown(collected, name, key, form) for collected, _ in found.values())])
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    for title, (_, events) in found.items():
        said = f"the event says:\n\n> {events[-1]}\n" if events else "there is no event.\n"
        text += f"\nFor {title if title != 'healthy' else 'the healthy one'} {said}"
    return text


@pytest.fixture
def found(tmp_path, machine):
    def machine_of(folder):
        def copy(name):
            copied = machine(name)
            copied.root = copied.root.rename(tmp_path / folder)
            return copied

        return copy

    return {title: make(machine_of(title)) for title, make in SITUATIONS.items()}


@pytest.mark.skipif(mmap.PAGESIZE != 4096, reason="the note is for pages of 4 KiB")
def test_the_note_shows_what_the_probes_say(found):
    """The table and the lines of the events in docs/memory.md are what comes out here."""
    text = NOTE.read_text(encoding="utf-8")
    wanted = BETWEEN.sub(lambda around: f"{around[1]}{table(found)}{around[2]}", text)
    if os.environ.get("WRITE_SITUATIONS"):
        NOTE.write_text(wanted, encoding="utf-8")

    assert wanted == NOTE.read_text(encoding="utf-8")


def test_the_four_differ_at_a_glance(found):
    """Health is silent; each of the others says who has most, and of what."""
    said = {title: events[-1] if events else "" for title, (_, events) in found.items()}

    assert "" == said["healthy"]
    assert said["a leak"].startswith("the container is short of memory: ")
    assert "Look for what grows in this process" in said["a leak"]
    assert said["a limit"].startswith("the container is short of memory: ")
    assert "Other processes of the container have most of it" in said["a limit"]
    assert said["a neighbour"].startswith("the machine is short of memory: ")
    assert "Others have most of it: move one of them (a second slot" in said["a neighbour"]
