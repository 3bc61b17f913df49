# SPDX-License-Identifier: Apache-2.0
"""How busy a loop is: exact by clocks that the test holds, and true for real loops."""

from __future__ import annotations

import asyncio
import time

import pytest

from otel_resinstr import _fork
from otel_resinstr.eventloop._clocks import Clocks
from otel_resinstr.eventloop._running import Sample
from otel_resinstr.eventloop.loops import Loops
from otel_resinstr.eventloop.utilization import Utilization
from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_UTILIZATION


class OneLoop:
    """The samples that a test makes up, as if of one loop."""

    def __init__(self, clocks):
        self.clocks = clocks
        self.thread = "main"

    def sample(self, lease, sampler):
        self._sampler = sampler

    def looks(self, count, *, cpu, busy, lag=0.0, queued=0.0):
        for _ in range(count):
            self.clocks.now += 0.05
            self._sampler([(self, Sample(0.05, cpu, queued, busy, lag, self.clocks.now))])


@pytest.fixture
def loop(clock, start):
    loop = OneLoop(clock)
    start(Utilization(loop, 60.0))
    return loop


def read(sink):
    return sink.collect().points(ASYNCIO_EVENTLOOP_UTILIZATION)


def test_a_loop_that_blocks_is_busy(loop, sink):
    """Half of the looks meet it in a sleep, a read or at a lock: half, though it uses no CPU."""
    for _ in range(100):
        loop.looks(1, cpu=0.0, busy=True)
        loop.looks(1, cpu=0.0, busy=False)

    assert {("main",): pytest.approx(0.5)} == read(sink)


def test_a_loop_that_computes_in_small_pieces_is_busy(loop, sink):
    """No look meets it at work: we get the GIL only when it goes to its selector. The CPU clock tells."""
    loop.looks(200, cpu=0.04, busy=False)

    assert {("main",): pytest.approx(0.8)} == read(sink)


def test_a_loop_that_waits_for_a_cpu_is_busy(loop, sink):
    """On a machine that others use as well it does not wait for I/O."""
    loop.looks(200, cpu=0.01, queued=0.03, busy=False)

    assert {("main",): pytest.approx(0.8)} == read(sink)


def test_work_that_is_seen_by_both_counts_once(loop, sink):
    """A look that had to wait for the GIL met what the CPU clock knows already."""
    for _ in range(100):
        loop.looks(1, cpu=0.025, busy=True, lag=0.005)
        loop.looks(1, cpu=0.025, busy=False)

    assert {("main",): pytest.approx(0.5)} == read(sink)


def test_what_blocks_and_what_computes_add_up(loop, sink):
    """A fifth of the time in a read, and a half of it on the CPU."""
    for _ in range(40):
        loop.looks(1, cpu=0.0, busy=True)
        loop.looks(4, cpu=0.03125, busy=False)

    assert {("main",): pytest.approx(0.7)} == read(sink)


def test_a_loop_that_others_keep_from_the_gil_is_busy(loop, sink):
    """Whenever we look it has something to do, and the CPU time is that of others."""
    loop.looks(200, cpu=0.005, busy=True, lag=0.02)

    assert {("main",): pytest.approx(1.0)} == read(sink)


def test_it_is_never_more_than_all(loop, sink):
    """Two clocks are read one after the other."""
    loop.looks(200, cpu=0.051, busy=True)

    assert {("main",): 1.0} == read(sink)


def test_a_loop_that_waits_is_not_busy(loop, sink):
    """A true zero, after a second; before that there is nothing to say."""
    loop.looks(19, cpu=0.0, busy=False)
    before = read(sink)
    loop.looks(2, cpu=0.0, busy=False)

    assert ({}, {("main",): 0.0}) == (before, read(sink))


def test_it_looks_back_over_the_window(loop, sink, clock):
    """What was an hour ago is forgotten, and a loop that is gone leaves."""
    loop.looks(1200, cpu=0.0, busy=True)
    first = read(sink)
    loop.looks(1300, cpu=0.0, busy=False)
    second = read(sink)
    clock.now += 66.0

    assert ({("main",): 1.0}, {("main",): 0.0}, {}) == (first, second, read(sink))


def test_the_rest_of_a_loop_that_stops_has_only_its_cpu_time(loop, sink):
    """Nobody knows what it was at."""
    loop.looks(20, cpu=0.0, busy=False)
    loop.looks(20, cpu=0.05, busy=None)

    assert {("main",): pytest.approx(0.5)} == read(sink)


def test_where_a_thread_has_no_clock_there_is_nothing(loop, sink):
    """Absent, not a figure that could be anything."""
    loop.looks(200, cpu=None, busy=True)

    assert {} == read(sink)


def test_a_forked_child_begins_at_nothing(loop, sink):
    """How busy the parent was is not the child's."""
    loop.looks(200, cpu=0.0, busy=True)
    _fork._run_in_child()

    assert {} == read(sink)


class Unqueued(Clocks):
    """Those of this machine, but for how long others keep us from it: that is a test's own load."""

    def queued(self, thread):
        return None


@pytest.mark.parametrize("kind", ["blocks", "computes", "waits"])
def test_real_loops(start, sink, loop_class, run, kind):
    """One that is busy is told from one that waits, also where the process is stopped, or gets little of the CPUs."""
    loops = Loops(0.01, clocks=Unqueued())
    start(loops, Utilization(loops, 60.0))

    def work():
        if kind == "blocks":
            time.sleep(0.05)
        end = time.thread_time() + 0.03
        while kind == "computes" and time.thread_time() < end:
            pass

    def fits(share, used):
        return {"blocks": share >= 0.4, "computes": share >= 0.7 * used, "waits": share <= 0.4}[kind]

    async def main():
        begin, cpu = time.perf_counter(), time.thread_time()
        # A look after the process was stopped stands for all of that time: there have to be some.
        while (elapsed := time.perf_counter() - begin) < 20:
            used = (time.thread_time() - cpu) / elapsed
            share = read(sink).get((run.thread,))
            if share is not None and fits(share, used):
                break
            work()
            await asyncio.sleep(0.005 if kind != "waits" else 0.05)
        return share, used

    share, used = run(loop_class, main())

    assert share <= 1.0
    assert fits(share, used)
