# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys
import time

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fakes import FakeClock, FakeReading, run
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.cpu import Cpu
from otel_resinstr.process.reading import CpuTimes
from otel_resinstr.semconv import PROCESS_CPU_TIME, PROCESS_CPU_UTILIZATION
from support import Collected

WINDOW = 10.0


class Machine:
    """A process on *cpus* CPUs that runs for as long as the test says."""

    def __init__(self, cpus=1.0):
        self.clock = FakeClock(1000.0)
        self.reading = FakeReading(cpu_times=CpuTimes(500.0, 50.0), cpus=cpus)
        self.probe = Cpu(self.reading, WINDOW, self.clock)

    def run(self, seconds, user=0.0, system=0.0):
        """Let *seconds* pass in which the process uses the CPU for *user* and *system* of them."""
        times = self.reading.known["cpu_times"]
        self.clock.now += seconds
        self.reading.known["cpu_times"] = CpuTimes(times.user + user, times.system + system)


def utilization(collected):
    """By mode, rounded: the fractions are not exact in binary."""
    points = collected.points(PROCESS_CPU_UTILIZATION)
    return {mode: round(value, 6) for (mode,), value in points.items()}


def test_time_and_utilization_by_mode(collect, start):
    """The totals of the system, and the share of the time since the start, first collection included."""
    machine = Machine(cpus=2.0)
    start(machine.probe)
    machine.run(4, user=6.0, system=1.0)

    assert {
        PROCESS_CPU_TIME.name: {("user",): 506.0, ("system",): 51.0},
        PROCESS_CPU_UTILIZATION.name: {("user",): 0.75, ("system",): 0.125},
    } == collect().as_dict()


def test_no_share_of_hardly_any_time(collect):
    """Right after the start there is nothing to say, and certainly no zero."""
    assert [PROCESS_CPU_TIME.name] == collect(Machine().probe).names()


def test_a_share_of_all_that_is_allowed_is_one(collect, start):
    """With half a CPU as its quota, a process that runs half of the time has all that it can get."""
    machine = Machine(cpus=0.5)
    start(machine.probe)
    machine.run(10, user=5.0)

    assert {"user": 1.0, "system": 0.0} == utilization(collect())


def test_the_last_window_counts(collect, start):
    """What was used before the window does not blur what is used now."""
    machine = Machine()
    start(machine.probe)
    machine.run(100, user=100.0)
    busy = utilization(collect())
    machine.run(10, system=1.0)

    assert ({"user": 1.0, "system": 0.0}, {"user": 0.0, "system": 0.1}) == (busy, utilization(collect()))


def test_before_a_window_has_passed_all_that_has_counts(collect, start):
    """An early collection looks back to the start, not further."""
    machine = Machine()
    start(machine.probe)
    machine.run(1, user=1.0)
    first = utilization(collect())
    machine.run(3)

    assert ({"user": 1.0, "system": 0.0}, {"user": 0.25, "system": 0.0}) == (first, utilization(collect()))


def test_a_reader_that_collects_often_looks_back_a_window(collect, start):
    """Each of many collections covers at least the window and hardly more."""
    machine = Machine()
    start(machine.probe)
    for _ in range(300):
        machine.run(0.5, user=0.1)
        collect()
    machine.run(0.5, user=0.5)

    assert {"user": pytest.approx(0.24, abs=0.005), "system": 0.0} == utilization(collect())


def test_what_is_remembered_is_bounded(collect, start):
    """A reader that collects all the time does not make the history grow."""
    machine = Machine()
    start(machine.probe)
    for _ in range(500):
        machine.run(0.01)
        collect()
    for _ in range(50):
        machine.run(5.0)
        collect()

    assert len(machine.probe._history) <= 12


def test_c_16_two_readers_are_both_right():
    """A reader that asks a moment after another one is not told of that moment only."""
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    provider = MeterProvider(readers, shutdown_on_exit=False)
    machine = Machine()
    running = Running([machine.probe], Telemetry(provider))
    seen = []
    for _ in range(3):
        machine.run(60, user=30.0)
        seen.append(utilization(Collected(readers[0].get_metrics_data())))
        machine.run(0.02)
        seen.append(utilization(Collected(readers[1].get_metrics_data())))
    running.stop()
    provider.shutdown()

    assert [{"user": pytest.approx(0.5, abs=0.001), "system": 0.0}] * 6 == seen


@pytest.mark.parametrize("unknown", ["cpu_times", "cpus"])
def test_unknown_is_absent(collect, start, unknown):
    """Neither times nor a number of CPUs are made up."""
    machine = Machine()
    machine.reading.known[unknown] = None
    start(machine.probe)
    machine.clock.now += 5

    assert ([] if unknown == "cpu_times" else [PROCESS_CPU_TIME.name]) == collect().names()


def test_times_that_become_known_later_begin_then(collect, start):
    """Without a first snapshot the first collection makes one, and says no share."""
    machine = Machine()
    times = machine.reading.known.pop("cpu_times")
    start(machine.probe)
    machine.reading.known["cpu_times"] = times
    first = collect().names()
    machine.run(10, user=2.0)

    assert ([PROCESS_CPU_TIME.name], {"user": 0.2, "system": 0.0}) == (first, utilization(collect()))


def test_stopping_ends_both(collect, start):
    """Nothing is reported after the end."""
    running = start(Machine().probe)
    before = collect().names()
    running.stop()

    assert ([PROCESS_CPU_TIME.name], []) == (before, collect().names())


def test_a_busy_thread_shows(collect, start):
    """This process, made to run in both modes: the times are the system's, the share is near to the truth."""
    reading = ProcessReading()
    start(Cpu(reading, WINDOW))
    before, began = os.times(), time.monotonic()
    while os.times().user - before.user < 0.2:
        sum(range(1000))
    while os.times().system - before.system < 0.1:
        os.urandom(1 << 16)
    collected = collect()
    after, elapsed = os.times(), time.monotonic() - began

    time_by_mode = collected.points(PROCESS_CPU_TIME)
    assert after.user == pytest.approx(time_by_mode[("user",)], abs=0.05)
    assert after.system == pytest.approx(time_by_mode[("system",)], abs=0.05)
    share = collected.points(PROCESS_CPU_UTILIZATION)
    available = elapsed * reading.cpus()
    assert (after.user - before.user) / available == pytest.approx(share[("user",)], abs=0.1)
    assert (after.system - before.system) / available == pytest.approx(share[("system",)], abs=0.1)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_begins_anew():
    """The child's counters start at zero and its share since the fork, whatever the parent has used."""
    parent, child = run("""
from otel_resinstr.process.cpu import Cpu

def burn(seconds):
    begin = os.times().user
    while os.times().user - begin < seconds:
        sum(range(1000))

class TwoCpus(ProcessReading):
    def cpus(self):
        return 2.0

start(Cpu(TwoCpus(), window=10.0))
burn(0.5)

def in_child():
    early = collect()
    burn(0.1)
    return early, collect()

child = forked(in_child)
print(json.dumps((collect(), child)))
""")
    early, late = child

    assert parent[PROCESS_CPU_TIME.name]["user"] >= 0.5
    assert early[PROCESS_CPU_TIME.name]["user"] < 0.1
    assert 0.1 <= late[PROCESS_CPU_TIME.name]["user"] < 0.4
    assert 0 < late[PROCESS_CPU_UTILIZATION.name]["user"] < 0.6  # one of two CPUs at most
