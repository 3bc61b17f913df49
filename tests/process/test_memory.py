# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mmap
import sys

import pytest

from fakes import MACHINES, FakeReading, run
from otel_resinstr.process import ProcessReading, reading
from otel_resinstr.process.memory import Memory
from otel_resinstr.semconv import (
    PROCESS_MEMORY_USAGE,
    PROCESS_MEMORY_UTILIZATION,
    PROCESS_MEMORY_VIRTUAL,
    RESINSTR_PROCESS_MEMORY_PEAK,
)

MIB = 1 << 20


def touched(size):
    memory = mmap.mmap(-1, size)
    for page in range(0, size, mmap.PAGESIZE):
        memory[page] = 1
    return memory


def test_memory_and_its_share_of_the_limit(collect):
    """The four metrics, for a process in a container of 512 MiB."""
    usage = 20000 * mmap.PAGESIZE

    assert {
        PROCESS_MEMORY_USAGE.name: {(): usage},
        PROCESS_MEMORY_VIRTUAL.name: {(): 60000 * mmap.PAGESIZE},
        PROCESS_MEMORY_UTILIZATION.name: {(): usage / (512 * MIB)},
        RESINSTR_PROCESS_MEMORY_PEAK.name: {(): 90000 * 1024},
    } == collect(Memory(ProcessReading(MACHINES / "kubernetes_v2"))).as_dict()


def test_without_a_limit_there_is_no_share(collect):
    """A limit that is not known is not made up."""
    process = FakeReading(memory=reading.Memory(usage=10, virtual=20), memory_peak=15)

    assert {
        PROCESS_MEMORY_USAGE.name: {(): 10},
        PROCESS_MEMORY_VIRTUAL.name: {(): 20},
        RESINSTR_PROCESS_MEMORY_PEAK.name: {(): 15},
    } == collect(Memory(process)).as_dict()


def test_unknown_memory_is_absent(collect):
    """A limit alone is no share either."""
    assert {} == collect(Memory(FakeReading(memory_limit=1000))).as_dict()


def test_memory_that_is_touched_shows(collect, start):
    """64 MiB more are 64 MiB more, and the peak remembers them when they have gone."""
    start(Memory(ProcessReading()))
    before = collect()
    memory = touched(64 * MIB)
    with_it = collect()
    memory.close()
    after = collect()

    def grown(metric, collected):
        return pytest.approx((collected.value(metric) - before.value(metric)) / MIB, abs=8)

    assert 64 == grown(PROCESS_MEMORY_USAGE, with_it)
    assert 64 == grown(PROCESS_MEMORY_VIRTUAL, with_it)
    assert 0 == grown(PROCESS_MEMORY_USAGE, after)
    assert after.value(RESINSTR_PROCESS_MEMORY_PEAK) >= with_it.value(PROCESS_MEMORY_USAGE) - 4 * MIB
    assert 0 < before.value(PROCESS_MEMORY_UTILIZATION) < with_it.value(PROCESS_MEMORY_UTILIZATION) < 1


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_reports_its_own_memory():
    """What the child allocates is in its points, and not in the parent's, whichever came first."""
    before, child, after = run("""
import mmap
from otel_resinstr.process.memory import Memory

start(Memory(ProcessReading()))
before = collect()

def in_child():
    memory = mmap.mmap(-1, 64 << 20)
    memory.write(b"x" * (64 << 20))
    return collect()

child = forked(in_child)
print(json.dumps((before, child, collect())))
""")

    def usage(points):
        return points[PROCESS_MEMORY_USAGE.name][""]

    assert usage(child) - usage(before) > 48 * MIB
    assert usage(after) - usage(before) < 16 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands the figure on")
def test_the_peak_of_whoever_started_the_process_is_not_its_peak():
    """A small process that a large one starts has a small peak."""
    parent, child = run("""
import subprocess
memory = b"x" * (256 << 20)
program = "from otel_resinstr.process import ProcessReading; print(ProcessReading().memory_peak())"
child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
print(json.dumps((ProcessReading().memory_peak(), int(child.stdout))))
""")

    assert parent > 256 * MIB > 128 * MIB > child
