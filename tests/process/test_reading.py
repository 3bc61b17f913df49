# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mmap
import os
import sys
from types import SimpleNamespace

import psutil
import pytest

from fakes import MACHINES, FakeClock, FakeProcess, denied, fake_resource, run
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.reading import CpuTimes, DiskBytes, Faults, Memory, Switches

MIB = 1 << 20
GIB = 1 << 30
USAGE = {
    "ru_utime": 1.5,
    "ru_stime": 0.25,
    "ru_maxrss": 5000,
    "ru_minflt": 400,
    "ru_majflt": 3,
    "ru_nvcsw": 70,
    "ru_nivcsw": 5,
}
EVERYTHING = (
    "cpu_times",
    "cpus",
    "memory",
    "memory_limit",
    "memory_peak",
    "faults",
    "switches",
    "threads",
    "descriptors",
    "descriptor_limit",
    "handles",
    "disk",
    "create_time",
)


def everything(reading):
    return {name: getattr(reading, name)() for name in EVERYTHING}


def machine_of(size):
    return lambda: SimpleNamespace(total=size)


def test_a_process_on_linux():
    """Nearly all comes from /proc and one system call; psutil adds the CPUs and the time of creation."""
    reading = ProcessReading(
        MACHINES / "kubernetes_v2",
        process=lambda pid: FakeProcess(cpu_affinity=[0, 1, 2, 3], create_time=1e9),
        machine=machine_of(8 * GIB),
        resource=fake_resource(**USAGE),
    )

    assert {
        "cpu_times": CpuTimes(user=1.5, system=0.25),
        "cpus": 1.5,
        "memory": Memory(usage=20000 * mmap.PAGESIZE, virtual=60000 * mmap.PAGESIZE),
        "memory_limit": 512 * MIB,
        "memory_peak": 90000 * 1024,
        "faults": Faults(major=3, minor=400),
        "switches": Switches(voluntary=70, involuntary=5),
        "threads": 3,
        "descriptors": 5,  # One of the six is the one that the listing has open.
        "descriptor_limit": 1024,
        "handles": None,
        "disk": DiskBytes(read=81920, write=40960),
        "create_time": 1e9,
    } == everything(reading)


def test_a_process_on_macos(tmp_path):
    """Without /proc, psutil knows the counts and the memory, and the system call the rest."""
    process = FakeProcess(
        memory_info=SimpleNamespace(rss=100, vms=400), num_threads=9, num_fds=12, create_time=1e9
    )
    reading = ProcessReading(
        tmp_path,
        process=lambda pid: process,
        machine=machine_of(16 * GIB),
        resource=fake_resource(**USAGE),
    )

    assert {
        "cpu_times": CpuTimes(user=1.5, system=0.25),
        "cpus": os.cpu_count(),
        "memory": Memory(usage=100, virtual=400),
        "memory_limit": 16 * GIB,
        "memory_peak": 5000 if sys.platform == "darwin" else 5000 * 1024,
        "faults": Faults(major=3, minor=400),
        "switches": Switches(voluntary=70, involuntary=5),
        "threads": 9,
        "descriptors": 12,
        "descriptor_limit": 1024,
        "handles": None,
        "disk": None,
        "create_time": 1e9,
    } == everything(reading)


def test_a_process_on_windows(tmp_path):
    """psutil knows what there is: handles, and neither descriptors nor a limit of them."""
    process = FakeProcess(
        cpu_times=SimpleNamespace(user=2.0, system=1.0, children_user=0.0, children_system=0.0),
        cpu_affinity=[0, 1],
        memory_info=SimpleNamespace(rss=100, vms=400, peak_wset=150),
        num_threads=9,
        num_handles=321,
        create_time=1e9,
    )
    reading = ProcessReading(
        tmp_path, process=lambda pid: process, machine=machine_of(4 * GIB), resource=None
    )

    assert {
        "cpu_times": CpuTimes(user=2.0, system=1.0),
        "cpus": 2,
        "memory": Memory(usage=100, virtual=400),
        "memory_limit": 4 * GIB,
        "memory_peak": 150,
        "faults": None,
        "switches": None,
        "threads": 9,
        "descriptors": None,
        "descriptor_limit": None,
        "handles": 321,
        "disk": None,
        "create_time": 1e9,
    } == everything(reading)


def test_a_process_that_may_not_look_at_itself(tmp_path):
    """All is unknown but the CPUs of the machine: no error, no zero."""

    def no_machine():
        raise PermissionError

    reading = ProcessReading(tmp_path, process=denied, machine=no_machine, resource=None)

    assert {**dict.fromkeys(EVERYTHING), "cpus": os.cpu_count()} == everything(reading)


@pytest.mark.parametrize(
    "error", [psutil.AccessDenied(), psutil.NoSuchProcess(1), NotImplementedError(), OSError()]
)
def test_what_psutil_refuses_is_unknown(tmp_path, error):
    """Each way in which psutil says that it cannot tell."""

    def refuse():
        raise error

    reading = ProcessReading(tmp_path, process=lambda pid: SimpleNamespace(pid=pid, num_threads=refuse))

    assert reading.threads() is None


@pytest.mark.parametrize(
    "text", ["", "nonsense", "VmHWM:", "read_bytes: many\nwrite_bytes: 1\n", "read_bytes: 1\n"]
)
def test_files_that_are_not_understood_are_unknown(tmp_path, text):
    """A /proc that is not quite Linux's gives nothing instead of something wrong."""
    for name in ("statm", "status", "io"):
        file = tmp_path / "proc" / "self" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    reading = ProcessReading(tmp_path, process=denied, resource=None)

    assert (None, None, None) == (reading.memory(), reading.memory_peak(), reading.disk())


def test_an_unlimited_number_of_descriptors_is_no_limit():
    """Infinity is not a number that a dashboard can show."""
    assert ProcessReading(resource=fake_resource(soft_limit=-1)).descriptor_limit() is None


def test_the_machine_binds_where_the_cgroup_allows_more():
    """A container that may use more than there is can use what there is."""
    reading = ProcessReading(
        MACHINES / "kubernetes_v2",
        process=lambda pid: FakeProcess(cpu_affinity=[0]),
        machine=machine_of(256 * MIB),
    )

    assert (256 * MIB, 1) == (reading.memory_limit(), reading.cpus())


def test_the_size_of_the_machine_is_read_once():
    """It does not change, and reading it costs more than all else."""
    asked = []

    def machine():
        asked.append(1)
        return SimpleNamespace(total=GIB)

    clock = FakeClock()
    reading = ProcessReading(MACHINES / "desktop_v1", machine=machine, clock=clock)
    first = reading.memory_limit()
    clock.now = 60.0

    assert (GIB, GIB, [1]) == (first, reading.memory_limit(), asked)


def test_limits_are_read_again_after_ten_seconds(tmp_path):
    """They hardly ever change, and are a fifth of what a collection costs."""
    clock = FakeClock()
    reading = ProcessReading(
        tmp_path,
        process=lambda pid: FakeProcess(cpu_affinity=[0, 1]),
        machine=machine_of(8 * GIB),
        clock=clock,
    )
    assert (2, 8 * GIB) == (reading.cpus(), reading.memory_limit())

    reading._process.cpu_affinity = lambda: [0]
    clock.now = 9.9
    assert 2 == reading.cpus()

    clock.now = 10.0
    assert 1 == reading.cpus()


def test_it_agrees_with_psutil():
    """Where psutil tells the same by another way, it tells the same."""
    reading, process = ProcessReading(), psutil.Process()

    assert process.create_time() == reading.create_time()
    assert process.memory_info().rss == pytest.approx(reading.memory().usage, rel=0.05)
    assert process.memory_info().vms == pytest.approx(reading.memory().virtual, rel=0.05)
    assert sum(process.cpu_times()[:2]) == pytest.approx(sum(reading.cpu_times()), abs=0.1)
    assert 0 < reading.memory_limit() <= psutil.virtual_memory().total
    assert 0 < reading.cpus() <= psutil.cpu_count()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_reads_itself():
    """The same object, in a child, asks about the child, also where psutil was asked before."""
    parent, child, asked = run("""
from otel_resinstr.process.reading import psutil

asked = []

def process(pid):
    asked.append(pid == os.getpid())
    return psutil.Process(pid)

reading = ProcessReading("/nowhere", process=process)
reading.memory()
parent = reading.create_time()
print(json.dumps((parent, *forked(lambda: (reading.create_time(), asked)))))
""")

    assert child >= parent
    assert [True, True] == asked
