# SPDX-License-Identifier: Apache-2.0
"""How late loops are: exact by a clock that the test holds, and true on real loops."""

from __future__ import annotations

import asyncio
import itertools
import os
import time

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.eventloop.delay import Delay, stood_for
from otel_resinstr.eventloop.loops import Loops
from otel_resinstr.semconv import (
    ASYNCIO_EVENTLOOP_DELAY_DURATION,
    ASYNCIO_EVENTLOOP_DELAY_MAX,
    ASYNCIO_EVENTLOOP_DELAY_P50,
    ASYNCIO_EVENTLOOP_DELAY_P90,
    ASYNCIO_EVENTLOOP_DELAY_P99,
)
from support import Collected

HISTOGRAM = ASYNCIO_EVENTLOOP_DELAY_DURATION.name
GAUGES = [
    metric.name
    for metric in (
        ASYNCIO_EVENTLOOP_DELAY_P50,
        ASYNCIO_EVENTLOOP_DELAY_P90,
        ASYNCIO_EVENTLOOP_DELAY_P99,
        ASYNCIO_EVENTLOOP_DELAY_MAX,
    )
]


@pytest.fixture
def ticks(ticker, loops):
    return ticker(loops, Delay(loops, 60.0))


def late(ticks, rest, spinning, clock, seconds):
    """A beat that comes *seconds* late, by rounds that are on time."""
    with spinning.held():
        ticks.tick()
        end = clock.now + seconds
        while clock.now < end:
            clock.now = min(end, clock.now + 0.1)
            ticks.tick()
    spinning.turn()
    rest()
    ticks.tick()


def test_without_a_loop_there_is_nothing(ticks, sink):
    """Unknown is absent: no series of zeros."""
    ticks.tick()

    assert {} == sink.collect().as_dict()


def test_a_loop_on_time(ticks, sink, clock, rest, loop_class, spin):
    """The whole output of a loop that needed no time by the test's clock: a value for each look."""
    spin(loop_class(), "worker-1")
    rest()
    for _ in range(3):
        ticks.tick()
        clock.now += 0.1
    expected = {name: {("worker-N",): 0.0} for name in GAUGES}

    assert {**expected, HISTOGRAM: {("worker-N",): (3, 0.0)}} == sink.collect().as_dict()


def test_a_late_beat_counts_for_those_that_were_not_sent(ticks, sink, clock, rest, loop_class, spin):
    """0.35 s late at a period of 0.1 s: also 0.25 and 0.15 s late, as HdrHistogram corrects it; and on time since."""
    late(ticks, rest, spin(loop_class()), clock, 0.35)
    collected = sink.collect()

    assert {("worker",): (4, pytest.approx(0.75))} == collected.points(HISTOGRAM)
    assert {("worker",): pytest.approx(0.35)} == collected.points(ASYNCIO_EVENTLOOP_DELAY_MAX)
    assert {("worker",): pytest.approx(0.15, rel=0.03)} == collected.points(ASYNCIO_EVENTLOOP_DELAY_P50)


def test_a_hold_shows_while_it_lasts(ticks, sink, clock, rest, loop_class, spin):
    """The dashboard does not wait for the end of the outage; the histogram, which cannot take back, does."""
    spinning = spin(loop_class())
    with spinning.held():
        ticks.tick()
        shown = []
        for _ in range(40):
            for _ in range(10):
                clock.now += 0.1
                ticks.tick()
            shown.append(sink.collect().points(ASYNCIO_EVENTLOOP_DELAY_MAX)[("worker",)])
        assert {("worker",): pytest.approx(20.0, rel=0.03)} == sink.collect().points(
            ASYNCIO_EVENTLOOP_DELAY_P50
        )
        assert {} == sink.collect().points(HISTOGRAM)

    assert [pytest.approx(seconds) for seconds in range(1, 41)] == shown


def test_a_beat_on_its_way_is_no_news(ticks, sink, clock, rest, spin):
    """A collection between a beat and its run shows what was measured, not how long ago the beat was sent."""
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    clock.now += 0.1
    with spinning.held():
        ticks.tick()
        clock.now += 0.09
        assert {("worker",): 0.0} == sink.collect().points(ASYNCIO_EVENTLOOP_DELAY_MAX)


def test_a_loop_that_is_gone_leaves_the_window(ticks, sink, clock, rest, loop_class, spin):
    """Its points are there as long as the window looks back, and no longer."""
    spinning = spin(loop_class())
    late(ticks, rest, spinning, clock, 0.2)
    spinning.stop()
    ticks.tick()
    clock.now += 59.0
    within = sink.collect().names()
    clock.now += 7.0
    assert sorted(GAUGES) == [name for name in within if name in GAUGES]
    assert [HISTOGRAM] == sink.collect().names()


def test_loops_in_threads_of_one_kind_add_up(ticks, sink, clock, rest, spin):
    """Forty workers make one series: the attribute is bounded, and the maximum is that of the worst."""
    spinning = [spin(asyncio.new_event_loop(), f"worker-{number}") for number in range(3)]
    rest()
    ticks.tick()
    late(ticks, rest, spinning[1], clock, 0.15)

    points = sink.collect().as_dict()
    assert {("worker-N",): pytest.approx(0.15)} == points[GAUGES[3]]
    assert {("worker-N",)} == set(points[HISTOGRAM])


def test_c_30_two_readers_read_the_same(loops, clock, rest, spin):
    """Reading resets nothing: the second metric reader sees the same worst delay as the first, again and again."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    delay = Delay(loops, 60.0)

    class Ticker:
        def every(self, seconds, call):
            self.tick = call
            return lambda: None

        def settle(self):
            pass

    ticks = Ticker()
    running = Running([loops, delay], Telemetry(provider, ticker=ticks))
    late(ticks, rest, spin(asyncio.new_event_loop()), clock, 0.35)
    read = [Collected(reader.get_metrics_data()).as_dict() for reader in (*readers, *readers)]
    running.stop()
    provider.shutdown()

    assert {("worker",): pytest.approx(0.35)} == read[0][GAUGES[3]]
    assert [read[0]] * 4 == read


def test_what_is_measured_last_is_recorded(ticks, sink, clock, rest, loop_class, spin):
    """Values wait for a reader or for company; when the probe ends they do not get lost."""
    late(ticks, rest, spin(loop_class()), clock, 0.35)
    ticks.stop()
    collected = sink.collect()

    assert [HISTOGRAM] == collected.names()
    assert {("worker",): (4, pytest.approx(0.75))} == collected.points(HISTOGRAM)


def test_many_values_do_not_wait_for_a_reader(ticks, sink, clock, rest, spin):
    """Memory does not grow with the time between two collections."""
    spin(asyncio.new_event_loop())
    rest()
    for _ in range(100):
        ticks.tick()
        clock.now += 0.1

    assert {("worker",): (100, pytest.approx(0.0))} == sink.collect().points(HISTOGRAM)


def test_of_many_loops_the_histogram_has_a_part(ticks, sink, clock, rest, spin):
    """As many values as two loops have, whichever: the shape stays, and the cost does. The gauges know all."""
    for number in range(20):
        spin(asyncio.new_event_loop(), f"worker-{number}")
    rest()
    for _ in range(50):
        ticks.tick()
        clock.now += 0.1
    collected = sink.collect()
    [(count, _)] = collected.points(HISTOGRAM).values()

    assert 50 < count < 170
    assert {("worker-N",): pytest.approx(0.0)} == collected.points(ASYNCIO_EVENTLOOP_DELAY_MAX)


@pytest.mark.parametrize("seconds", [1.0, 60.0, 3600.0, 1e6])
def test_one_beat_stands_for_a_bounded_number_of_values(seconds):
    """A night on which the process was stopped does not cost a minute of recording; the worst is always told."""
    values = list(stood_for(seconds, 0.1))

    assert seconds == values[0]
    assert len(values) <= 600
    assert pytest.approx(min(seconds, 60.0) * 10, abs=1.1) == len(values)
    assert pytest.approx(seconds / 2, rel=0.25) == sum(values) / len(values)


def test_a_clock_that_goes_back_is_no_negative_delay():
    """Not even if two threads disagree by a tick of the clock."""
    assert [0.0] == list(stood_for(-1e-9, 0.1))


async def told(sink, seconds):
    """Until a delay of so many seconds is told."""
    while max(sink.collect().points(ASYNCIO_EVENTLOOP_DELAY_MAX).values(), default=0.0) < seconds:  # noqa: ASYNC110  polled
        await asyncio.sleep(0.01)


def test_c_18_a_blocked_loop_is_measured(sink, start, loop_class, run):
    """0.7 s of time.sleep in a coroutine, real clock, real thread of ours: seen, in the thread where it was."""
    loops = Loops(0.02)
    start(loops, Delay(loops, 60.0))

    async def main():
        await asyncio.sleep(0.1)
        time.sleep(0.7)  # noqa: ASYNC251  the fault that is to be found
        await asyncio.wait_for(told(sink, 0.6), 30)

    run(loop_class, main())
    points = sink.collect().points(ASYNCIO_EVENTLOOP_DELAY_MAX)

    assert [(run.thread,)] == list(points)
    assert 0.6 <= points[run.thread,] < 60.0


def test_c_31_a_step_of_the_wall_clock_is_no_delay(sink, start, run, monkeypatch):
    """NTP may set the time of day back or forth by years: durations are told by a clock that knows no such steps."""
    loops = Loops(0.02)
    start(loops, Delay(loops, 60.0))
    steps = itertools.cycle([1e9, 0.0, 2e9])
    monkeypatch.setattr(time, "time", lambda: next(steps))

    async def main():
        while not sink.collect().points(HISTOGRAM):  # noqa: ASYNC110  the ticker knows no loop's events
            await asyncio.sleep(0.01)

    run(asyncio.SelectorEventLoop, asyncio.wait_for(main(), 30))

    assert 0.0 <= sink.collect().points(ASYNCIO_EVENTLOOP_DELAY_MAX)[run.thread,] < 60.0


def test_a_call_that_keeps_the_gil_is_measured(sink, start, loop_class, run):
    """Meanwhile no thread of ours runs either: what was due is late all the same, although no beat was sent."""
    loops = Loops(0.02)
    start(loops, Delay(loops, 60.0))

    async def main():
        await asyncio.sleep(0.1)
        numbers, began = range(1 << 18), time.perf_counter()
        while (took := time.perf_counter() - began) < 0.3:
            numbers, began = range(len(numbers) * 2), time.perf_counter()
            sum(numbers)  # one call into C
        await asyncio.wait_for(told(sink, took - 0.1), 30)
        return took

    took = run(loop_class, main())

    assert sink.collect().points(ASYNCIO_EVENTLOOP_DELAY_MAX)[run.thread,] >= took - 0.1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_at_nothing(program):
    """What the parent's loops were late is not the child's; its own loop is measured."""
    assert ["parent", "main", "child", "main"] == program(
        """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_resinstr.eventloop.delay import Delay
reader = InMemoryMetricReader()
loops = Loops(0.05)
Running([loops, Delay(loops, 60.0)], Telemetry(MeterProvider([reader], shutdown_on_exit=False)))

def worst():
    data = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else []
    points = [p for m in metrics if m.name.endswith(".max") for p in m.data.data_points]
    return {p.attributes["asyncio.eventloop.thread"]: p.value for p in points}

async def until(condition):
    while not condition():
        await asyncio.sleep(0.002)

async def held():
    await until(worst)
    time.sleep(0.3)
    await until(lambda: worst()["main"] >= 0.2)

asyncio.run(held())
print("parent", *worst(), flush=True)
child = os.fork()
if child == 0:
    assert worst() == {}
    asyncio.run(until(worst))
    print("child", *worst(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
