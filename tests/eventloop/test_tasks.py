# SPDX-License-Identifier: Apache-2.0
"""How many tasks are not done: as asyncio counts them, without touching the loop."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from otel_resinstr.eventloop import tasks
from otel_resinstr.eventloop.tasks import Tasks, references
from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_TASK_COUNT


@pytest.fixture
def ticks(ticker, loops):
    return ticker(loops, Tasks(loops))


def read(sink):
    return sink.collect().points(ASYNCIO_EVENTLOOP_TASK_COUNT)


def with_tasks(spinning, count):
    """Start *count* tasks that wait; returns what ends them."""
    made, end = [], asyncio.Event()

    async def wait():
        await end.wait()

    spinning.loop.call_soon_threadsafe(
        lambda: made.extend(spinning.loop.create_task(wait()) for _ in range(count))
    )
    spinning.turn()

    def finish():
        spinning.loop.call_soon_threadsafe(end.set)
        for _ in range(3):
            spinning.turn()

    return finish


def test_tasks_that_are_not_done(ticks, sink, loop_class, spin):
    """None, some, none again: those that are done do not count, whoever still holds them."""
    spinning = spin(loop_class(), "worker-1")
    ticks.tick()
    seen = [read(sink)]
    finish = with_tasks(spinning, 3)
    seen.append(read(sink))
    finish()
    seen.append(read(sink))

    assert [{("worker-N",): count} for count in (0, 3, 0)] == seen


def test_each_loop_has_its_own(ticks, sink, spin):
    """By the thread that runs it; loops in threads of one kind add up."""
    spinning = [spin(asyncio.new_event_loop(), name) for name in ("worker-1", "worker-2", "other")]
    ticks.tick()
    ends = [with_tasks(each, count) for each, count in zip(spinning, (1, 2, 4), strict=True)]
    seen = read(sink)
    for finish in ends:
        finish()

    assert {("worker-N",): 3, ("other",): 4} == seen


def test_of_very_many_tasks_some_are_looked_at(ticks, sink, spin, monkeypatch):
    """The cost has a bound, and the figure is near the truth."""
    monkeypatch.setattr(tasks, "_MOST", 100)
    spinning = spin(asyncio.new_event_loop())
    ticks.tick()
    finish = with_tasks(spinning, 1000)
    [count] = read(sink).values()
    finish()

    assert 900 <= count <= 1100


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_task_that_runs_eagerly(ticks, sink, loops):
    """It is not among the others before it waits for the first time."""
    seen = []

    async def eager():
        seen.append(read(sink))
        await asyncio.sleep(0)
        seen.append(read(sink))

    async def main():
        # In another thread, for it looks at this one.
        await asyncio.to_thread(ticks.tick)
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.get_running_loop().create_task(eager())

    asyncio.run(main())

    assert [{("main",): 2}, {("main",): 2}] == seen


def test_tasks_that_come_and_go_meanwhile_do_no_harm(ticks, sink, loop_class, spin):
    """asyncio.all_tasks would begin anew each time; here there is nothing that could change under us."""
    spinning = spin(loop_class())
    ticks.tick()
    begun, end = threading.Event(), threading.Event()

    async def nothing():
        pass

    async def churn():
        begun.set()
        while not end.is_set():
            await asyncio.gather(*(nothing() for _ in range(50)))

    future = asyncio.run_coroutine_threadsafe(churn(), spinning.loop)
    assert begun.wait(20)
    counts = []
    for _ in range(100):
        counts.append(read(sink)["worker",])
        time.sleep(0.0005)  # let the loop go on
    end.set()
    future.result(20)

    assert set(counts) <= set(range(53))
    assert max(counts) >= 1


def test_without_a_loop_there_is_nothing(ticks, sink):
    """Nothing runs: no series of zeros."""
    assert {} == read(sink)


def test_an_asyncio_that_keeps_its_tasks_elsewhere(ticks, sink, spin, monkeypatch):
    """Absent, as on Python 3.14."""
    spin(asyncio.new_event_loop())
    ticks.tick()
    for name in ("_all_tasks", "_scheduled_tasks"):
        monkeypatch.delattr(asyncio.tasks, name, raising=False)

    assert None is references()
    assert {} == read(sink)


def test_what_is_no_task_is_left_out(ticks, sink, spin):
    """Anything can be registered, and has been by others' schedulers."""

    class Other:
        pass

    other = Other()
    spin(asyncio.new_event_loop())
    ticks.tick()
    every = vars(asyncio.tasks)["_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks"]
    every.add(other)
    seen = read(sink)
    every.discard(other)

    assert {("worker",): 0} == seen
