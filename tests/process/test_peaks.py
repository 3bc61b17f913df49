# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fakes import FakeClock, FakeReading, run
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.process import reading
from otel_resinstr.process.peaks import Peaks
from otel_resinstr.semconv import RESINSTR_PROCESS_MEMORY_USAGE_MAX, RESINSTR_PROCESS_THREAD_COUNT_MAX
from support import Collected

WINDOW = 60.0


class Spiky:
    """A process whose memory and threads a test sets from second to second."""

    def __init__(self):
        self.clock = FakeClock(1000.0)
        self.reading = FakeReading()
        self.now(100, 5)
        self.probe = Peaks(self.reading, WINDOW, self.clock)

    def now(self, memory, threads):
        self.reading.known.update(memory=reading.Memory(memory, memory), threads=threads)

    def second(self, memory=100, threads=5):
        self.clock.now += 1.0
        self.now(memory, threads)
        self.probe._look()


def most(collected):
    return (
        collected.value(RESINSTR_PROCESS_MEMORY_USAGE_MAX),
        collected.value(RESINSTR_PROCESS_THREAD_COUNT_MAX),
    )


def test_a_spike_between_two_exports_shows(collect, start):
    """One second of forty; the window forgets it."""
    spiky = Spiky()
    start(spiky.probe)
    for number in range(40):
        spiky.second(*((900, 50) if number == 7 else (100, 5)))
    seen = most(collect())
    for _ in range(80):
        spiky.second()

    assert ((900, 50), (100, 5)) == (seen, most(collect()))


def test_c_30_two_readers_both_see_the_spike():
    """However often the other one reads: nothing is reset by reading."""
    spiky = Spiky()
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    provider = MeterProvider(readers, shutdown_on_exit=False)
    running = Running([spiky.probe], Telemetry(provider))
    seen = []
    for number in range(50):
        spiky.second(*((900, 50) if number == 3 else (100, 5)))
        if number % 5 == 4:
            seen.append(most(Collected(readers[0].get_metrics_data())))
    slow = most(Collected(readers[1].get_metrics_data()))
    running.stop()
    provider.shutdown()

    assert ([(900, 50)] * 10, (900, 50)) == (seen, slow)


def test_what_there_is_now_counts(collect, start):
    """The most is never less than what is there at the moment, whenever the last look was."""
    spiky = Spiky()
    start(spiky.probe)
    spiky.now(700, 9)

    assert (700, 9) == most(collect())


def test_unknown_is_absent(collect):
    """No zero."""
    assert [] == collect(Peaks(FakeReading(), WINDOW)).names()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_has_its_own_most():
    """What the parent once had is not the child's."""
    parent, child = run("""
import mmap
from otel_resinstr.process.peaks import Peaks

probe = Peaks(ProcessReading(), 3600.0)
start(probe)
memory = mmap.mmap(-1, 128 << 20)
memory.write(b"x" * (128 << 20))
probe._look()
memory.close()
child = forked(collect)
print(json.dumps((collect(), child)))
""")

    name = RESINSTR_PROCESS_MEMORY_USAGE_MAX.name
    assert parent[name][""] - child[name][""] > 96 << 20
