# SPDX-License-Identifier: Apache-2.0
"""The CPU time of the threads that run loops: exact by a clock that the test holds, and that of the kernel."""

from __future__ import annotations

import asyncio
import time

import pytest

from otel_resinstr import _fork
from otel_resinstr.eventloop.cpu import Cpu
from otel_resinstr.eventloop.loops import Loops
from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_CPU_TIME


@pytest.fixture
def ticks(ticker, loops):
    return ticker(loops, Cpu(loops))


def test_it_begins_with_the_loop(ticks, sink, clock, rest, loop_class, spin):
    """What the thread did before is not the loop's; it grows at each look, and stays when the loop has stopped."""
    clock.stir = 0.0
    spinning = spin(loop_class(), "worker-1")
    rest()
    ticks.tick()
    seen = [sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME)]
    for _ in range(2):
        clock.cpu += 0.25
        ticks.tick()
        seen.append(sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME))
    clock.cpu += 0.125
    spinning.stop()
    clock.cpu += 1.0
    ticks.tick()
    seen.append(sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME))

    assert [{("worker-N",): seconds} for seconds in (0.0, 0.25, 0.5, 0.625)] == seen


def test_loops_in_threads_of_one_kind_add_up(ticks, sink, clock, rest, spin):
    """One series, which does not go down when one of them ends."""
    clock.stir = 0.0
    spinning = [spin(asyncio.new_event_loop(), f"worker-{number}") for number in range(2)]
    rest()
    ticks.tick()
    clock.cpu += 0.25
    spinning[0].stop()
    ticks.tick()

    assert {("worker-N",): 0.5} == sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME)


def test_where_a_thread_has_no_clock_there_is_nothing(ticks, sink, clock, rest, spin):
    """Absent, not zero."""
    clock.cpu = None
    spin(asyncio.new_event_loop())
    rest()
    ticks.tick()

    assert {} == sink.collect().as_dict()


def test_it_is_what_the_kernel_says(start, sink, loop_class, run):
    """Of a loop that computes and waits, as its thread can tell from inside."""
    loops = Loops(0.01)
    start(loops, Cpu(loops))

    async def main():
        begin = time.thread_time()
        for _ in range(4):
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass
            await asyncio.sleep(0.02)
        used = time.thread_time() - begin
        await asyncio.wait_for(told(used - 0.001), 30)
        return used, time.thread_time() - begin

    async def told(wanted):
        while sum(sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME).values()) < wanted:  # noqa: ASYNC110  polled
            await asyncio.sleep(0.02)

    least, most = run(loop_class, main())
    points = sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME)

    assert [(run.thread,)] == list(points)
    assert least - 0.001 <= points[run.thread,] <= most + 0.05


def test_a_forked_child_begins_at_nothing(ticks, sink, clock, rest, spin):
    """What the parent's threads have used is not the child's."""
    clock.stir = 0.0
    spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    clock.cpu += 0.25
    ticks.tick()
    assert {("worker",): 0.25} == sink.collect().points(ASYNCIO_EVENTLOOP_CPU_TIME)
    _fork._run_in_child()

    assert {} == sink.collect().as_dict()
