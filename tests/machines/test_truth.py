# SPDX-License-Identifier: Apache-2.0
"""A process that does a known amount of each thing: each metric moves by that, and no other one does.

It runs by itself, so that nothing else moves them. Tolerances are said where they stand; nothing depends on how long
anything takes on the clock on the wall.
"""

from __future__ import annotations

import sys

import pytest

from fakes import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process")

MIB = 1 << 20

STEPS = """
import mmap, threading
import otel_resinstr

settings = otel_resinstr.Settings(disabled_probes=("*.peaks", "host.shortage"), gc_pauses=True)
otel_resinstr.instrument(settings, **sink.providers)
settled()
steps = {}

def step(name):
    steps[name] = collect()

step("begin")
memory = mmap.mmap(-1, 96 << 20)
step("allocated")
for page in range(0, 96 << 20, mmap.PAGESIZE):
    memory[page] = 1
step("touched")
memory.close()
step("freed")
kept = [object() for _ in range(200_000)]
step("objects")
opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
step("opened")
for descriptor in opened:
    os.close(descriptor)
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(20)]
for thread in threads:
    thread.start()
step("threads")
end.set()
for thread in threads:
    thread.join()
settled()
step("joined")
begin = os.times()
while os.times().user - begin.user < 0.6:
    for _ in range(1000):
        pass
step("user")
begin = os.times()
with open("/dev/zero", "rb", buffering=0) as zero:
    buffer = bytearray(1 << 20)
    while os.times().system - begin.system < 0.6:
        zero.readinto(buffer)
step("system")
import gc
for _ in range(5):
    gc.collect()
step("collected")

def in_child():
    grown = mmap.mmap(-1, 64 << 20)
    grown.write(b"x" * (64 << 20))
    return collect()

child = forked(in_child)
step("forked")
otel_resinstr.uninstrument()
print(json.dumps((steps, child)))
"""


@pytest.fixture(scope="module")
def steps():
    return run(STEPS)


def moved(steps, name, key=""):
    """A function: by how much the metric moved from one step to another."""

    def between(before, after):
        return steps[0][after][name][key] - steps[0][before][name][key]

    return between


def test_memory(steps):
    """Allocated memory is virtual, touched memory is resident: 96 MiB, right to 4, and gone when it is freed."""
    usage, virtual = moved(steps, "process.memory.usage"), moved(steps, "process.memory.virtual")

    assert (0, 96) == pytest.approx(
        (usage("begin", "allocated") / MIB, virtual("begin", "allocated") / MIB), abs=4
    )
    assert (96, 0) == pytest.approx(
        (usage("allocated", "touched") / MIB, virtual("allocated", "touched") / MIB), abs=4
    )
    assert (-96, -96) == pytest.approx(
        (usage("touched", "freed") / MIB, virtual("touched", "freed") / MIB), abs=4
    )
    peak = steps[0]["freed"]["resinstr.process.memory.peak"][""]
    # The kernel brings it up to date every now and then.
    assert peak >= steps[0]["touched"]["process.memory.usage"][""] - 4 * MIB
    assert 96 == pytest.approx(
        moved(steps, "resinstr.memory.usage", "process")("allocated", "touched") / MIB, abs=4
    )


def test_utilization_is_usage_by_limit(steps):
    """One limit for the whole run: the quotients agree to a thousandth."""
    limits = [
        step["process.memory.usage"][""] / step["process.memory.utilization"][""]
        for step in steps[0].values()
    ]

    assert [pytest.approx(limits[0], rel=1e-3)] * len(limits) == limits


def test_faults(steps):
    """Each page that is touched is a minor fault, or each huge page where there are such: 96 MiB are 48 at least."""
    minor = moved(steps, "process.paging.faults", "minor")

    assert 48 <= minor("allocated", "touched") <= 96 * 256 + 4000
    assert minor("touched", "freed") < 4000


def test_blocks(steps):
    """200,000 objects are as many blocks, right to a twentieth."""
    assert 200_000 == pytest.approx(
        moved(steps, "cpython.memory.allocated_blocks")("freed", "objects"), rel=0.05
    )


def test_descriptors(steps):
    """50 more, then as many as before; exactly."""
    descriptors = moved(steps, "process.unix.file_descriptor.count")

    assert (50, 0) == (descriptors("objects", "opened"), descriptors("objects", "threads"))


def test_threads(steps):
    """20 more, then as many as before; exactly, by the system's count and by Python's."""
    count = moved(steps, "process.thread.count")
    other = moved(steps, "cpython.thread.count", "_other")

    assert (20, 0) == (count("opened", "threads"), count("opened", "joined"))
    assert 20 == steps[0]["threads"]["cpython.thread.count"]["_other"]
    assert -20 == other("threads", "joined")
    assert {0} == {step["cpython.thread.count"]["native"] for step in steps[0].values()}


def test_cpu_time_by_mode(steps):
    """0.6 s of user time, then 0.6 s of system time; right to 0.25 s for what the other mode and collecting take."""
    user, system = moved(steps, "process.cpu.time", "user"), moved(steps, "process.cpu.time", "system")

    assert user("joined", "user") == pytest.approx(0.6, abs=0.25)
    assert system("user", "system") == pytest.approx(0.6, abs=0.25)
    assert user("user", "system") < 0.6


def test_garbage_collections(steps):
    """Five of the oldest generation, exactly but for one that may come by itself; and they took some time."""
    assert 5 <= moved(steps, "cpython.gc.collections", "2")("system", "collected") <= 6
    assert moved(steps, "cpython.gc.pause.time", "2")("system", "collected") > 0


def test_parent_and_child_apart(steps):
    """64 MiB of the child's, right to 8, that the parent does not have; the child's counters began at the fork."""
    parent, child = steps[0]["collected"], steps[1]

    assert abs(moved(steps, "process.memory.usage")("collected", "forked")) < 8 * MIB
    assert child["process.memory.usage"][""] > 56 * MIB
    assert child["process.cpu.time"]["user"] < parent["process.cpu.time"]["user"]
    assert child["cpython.gc.collections"]["2"] <= 1
    assert {*child} <= {*parent} | {"process.cpu.utilization", "cpython.gc.pause.max"}
    first = steps[0]["begin"]
    assert "process.cpu.utilization" not in first or sum(first["process.cpu.utilization"].values()) < 1.5
