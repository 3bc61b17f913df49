# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mmap
from types import SimpleNamespace

from otel_resinstr.host import HostReading
from otel_resinstr.host.neighbours import Neighbours
from otel_resinstr.semconv import RESINSTR_MEMORY_USAGE

MIB = 1 << 20


def shares(collected):
    return {owner: size for (owner,), size in collected.points(RESINSTR_MEMORY_USAGE).items()}


def statm(size):
    return f"60000 {size // mmap.PAGESIZE} 3000 1 0 20000 0\n"


def test_a_second_slot_beside_the_first(collect, machine):
    """What a slot of an App Service plan looks like from inside: its process, its container, and most is others'."""
    plan = machine("app_service")
    plan.set("proc/self/statm", statm(200 * MIB))

    assert {"process": 200 * MIB, "container": 350 * MIB, "others": 2522 * MIB} == shares(
        collect(Neighbours(plan.reading()))
    )


def test_without_a_container_there_are_two(collect, machine):
    """The process, and the rest of the machine."""
    desktop = machine("wsl")
    desktop.set("proc/self/statm", statm(200 * MIB))

    assert {"process": 200 * MIB, "others": 824 * MIB} == shares(collect(Neighbours(desktop.reading())))


def test_no_share_is_negative(collect, machine):
    """A process that shares memory has more than its container is charged for; a container may see itself only."""
    odd = machine("kubernetes_v2")
    odd.set("proc/self/statm", statm(400 * MIB))
    odd.replace("proc/meminfo", "MemAvailable:   10485760 kB", "MemAvailable:   16777216 kB")

    assert {"process": 400 * MIB, "container": 0, "others": 0} == shares(collect(Neighbours(odd.reading())))


def test_what_is_not_known_is_absent(collect, machine):
    """Without the working set nobody knows what of the rest is others'."""
    bare = machine("kubernetes_v2")
    (bare.root / "sys/fs/cgroup/memory.stat").unlink()
    assert {"process"} == set(shares(collect(Neighbours(bare.reading()))))

    (bare.root / "proc/self/statm").unlink()
    assert {} == shares(collect(Neighbours(bare.reading())))


def test_without_proc_psutil_knows_the_two(collect, tmp_path):
    """On macOS and Windows."""
    reading = HostReading(
        tmp_path,
        machine=lambda: SimpleNamespace(total=1000, free=300, available=400),
        process=lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=150)),
    )

    assert {"process": 150, "others": 450} == shares(collect(Neighbours(reading)))
