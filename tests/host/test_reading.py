# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes import FakeClock
from otel_resinstr import host
from otel_resinstr.host.reading import RESOURCES, Machine, Stall, Swap

MIB = 1 << 20
GIB = 1 << 30


def reasons(sources):
    return {source.name: source.reason for source in sources}


def test_what_can_be_read_and_what_not_and_why(machine):
    """For each source where it is, and in words why it is absent: what `resinstr doctor` has to say."""
    odd = machine("kubernetes_v2")
    odd.set("proc/vmstat", "nonsense\n")
    (odd.root / "proc/pressure/io").unlink()
    (odd.root / "sys/fs/cgroup/cpu.stat").unlink()
    (odd.root / "sys/fs/cgroup/cpu.stat").mkdir()
    sources = odd.reading().sources()

    assert {
        "memory of the machine": None,
        "paging of the machine": "it does not say what it should",
        "memory of this process": None,
        "memory of the container": None,
        "memory of the container by kind": None,
        "events of the container": None,
        "CPU of the container": "it cannot be read: Is a directory",
        "pressure on memory (system)": None,
        "pressure on memory (container)": None,
        "pressure on cpu (system)": None,
        "pressure on cpu (container)": None,
        "pressure on io (system)": "there is no such file",
        "pressure on io (container)": None,
        "swap space": "the machine has none",
    } == reasons(sources)
    assert f"{odd.root}/sys/fs/cgroup/memory.current" in {source.place for source in sources}


def test_version_1_and_no_cgroups(machine):
    """A process in the root, or in no cgroup that is shown, is one without a container."""
    v1, none = (
        reasons(machine("docker_v1").reading().sources()),
        reasons(machine("no_cgroups").reading().sources()),
    )

    assert (None, "it does not say what it should", "there is no such file") == (
        v1["limit hit"],
        v1["OOM kills"],
        v1["pressure on cpu (system)"],
    )
    assert "the process is in none that is shown, or in the root" == none["cgroup for memory"]


def test_this_machine_can_be_asked():
    """The public function: whatever the machine is, each source has a name, a place, and a reason or none."""
    sources = host.sources()

    assert len(sources) >= 5
    assert {str} == {type(text) for source in sources for text in source[:2]}
    assert len(sources) == len({source.name for source in sources})


def test_a_file_is_read_once_for_all_metrics_of_a_collection(machine):
    """Within a few milliseconds; afterwards it is read again."""
    clock = FakeClock(1000.0)
    changing = machine("kubernetes_v2")
    reading = changing.reading(clock)
    first = reading.memory()
    changing.replace("proc/meminfo", "MemFree:         2097152", "MemFree:         1048576")
    clock.now += 0.01
    at_once = reading.memory()
    clock.now += 0.02

    assert (first, 2 * GIB, 1 * GIB) == (at_once, first.free, reading.memory().free)


def test_where_the_container_is_is_found_again_after_ten_seconds(machine):
    """A limit that was set on a running container."""
    clock = FakeClock(1000.0)
    changing = machine("kubernetes_v2")
    reading = changing.reading(clock)
    limits = [reading.container().limit]
    changing.set("sys/fs/cgroup/memory.max", f"{64 * MIB}\n")
    for seconds in (9.0, 1.0):
        clock.now += seconds
        limits.append(reading.container().limit)

    assert [512 * MIB, 512 * MIB, 64 * MIB] == limits


def test_a_machine_that_says_little(machine):
    """What is missing is None, the rest is there; a swap space with more free than there is, is none."""
    little = machine("no_cgroups")
    little.set("proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1024 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB\n")
    reading = little.reading()

    assert (Machine(2 * MIB, MIB, None), None) == (reading.memory(), reading.swap())


@pytest.mark.parametrize("text", ["MemFree: 1 kB\n", "MemTotal: 0 kB\nMemFree: 0 kB\n", "MemTotal: 1 kB\n"])
def test_a_machine_without_memory_is_not_understood(machine, text):
    """A total is what all else is a share of."""
    odd = machine("no_cgroups")
    odd.set("proc/meminfo", text)

    assert odd.reading().memory() is None


def test_pressure_can_be_asked_for_one_resource(machine):
    """Whoever needs one file reads one."""
    stalls = machine("kubernetes_v2").reading().stalls(["memory"])

    assert {
        Stall("memory", "some", "system"): 0.7,
        Stall("memory", "full", "system"): 0.3,
        Stall("memory", "some", "container"): 0.06,
        Stall("memory", "full", "container"): 0.02,
    } == stalls
    assert "memory" in RESOURCES


def test_a_file_that_was_just_read_is_not_taken_for_another_group_s(machine):
    """A reading is good for a moment, but not for the group whose limit binds since that moment."""
    clock = FakeClock(1000.0)
    service = machine("systemd_v2")
    slices = "sys/fs/cgroup/system.slice/"
    service.set(slices + "memory.events", "oom_kill 37\n")
    service.set(slices + "app.service/memory.events", "oom_kill 2\n")
    service.set(slices + "memory.max", f"{1000 * MIB}\n")
    service.set(slices + "app.service/memory.max", f"{900 * MIB}\n")
    reading = service.reading(clock)
    reading.memory_events()
    clock.now += 9.99
    before = reading.memory_events()
    service.set(slices + "app.service/memory.max", "max\n")
    clock.now += 0.01
    after = reading.memory_events()

    assert ({"oom_kill": 2}, {"oom_kill": 37}, False) == (
        before.counts,
        after.counts,
        before.where == after.where,
    )


def test_version_2_without_any_known_event(machine):
    """A file of other events is not understood, and none of ours is a zero."""
    odd = machine("kubernetes_v2")
    odd.set("sys/fs/cgroup/memory.events", "low 0\nsock_throttled 3\n")

    assert {} == odd.reading().memory_events().counts


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux only")
def test_it_agrees_with_this_machine():
    """What the files say, read here in another way."""
    reading = host.HostReading()
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total = int(meminfo["MemTotal"].split()[0]) * 1024
    swap = reading.swap() or Swap(0, 0)

    assert total == reading.memory().total
    assert int(meminfo["SwapTotal"].split()[0]) * 1024 == sum(swap)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident == pytest.approx(reading.own(), abs=64 * MIB)


@pytest.mark.parametrize("name", ["memory.stat", "cpu.stat"])
def test_a_file_without_its_line_is_not_understood(machine, name):
    """The kernel has the file, and not what we look for in it."""
    odd = machine("kubernetes_v2")
    odd.set(f"sys/fs/cgroup/{name}", "usage_usec 1\nanon 1\n")
    reading = odd.reading()

    assert [None, None] == {
        "memory.stat": [reading.container().working_set, reading.container().left],
        "cpu.stat": [reading.throttled().counts.get("throttled"), None],
    }[name]


def test_paging_of_a_kernel_that_counts_nothing_of_it(machine):
    """A file without any line of ours."""
    odd = machine("no_cgroups")
    odd.set("proc/vmstat", "nr_free_pages 1\n")

    assert odd.reading().paging() is None
