# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from fakes import FakeClock
from otel_resinstr.host.shortage import Finding, Shortage

MIB = 1 << 20
OWN = 20000 * 4096 // MIB
CGROUP = "sys/fs/cgroup/"


class Watched:
    """A machine that is looked at every ten seconds."""

    def __init__(self, machine, start, sink):
        self.machine = machine
        self.clock = FakeClock(1000.0)
        self.sink = sink
        self.probe = Shortage(machine.reading(self.clock), self.clock)
        self.running = start(self.probe, clock=self.clock)

    def passes(self, seconds=10.0):
        """Let time pass; what has been said in all since the beginning."""
        self.clock.now += seconds
        self.probe._look()
        return [(event.body, dict(event.attributes)) for event in self.sink.events()]


@pytest.fixture
def watched(machine, start, sink):
    return lambda name: Watched(machine(name), start, sink)


def used(watched, anon, inactive=80, active=30):
    """The container has so many MiB in use that cannot be given back, and so much page cache."""
    watched.machine.set(CGROUP + "memory.current", f"{(anon + inactive + active) * MIB}\n")
    watched.machine.set(
        CGROUP + "memory.stat",
        f"anon {anon * MIB}\ninactive_file {inactive * MIB}\nactive_file {active * MIB}\npgmajfault 12\n",
    )


def stalled(watched, seconds):
    watched.machine.set(CGROUP + "memory.pressure", f"some avg10=0.00 total={60000 + int(seconds * 1e6)}\n")


def test_a_container_without_room_says_so_in_one_line(watched):
    """Whose it is, by which figures, whose the memory is, and what to do."""
    container = watched("kubernetes_v2")
    used(container, 490, 5, 5)
    stalled(container, 3.1)
    container.machine.replace(CGROUP + "memory.stat", "pgmajfault 12", "pgmajfault 4132")
    container.machine.replace(CGROUP + "memory.events", "oom_kill 1", "oom_kill 2")
    container.machine.set("proc/self/statm", "90000 80000 3000 1 0 20000 0\n")

    line = (
        "the container is short of memory: 490 of 512 MiB in use beside page cache (96%); tasks stalled for memory "
        "31% of the time; 412 major faults a second; 1 killed for want of memory; in use on the machine: 312 MiB this "
        "process, 182 MiB the rest of its container, 5649 MiB others. Look for what grows in this process "
        "(OTEL_RESINSTR_TRACEMALLOC=1 names the lines), or raise the limit"
    )
    assert [
        (
            line,
            {
                "resinstr.memory.pressure.scope": "container",
                "resinstr.memory.pressure.limit": 512 * MIB,
                "resinstr.memory.pressure.usage": 490 * MIB,
                "resinstr.memory.pressure.stall": pytest.approx(0.31),
                "resinstr.memory.pressure.major_faults": 412.0,
                "resinstr.memory.pressure.oom_kills": 1,
                "resinstr.memory.pressure.process": 80000 * 4096,
                "resinstr.memory.pressure.container": 495 * MIB - 80000 * 4096,
                "resinstr.memory.pressure.others": 6144 * MIB - 495 * MIB,
            },
        )
    ] == container.passes()


def test_page_cache_that_fills_memory_is_no_shortage(watched):
    """A container that has read many files is at its limit all the time, and well; so is a machine."""
    container = watched("kubernetes_v2")
    used(container, 150, 300, 62)
    container.machine.set(
        "proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 100000 kB\nMemAvailable: 9000000 kB\n"
    )

    assert [] == container.passes()


@pytest.mark.parametrize(
    ("change", "short"),
    [
        ({}, False),
        ({"oom_kills": 1}, True),
        ({"stall": 0.09}, False),
        ({"stall": 0.1}, True),
        ({"usage": 950}, True),
        ({"usage": 949}, False),
        ({"usage": 910, "major_faults": 9.0}, False),
        ({"usage": 910, "major_faults": 10.0}, True),
        ({"usage": 890, "major_faults": 1000.0}, False),
        ({"scope": "machine", "stall": 0.5}, False),  # a neighbour comes up against a limit of its own
        ({"scope": "machine", "stall": 0.5, "usage": 810}, True),
        ({"scope": "machine", "oom_kills": 1, "usage": 800}, False),  # as above
        ({"scope": "machine", "oom_kills": 1, "usage": 801}, True),
        ({"limit": None, "usage": 1 << 40, "major_faults": 1000.0}, False),
        ({"limit": None, "stall": 0.1}, True),
        ({"limit": None, "oom_kills": 1}, True),
        ({"scope": "machine", "usage": 950}, True),
        # 256 GiB, of which a twentieth is more than any request takes
        ({"scope": "machine", "limit": 262144 * MIB, "usage": 249856 * MIB}, False),
        ({"scope": "machine", "limit": 262144 * MIB, "usage": 261631 * MIB}, False),
        ({"scope": "machine", "limit": 262144 * MIB, "usage": 261632 * MIB}, True),
        ({"scope": "machine", "limit": 262144 * MIB, "usage": 261119 * MIB, "major_faults": 99.0}, False),
        ({"scope": "machine", "limit": 262144 * MIB, "usage": 261120 * MIB, "major_faults": 99.0}, True),
        ({"stall": None, "major_faults": None, "oom_kills": None}, False),
        ({"stall": None, "major_faults": None, "oom_kills": None, "usage": 960}, True),
    ],
)
def test_what_is_a_shortage(change, short):
    """Each of the signs by itself, just below and just at its threshold; what is unknown is no sign."""
    calm = Finding("container", limit=1000, usage=500, stall=0.0, major_faults=0.0, oom_kills=0)

    assert short == calm._replace(**change).short


def test_a_neighbour_that_eats_the_machine(watched):
    """A second slot of the plan: the container has no limit, the machine has nothing left, and others have it."""
    plan = watched("app_service")
    plan.machine.replace("proc/meminfo", "MemAvailable:     524288", "MemAvailable:     122880")

    ((message, attributes),) = plan.passes()
    assert message.startswith(
        "the machine is short of memory: 3464 of 3584 MiB in use beside page cache (97%); "
    )
    assert message.endswith(
        "others. Others have most of it: move one of them (a second slot, another service), or take a larger machine"
    )
    assert ("machine", False) == (
        attributes["resinstr.memory.pressure.scope"],
        "resinstr.memory.pressure.stall" in attributes,  # there is no pressure information on that machine
    )


def test_too_many_workers(watched):
    """The rest of the container has more than the process."""
    container = watched("kubernetes_v2")
    used(container, 490, 5, 5)

    ((message, _),) = container.passes()
    assert message.endswith("have most of it: run fewer workers, or raise the limit")


def test_the_same_shortage_is_said_once_a_minute(watched):
    """What was held back is counted."""
    container = watched("kubernetes_v2")
    used(container, 490)
    seen = [len(container.passes()) for _ in range(8)]

    assert [1, 1, 1, 1, 1, 1, 2, 2] == seen
    assert "(5 more since the last report)" in container.passes()[1][0]


def test_a_kill_is_said_although_memory_was_short_before(watched):
    """It is news, at most once a minute itself."""
    container = watched("kubernetes_v2")
    used(container, 490)
    container.passes()
    for kills in (2, 3):
        container.machine.set(CGROUP + "memory.events", f"oom_kill {kills}\n")
        container.passes()

    assert [0, 1] == [
        attributes["resinstr.memory.pressure.oom_kills"] for _, attributes in container.passes()
    ]


def test_a_shortage_that_is_over_is_not_said(watched):
    """Each look judges the time since the last one."""
    container = watched("kubernetes_v2")
    stalled(container, 3.0)
    first = container.passes()
    for _ in range(10):
        container.passes()

    assert 1 == len(first) == len(container.passes())


def test_what_was_there_before_the_probe_is_not_said(watched):
    """A container in which a process was killed yesterday starts in peace, and so does a forked child."""
    container = watched("kubernetes_v2")
    before = container.passes()
    container.clock.now += 5.0
    container.machine.replace(CGROUP + "memory.events", "oom_kill 1", "oom_kill 2")
    container.probe._begin()  # what the fork calls

    assert ([], []) == (before, container.passes())


def test_kills_on_a_machine_without_cgroups(watched):
    """The machine's own count, which may be of another container: ours where the machine has little left."""
    machine = watched("no_cgroups")
    machine.machine.replace("proc/vmstat", "oom_kill 0", "oom_kill 1")
    of_others = machine.passes()
    machine.machine.replace("proc/vmstat", "oom_kill 1", "oom_kill 3")
    machine.machine.replace("proc/meminfo", "MemAvailable:    2097152", "MemAvailable:     800000")

    assert [] == of_others
    ((message, attributes),) = machine.passes()
    assert "; 2 killed for want of memory; " in message
    assert 2 == attributes["resinstr.memory.pressure.oom_kills"]


def test_a_container_without_a_limit_is_held_back(watched):
    """By memory.high its tasks are stalled although the machine has room; and a kill of its own is its own."""
    container = watched("kubernetes_v2")
    container.machine.set(CGROUP + "memory.max", "max\n")
    container.machine.set(CGROUP + "memory.high", f"{512 * MIB}\n")
    container.clock.now += 10.0
    container.probe._begin()
    used(container, 490, 5, 5)
    stalled(container, 9.0)

    ((message, attributes),) = container.passes()
    assert message.startswith(
        "the container is short of memory: 490 MiB in use beside page cache, without a limit; tasks stalled for memory "
        "90% of the time; 0 major faults a second; 0 killed for want of memory; in use on the machine: "
    )
    assert message.endswith(
        ". Look for what holds it back, or kills, without a limit: memory.high, or a machine that is full"
    )
    assert ("container", 490 * MIB, pytest.approx(0.9), False) == (
        attributes["resinstr.memory.pressure.scope"],
        attributes["resinstr.memory.pressure.usage"],
        attributes["resinstr.memory.pressure.stall"],
        "resinstr.memory.pressure.limit" in attributes,
    )
    container.machine.replace(CGROUP + "memory.events", "oom_kill 1", "oom_kill 2")
    assert [0, 1] == [
        attributes["resinstr.memory.pressure.oom_kills"] for _, attributes in container.passes()
    ]


def test_a_full_machine_says_more_than_a_container_without_a_limit(watched):
    """Both lack the same, and the machine's line says who has it."""
    container = watched("kubernetes_v2")
    container.machine.set(CGROUP + "memory.max", "max\n")
    container.machine.set(
        "proc/meminfo", "MemTotal: 4000000 kB\nMemFree: 10000 kB\nMemAvailable: 100000 kB\n"
    )
    container.clock.now += 10.0
    container.probe._begin()
    stalled(container, 9.0)

    ((message, _),) = container.passes()
    assert message.startswith("the machine is short of memory: ")


def test_kills_of_another_group_are_no_news(watched):
    """Where the limit that binds is taken away, that of the slice binds, which has seen many killed long before."""
    service = watched("systemd_v2")
    slices = CGROUP + "system.slice/"
    service.machine.set(slices + "memory.events", "low 0\nhigh 0\nmax 90000\noom 40\noom_kill 37\n")
    service.machine.set(slices + "memory.current", f"{200 * MIB}\n")
    service.machine.set(slices + "memory.max", f"{1000 * MIB}\n")
    service.machine.set(slices + "app.service/memory.max", f"{900 * MIB}\n")
    service.clock.now += 10.0
    service.probe._begin()
    service.machine.set(slices + "app.service/memory.max", "max\n")
    for each in ("app.service/memory.max", "app.service/worker/memory.max"):
        service.machine.set(slices + each, "max\n")
    flipped = service.passes()
    later = service.passes()
    service.machine.replace(slices + "memory.events", "oom_kill 37", "oom_kill 38")

    assert ([], []) == (flipped, later)
    ((_, attributes),) = service.passes()
    assert (1, 1000 * MIB) == (
        attributes["resinstr.memory.pressure.oom_kills"],
        attributes["resinstr.memory.pressure.limit"],
    )


def test_where_little_is_known_little_is_said(watched):
    """Without the own size there is no line of whose the memory is, and no guess."""
    machine = watched("no_cgroups")
    machine.machine.set("proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 1000 kB\nMemAvailable: 20000 kB\n")
    (machine.machine.root / "proc/self/statm").unlink()
    (machine.machine.root / "proc/vmstat").unlink()

    ((message, _),) = machine.passes()
    assert message == (
        "the machine is short of memory: 957 of 977 MiB in use beside page cache (98%). Look for what grows in this "
        "process (OTEL_RESINSTR_TRACEMALLOC=1 names the lines), or raise the limit"
    )


def test_a_machine_that_says_nothing_is_not_judged(watched):
    """No memory, no event, no error."""
    machine = watched("no_cgroups")
    (machine.machine.root / "proc/meminfo").unlink()

    assert [] == machine.passes()


def test_stopping_ends_it(watched):
    """Nothing is looked at any more."""
    container = watched("kubernetes_v2")
    container.running.stop()

    assert () == container.running._telemetry.ticker._beats


def test_what_can_be_read_later_is_judged_from_then_on(watched):
    """Two readings are needed: the first one after a gap says nothing."""
    container = watched("kubernetes_v2")
    stat = container.machine.root / CGROUP / "memory.stat"
    text = stat.read_text()
    stat.unlink()
    gap = container.passes()
    stat.write_text(text)
    used(container, 490)
    first = container.passes()

    assert ([], [], 1) == (gap, first, len(container.passes()))
