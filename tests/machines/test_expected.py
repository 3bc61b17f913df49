# SPDX-License-Identifier: Apache-2.0
"""What the process, runtime and host probes say on each of the fake machines, whole and exactly.

After a change that is meant, ``WRITE_EXPECTED=1 .venv/bin/pytest tests/machines/test_expected.py`` writes the files
anew; what it changes in them is part of the review.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import MACHINES, FakeClock, denied
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.host import HostReading
from otel_resinstr.host.container import Container
from otel_resinstr.host.memory import Memory as HostMemory
from otel_resinstr.host.neighbours import Neighbours
from otel_resinstr.host.paging import Paging
from otel_resinstr.host.peaks import Peaks as HostPeaks
from otel_resinstr.host.pressure import Pressure
from otel_resinstr.host.shortage import Shortage
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.disk_io import DiskIO
from otel_resinstr.process.file_descriptors import FileDescriptors
from otel_resinstr.process.memory import Memory
from otel_resinstr.process.peaks import Peaks
from otel_resinstr.process.sockets import Sockets
from otel_resinstr.process.threads import Threads
from otel_resinstr.runtime.threads_by_group import ThreadsByGroup
from support import Sink

NAMES = sorted(path.name for path in MACHINES.iterdir() if (path / "proc").is_dir())

# What counts, and by how much the machine has counted on when it is looked at for the second time: each of them
# differently, so that none is taken for another one.
COUNTERS = {
    "pgfault ": 1000,
    "pgmajfault ": 30,
    "total_pgmajfault ": 20,
    "pswpin ": 7,
    "pswpout ": 11,
    "oom_kill ": 1,
    "high ": 2,
    "max ": 3,
    "oom ": 4,
    "throttled_usec ": 1_500_000,
    "throttled_time ": 1_500_000_000,
}
STALLED = {"memory": 250_000, "cpu": 500_000, "io": 125_000}


def probes(root, clock):
    """All probes that read files of the machine, and nothing of this one."""
    host = HostReading(root, machine=denied, swap=denied, process=denied, clock=clock)

    def machine():
        return host.memory() or denied()

    reading = ProcessReading(root, process=denied, machine=machine, resource=None, clock=clock)
    return [
        Memory(reading),
        Threads(reading),
        FileDescriptors(reading),
        DiskIO(reading),
        Peaks(reading, 60.0, clock),
        Sockets(128, root, process=denied, clock=clock),
        ThreadsByGroup(threads=list, executor_threads=set, root=root),
        HostMemory(host),
        Paging(host),
        Container(host),
        Pressure(host),
        Neighbours(host),
        HostPeaks(host, 60.0, clock),
        Shortage(host, clock),
    ]


def plus(more, found):
    return str(int(found[0]) + more)


def count_on(root):
    """Let everything that counts on *root* count on."""
    for path in root.rglob("*"):
        if path.name.endswith(".pressure") or path.parent.name == "pressure":
            more = STALLED[path.name.partition(".")[0]]
            path.write_text(re.sub(r"(?<=total=)\d+", partial(plus, more), path.read_text()))
        elif path.name in ("vmstat", "memory.stat", "memory.events", "cpu.stat", "memory.oom_control"):
            text = path.read_text()
            for name, more in COUNTERS.items():
                text = re.sub(rf"(?m)(?<=^{name})\d+$", partial(plus, more), text)
            path.write_text(text)
        elif path.name == "memory.failcnt":
            path.write_text(f"{int(path.read_text()) + 3}\n")


def look(sink, root, count=count_on):
    """Start everything on *root*, let five seconds pass in which it counts on, and collect."""
    clock = FakeClock(1000.0)
    running = Running(probes(root, clock), Telemetry(**sink.providers))
    try:
        clock.now += 5.0
        count(root)
        for beat in running._telemetry.ticker._beats:
            beat.call()
        return sink.collect().as_dict(), [event.body for event in sink.events()]
    finally:
        running.stop()


def readable(points):
    """As it stands in the file: one line for each point."""
    return {
        f"{name}{{{', '.join(key)}}}": round(value, 6)
        for name, of_metric in sorted(points.items())
        for key, value in of_metric.items()
    }


@pytest.mark.skipif(mmap.PAGESIZE != 4096, reason="the files are for pages of 4 KiB")
@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_said_of_a_machine(name, machine, sink):
    """Each point of each metric, and no other, on each kind of machine and container."""
    points, events = look(sink, machine(name).root)
    found = {**readable(points), "events": events}

    file = MACHINES / name / "expected.json"
    if os.environ.get("WRITE_EXPECTED"):
        file.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(file.read_text()) == found


@pytest.mark.parametrize("name", NAMES)
def test_c_30_unreadable_files_give_nothing(name, machine, sink):
    """A directory where each file should be: it is there, and cannot be read."""
    root = machine(name).root
    for path in [*root.rglob("*")]:
        if path.is_file():
            path.unlink()
            path.mkdir()
    points, events = look(sink, root, count=lambda _root: None)

    assert ({}, []) == (only_from_files(points), events)


def only_from_files(found):
    """Without what directories say: how many threads and descriptors there are, and without constants."""
    others = (
        "cpython.thread.count",
        "process.thread.count",
        "process.unix.file_descriptor.count",
        "resinstr.process.thread.count.max",
        "resinstr.snat.port.limit",
    )
    return {name: points for name, points in found.items() if name not in others}


# Whatever may stand in such a file, but for a number that stands for itself.
NO_NUMBER = st.one_of(
    st.sampled_from(
        ["", "\n", "-1\n", "1.5\n", "0x10\n", "1_000\n", "١٢\n", "9" * 400, "max\n", "nan\n", "\0"]
    ),
    st.text("\n\t :=-.xyz\0\u0661"),
)


@pytest.mark.parametrize("name", ["kubernetes_v2", "docker_v1", "hybrid"])
@settings(max_examples=15)
@given(data=st.data())
def test_garbage_gives_nothing(name, data, tmp_path_factory):
    """Files of random content, and files of the right shape with something else for each number: no point, no error."""
    copied = Path(shutil.copytree(MACHINES / name, tmp_path_factory.mktemp("garbage") / name))
    shaped = data.draw(st.booleans())
    garbage = data.draw(NO_NUMBER)
    for path in [*copied.rglob("*")]:
        if path.is_file() and path.name not in ("cgroup", "mountinfo", "release_agent", "expected.json"):
            text = path.read_text()
            spoilt = re.sub(r"\d+", lambda _found: garbage.replace("\n", " "), text) if shaped else garbage
            path.write_text(spoilt, encoding="utf-8", errors="replace")
    sink = Sink()
    try:
        points, events = look(sink, copied, count=lambda _root: None)
    finally:
        sink.shutdown()

    assert ({}, []) == (only_from_files(points), events)


def test_5000_threads_are_counted(machine, sink):
    """However many there are; those of the fake are made here, five thousand files do not belong into git."""
    root = machine("no_cgroups").root
    for number in range(100, 5097):
        (root / f"proc/self/task/{number}").mkdir()
    found, _ = look(sink, root)

    assert {(): 5000} == found["process.thread.count"] == found["resinstr.process.thread.count.max"]
    assert {("main",): 0, ("native",): 5000} == found["cpython.thread.count"]


def test_a_namespace_changes_nothing():
    """A container in a cgroup namespace says of itself what it says without one; all other machines differ."""
    texts = {name: (MACHINES / name / "expected.json").read_text() for name in NAMES}

    assert texts["kubernetes_v2"] == texts["kubernetes_host_v2"]
    assert len(NAMES) - 1 == len({*texts.values()})
