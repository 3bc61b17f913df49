# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fakes import FakeClock
from otel_resinstr.host.container import Container
from otel_resinstr.semconv import (
    CONTAINER_MEMORY_AVAILABLE,
    CONTAINER_MEMORY_USAGE,
    CONTAINER_MEMORY_WORKING_SET,
    RESINSTR_CONTAINER_CPU_THROTTLED_TIME,
    RESINSTR_CONTAINER_MEMORY_EVENTS,
    RESINSTR_CONTAINER_MEMORY_LIMIT,
)

MIB = 1 << 20


def test_a_container_with_a_limit(collect, machine):
    """Usage, what of it is not idle page cache, the limit and what is left of it; events and throttling from 0."""
    assert {
        CONTAINER_MEMORY_USAGE.name: {(): 300 * MIB},
        CONTAINER_MEMORY_WORKING_SET.name: {(): 220 * MIB},
        CONTAINER_MEMORY_AVAILABLE.name: {(): 292 * MIB},
        RESINSTR_CONTAINER_MEMORY_LIMIT.name: {(): 512 * MIB},
        RESINSTR_CONTAINER_MEMORY_EVENTS.name: {("high",): 0, ("max",): 0, ("oom",): 0, ("oom_kill",): 0},
        RESINSTR_CONTAINER_CPU_THROTTLED_TIME.name: {(): 0.0},
    } == collect(Container(machine("kubernetes_v2").reading())).as_dict()


def test_a_worker_that_was_killed_shows(collect, start, machine):
    """The platform looks at the first process of a container; what happens to the others is in its events."""
    clock = FakeClock()
    container = machine("kubernetes_v2")
    start(Container(container.reading(clock)))
    clock.now += 60.0
    container.set("sys/fs/cgroup/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\n")
    container.set("sys/fs/cgroup/cpu.stat", "nr_throttled 8\nthrottled_usec 2750000\n")
    collected = collect()

    assert {("high",): 0, ("max",): 4, ("oom",): 1, ("oom_kill",): 1} == collected.points(
        RESINSTR_CONTAINER_MEMORY_EVENTS
    )
    assert 0.25 == collected.value(RESINSTR_CONTAINER_CPU_THROTTLED_TIME)


def test_the_limit_that_binds_may_be_an_ancestor_s(collect, machine):
    """Then usage and events are those of the ancestor: it is what comes up against the limit."""
    collected = collect(Container(machine("systemd_v2").reading()))

    assert (950 * MIB, 1024 * MIB) == (
        collected.value(CONTAINER_MEMORY_USAGE),
        collected.value(RESINSTR_CONTAINER_MEMORY_LIMIT),
    )


def test_counters_do_not_jump_when_another_limit_comes_to_bind(collect, start, machine):
    """They go on with what happens at the new place, from then on."""
    clock = FakeClock(1000.0)
    service = machine("systemd_v2")
    slices = "sys/fs/cgroup/system.slice/"
    service.set(slices + "memory.events", "high 0\nmax 90000\noom 40\noom_kill 37\n")
    service.set(slices + "memory.max", f"{1000 * MIB}\n")
    service.set(slices + "app.service/memory.max", f"{900 * MIB}\n")
    service.set(slices + "app.service/worker/memory.max", "max\n")
    service.set(slices + "cpu.stat", "throttled_usec 900000000\n")
    service.set(slices + "cpu.max", "100000 100000\n")
    service.set(slices + "app.service/cpu.max", "50000 100000\n")
    start(Container(service.reading(clock)))

    def told():
        collected = collect()
        events = collected.points(RESINSTR_CONTAINER_MEMORY_EVENTS)
        return events[("oom_kill",)], events[("max",)], collected.value(RESINSTR_CONTAINER_CPU_THROTTLED_TIME)

    before = told()
    service.set(slices + "app.service/memory.max", "max\n")
    service.set(slices + "app.service/cpu.max", "max 100000\n")
    clock.now += 10.0
    flipped = told()
    service.replace(slices + "memory.events", "oom_kill 37", "oom_kill 38")
    service.replace(slices + "cpu.stat", "900000000", "901500000")
    clock.now += 1.0

    assert ((0, 0, 0.0), (0, 0, 0.0), (1, 0, 1.5)) == (before, flipped, told())


def test_without_a_limit_there_is_nothing_left_of_it(collect, machine):
    """The usage is that of the own cgroup; neither "unlimited" nor infinity is a number."""
    for name in ("unlimited_v2", "app_service"):
        names = collect(Container(machine(name).reading())).names()
        assert [CONTAINER_MEMORY_USAGE.name, CONTAINER_MEMORY_WORKING_SET.name] == [
            each for each in names if "memory" in each and "event" not in each
        ]


def test_in_the_root_there_is_no_container(collect, machine):
    """What stands in the root's files is the machine's."""
    assert [] == collect(Container(machine("wsl").reading())).names()
    rooted = machine("docker_v1")
    rooted.set("sys/fs/cgroup/memory/release_agent", "")
    rooted.set("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    rooted.set("sys/fs/cgroup/cpu,cpuacct/release_agent", "")
    rooted.set("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")

    assert [] == collect(Container(rooted.reading())).names()


def test_a_working_set_is_never_below_zero(collect, machine):
    """The two files are read one after the other."""
    odd = machine("kubernetes_v2")
    odd.set("sys/fs/cgroup/memory.current", "1048576\n")
    collected = collect(Container(odd.reading()))

    assert (0, 512 * MIB) == (
        collected.value(CONTAINER_MEMORY_WORKING_SET),
        collected.value(CONTAINER_MEMORY_AVAILABLE),
    )


def test_more_than_the_limit_leaves_nothing(collect, machine):
    """A limit that was lowered below what is used."""
    full = machine("kubernetes_v2")
    full.set("sys/fs/cgroup/memory.current", f"{700 * MIB}\n")

    assert 0 == collect(Container(full.reading())).value(CONTAINER_MEMORY_AVAILABLE)


def test_without_its_parts_the_usage_still_stands(collect, machine):
    """No working set is made up from a file that is not there, and nothing left of the limit either."""
    bare = machine("kubernetes_v2")
    for name in ("memory.stat", "memory.events", "cpu.stat"):
        (bare.root / "sys/fs/cgroup" / name).unlink()

    assert [CONTAINER_MEMORY_USAGE.name, RESINSTR_CONTAINER_MEMORY_LIMIT.name] == collect(
        Container(bare.reading())
    ).names()
