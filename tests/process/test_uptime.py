# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest

from fakes import FakeClock, FakeReading, run
from otel_resinstr.process.uptime import Uptime
from otel_resinstr.semconv import PROCESS_UPTIME


def test_seconds_since_the_process_began(collect):
    """A process that began a hundred seconds ago is a hundred seconds old."""
    probe = Uptime(FakeReading(create_time=5000.0), FakeClock(7.0), FakeClock(5100.0))

    assert {PROCESS_UPTIME.name: {(): 100.0}} == collect(probe).as_dict()


def test_setting_the_time_does_not_change_the_age(collect, start):
    """Once known, the age follows the monotonic clock, and the system is not asked again."""
    clock, wall_clock, process = FakeClock(7.0), FakeClock(5100.0), FakeReading(create_time=5000.0)
    start(Uptime(process, clock, wall_clock))
    first = collect().value(PROCESS_UPTIME)
    wall_clock.now -= 3600
    process.known.clear()
    clock.now += 60

    assert (100.0, 160.0) == (first, collect().value(PROCESS_UPTIME))


def test_a_time_set_back_before_the_first_look_makes_no_negative_age(collect, start):
    """A process that seems to begin in the future begins now."""
    clock = FakeClock(7.0)
    start(Uptime(FakeReading(create_time=5000.0), clock, FakeClock(4000.0)))
    first = collect().value(PROCESS_UPTIME)
    clock.now += 5

    assert (0.0, 5.0) == (first, collect().value(PROCESS_UPTIME))


def test_an_unknown_beginning_is_absent_until_it_is_known(collect, start):
    """No age is made up from when the probe was started."""
    process = FakeReading()
    start(Uptime(process, FakeClock(7.0), FakeClock(5100.0)))
    before = collect().names()
    process.known["create_time"] = 5000.0

    assert ([], 100.0) == (before, collect().value(PROCESS_UPTIME))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_is_young():
    """The child is as old as it is, not as old as its parent."""
    parent, child = run("""
import time
from otel_resinstr.process.uptime import Uptime

class OldProcess(ProcessReading):
    parent = os.getpid()
    def create_time(self):
        created = super().create_time()
        return created - 3600 if os.getpid() == self.parent else created

start(Uptime(OldProcess()))
print(json.dumps((collect(), forked(collect))))
""")

    assert 3600 <= parent[PROCESS_UPTIME.name][""] < 3660
    assert 0 <= child[PROCESS_UPTIME.name][""] < 60
