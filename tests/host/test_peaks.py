# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fakes import FakeClock
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.host import HostReading
from otel_resinstr.host.peaks import Peaks, left
from otel_resinstr.semconv import RESINSTR_MEMORY_AVAILABLE_MIN, RESINSTR_PRESSURE_STALL_MAX
from support import Collected

MIB = 1 << 20
WINDOW = 60.0


class Spiky:
    """A container that a test lets use memory, and stall, from second to second."""

    def __init__(self, machine):
        self.clock = FakeClock(1000.0)
        self.machine = machine
        self.stalled = 60000
        self.probe = Peaks(machine.reading(self.clock), WINDOW, self.clock)

    def second(self, usage=300, stalled=0.0, seconds=1.0):
        """Let a second pass, with so many MiB in use at its end and so much of it stalled."""
        self.clock.now += seconds
        self.stalled += int(stalled * 1e6)
        self.machine.set("sys/fs/cgroup/memory.current", f"{usage * MIB}\n")
        self.machine.set("sys/fs/cgroup/memory.pressure", f"some avg10=0.00 total={self.stalled}\n")
        self.probe._look()


@pytest.fixture
def spiky(machine):
    return Spiky(machine("kubernetes_v2"))


def worst(collected):
    return collected.points(RESINSTR_PRESSURE_STALL_MAX)[("memory", "container")]


def test_a_spike_between_two_exports_shows(collect, start, spiky):
    """One second of forty with little left, and half of it stalled; the window forgets it."""
    start(spiky.probe)
    for number in range(40):
        spiky.second(*((500, 0.5) if number == 7 else (300, 0.01)))
    seen = collect()
    for _ in range(80):
        spiky.second()
    later = collect()

    # 512 MiB, and 114 MiB of page cache that would be given back.
    assert ((126 * MIB, 0.5), (326 * MIB, 0.0)) == (
        (seen.value(RESINSTR_MEMORY_AVAILABLE_MIN), worst(seen)),
        (later.value(RESINSTR_MEMORY_AVAILABLE_MIN), worst(later)),
    )


def test_c_30_two_readers_both_see_the_spike(machine):
    """However often the other one reads: nothing is reset by reading."""
    spiky = Spiky(machine("kubernetes_v2"))
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    provider = MeterProvider(readers, shutdown_on_exit=False)
    running = Running([spiky.probe], Telemetry(provider))
    seen = []
    for number in range(50):
        spiky.second(*((500, 0.5) if number == 3 else (300, 0.0)))
        if number % 5 == 4:
            seen.append(worst(Collected(readers[0].get_metrics_data())))
    slow = Collected(readers[1].get_metrics_data())
    running.stop()
    provider.shutdown()

    assert ([0.5] * 10, 0.5, 126 * MIB) == (seen, worst(slow), slow.value(RESINSTR_MEMORY_AVAILABLE_MIN))


def test_a_share_is_of_the_time_that_passed(collect, start, spiky):
    """A beat that comes late spreads the stall; one that comes at once waits for the next; none has more than all."""
    start(spiky.probe)
    spiky.second(stalled=1.0, seconds=4.0)
    late = worst(collect())
    spiky.second(stalled=0.2, seconds=0.25)
    spiky.second(stalled=0.2, seconds=0.25)
    together = worst(collect())
    spiky.second(stalled=1.5)

    assert (0.25, 0.8, 1.0) == (late, pytest.approx(together), worst(collect()))


def test_what_there_is_now_counts(collect, start, spiky):
    """The least is never more than what is left at the moment, whenever the last look was."""
    start(spiky.probe)
    spiky.clock.now += 0.9
    spiky.machine.set("sys/fs/cgroup/memory.current", f"{510 * MIB}\n")

    assert 116 * MIB == collect().value(RESINSTR_MEMORY_AVAILABLE_MIN)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kubernetes_v2", 326 * MIB),
        ("unlimited_v2", 10240 * MIB),
        ("app_service", 512 * MIB),
        ("wsl", 7168 * MIB),
    ],
)
def test_what_is_left_is_the_smaller_of_the_two(machine, name, expected):
    """The container's limit, or the machine, whichever has less."""
    assert expected == left(machine(name).reading())


def test_where_nothing_tells_there_is_no_point(collect, tmp_path):
    """No memory, no pressure: nothing, and no error."""

    def refuse():
        raise OSError

    assert [] == collect(Peaks(HostReading(tmp_path, machine=refuse), WINDOW)).names()


def test_a_child_has_its_own_worst(collect, start, spiky):
    """What the parent saw is forgotten in a fork."""
    running = start(spiky.probe)
    spiky.second(500, 0.5)
    spiky.second()
    spiky.probe._begin()  # what the fork calls
    spiky.second()

    collected = collect()
    assert (326 * MIB, 0.0) == (collected.value(RESINSTR_MEMORY_AVAILABLE_MIN), worst(collected))
    running.stop()
    assert [] == collect().names()


def test_a_source_that_comes_later_is_compared_from_then_on(collect, start, spiky):
    """Pressure that was not known before is no stall of all of it."""
    (spiky.machine.root / "sys/fs/cgroup/memory.pressure").unlink()
    start(spiky.probe)
    spiky.second(stalled=0.3)
    at_first = collect().points(RESINSTR_PRESSURE_STALL_MAX)
    spiky.second(stalled=0.25)

    assert (False, 0.25) == (("memory", "container") in at_first, worst(collect()))
