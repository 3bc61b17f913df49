# SPDX-License-Identifier: Apache-2.0
"""Work that anyio hands to threads, through limiters whose state the test holds."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
from collections import OrderedDict
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import uvloop
from anyio._backends import _asyncio as backend

from mongo import eventually
from otel_resinstr.semconv import (
    CPYTHON_THREAD_POOL_QUEUE_LENGTH,
    CPYTHON_THREAD_POOL_THREAD_BUSY,
    CPYTHON_THREAD_POOL_THREAD_COUNT,
    CPYTHON_THREAD_POOL_THREAD_LIMIT,
    CPYTHON_THREAD_POOL_WORK_ITEM_COUNT,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME,
)
from otel_resinstr.threadpool.anyio_limiters import AnyioLimiters, Limiter
from support import run_python

PATIENCE = 30.0
DEFAULT = ("default", "anyio")
CUSTOM = ("custom", "anyio")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=list(LOOPS))
def run(request):
    """Run a coroutine on a loop of asyncio's and of uvloop's."""
    return lambda main: anyio.run(main, backend_options={"loop_factory": LOOPS[request.param]})


async def until(condition):
    """Wait until *condition* is true."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  what is waited for happens in threads
            await anyio.sleep(0.005)


def number(collected, metric, series=DEFAULT):
    return collected.points(metric).get(series)


def test_a_limiter_whose_state_is_known(watch, collect, work, clock, run):
    """Two tokens, both taken; three tasks that wait, for 2 s; and all of it when it is over."""
    seen = []

    async def main():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(anyio.to_thread.run_sync, work)
            await until(lambda: number(collect(), CPYTHON_THREAD_POOL_QUEUE_LENGTH) == 3)
            await until(lambda: len(work.times) == 2)
            clock.now += 2.0
            seen.append(collect().as_dict())
            workers = [thread for thread in threading.enumerate() if thread.name == "AnyIO worker thread"]
            seen.append(len(workers))
            work.end()
        seen.append(collect().as_dict())

    watch()
    run(main)
    full, workers, over = seen

    assert 2 == workers
    assert {
        CPYTHON_THREAD_POOL_THREAD_COUNT.name: {DEFAULT: 2},
        CPYTHON_THREAD_POOL_THREAD_LIMIT.name: {DEFAULT: 2},
        CPYTHON_THREAD_POOL_THREAD_BUSY.name: {DEFAULT: 2},
        CPYTHON_THREAD_POOL_QUEUE_LENGTH.name: {DEFAULT: 3},
        CPYTHON_THREAD_POOL_WORK_ITEM_COUNT.name: {DEFAULT: 0},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME.name: {DEFAULT: 0.0},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50.name: {DEFAULT: 0.0},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99.name: {DEFAULT: 0.0},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX.name: {DEFAULT: pytest.approx(2.0)},
    } == full
    assert {
        CPYTHON_THREAD_POOL_THREAD_COUNT.name: {DEFAULT: 2},
        CPYTHON_THREAD_POOL_THREAD_LIMIT.name: {DEFAULT: 2},
        CPYTHON_THREAD_POOL_THREAD_BUSY.name: {DEFAULT: 0},
        CPYTHON_THREAD_POOL_QUEUE_LENGTH.name: {DEFAULT: 0},
        CPYTHON_THREAD_POOL_WORK_ITEM_COUNT.name: {DEFAULT: 5},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME.name: {DEFAULT: pytest.approx(6.0)},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50.name: {DEFAULT: pytest.approx(2.0, rel=0.03)},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99.name: {DEFAULT: pytest.approx(2.0, rel=0.03)},
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX.name: {DEFAULT: pytest.approx(2.0)},
    } == over


def test_after_its_loop_a_limiter_is_gone(watch, collect, run):
    """The series stays, with zeros; there is no limit any more."""
    watch()
    run(lambda: anyio.to_thread.run_sync(int))

    def gone():
        gc.collect()  # the caller has its result a moment before the thread is done with it
        return number(collect(), CPYTHON_THREAD_POOL_THREAD_LIMIT) is None

    eventually(gone)
    collected = collect()

    assert [0, None, 0, 0, 1] == [
        number(collected, metric)
        for metric in (
            CPYTHON_THREAD_POOL_THREAD_COUNT,
            CPYTHON_THREAD_POOL_THREAD_LIMIT,
            CPYTHON_THREAD_POOL_THREAD_BUSY,
            CPYTHON_THREAD_POOL_QUEUE_LENGTH,
            CPYTHON_THREAD_POOL_WORK_ITEM_COUNT,
        )
    ]


@pytest.mark.parametrize("made", ["in the loop", "before"])
def test_a_limiter_that_is_passed(watch, collect, work, clock, run, made):
    """It has a series of its own. The threads are the loop's, and told once."""
    before = anyio.CapacityLimiter(1)
    seen = []

    async def main():
        limiter = before if made == "before" else anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(lambda: anyio.to_thread.run_sync(work, limiter=limiter))
            await until(lambda: number(collect(), CPYTHON_THREAD_POOL_QUEUE_LENGTH, CUSTOM) == 1)
            await until(lambda: len(work.times) == 1)
            clock.now += 1.0
            seen.append(collect())
            work.end()
        seen.append(collect())

    watch()
    run(main)
    full, over = seen

    assert {} == full.points(CPYTHON_THREAD_POOL_THREAD_COUNT)
    assert [1, 1, 1, pytest.approx(1.0)] == [
        number(full, metric, CUSTOM)
        for metric in (
            CPYTHON_THREAD_POOL_THREAD_LIMIT,
            CPYTHON_THREAD_POOL_THREAD_BUSY,
            CPYTHON_THREAD_POOL_QUEUE_LENGTH,
            CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX,
        )
    ]
    assert {CUSTOM: 2} == over.points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT)


def test_limiters_that_are_gone_are_forgotten(start, pools, run):
    """FastAPI makes one for each request: none is kept, with nobody's help, and the counts stay."""
    limiters = AnyioLimiters(pools)
    start(pools, limiters)
    known = []

    async def main():
        kept = anyio.CapacityLimiter(1)
        for _ in range(50):
            await anyio.to_thread.run_sync(int, limiter=anyio.CapacityLimiter(1))
            await anyio.to_thread.run_sync(int, limiter=kept)
            known.append(len(limiters._limiters))

    run(main)

    assert 100 == pools.series("custom", "anyio").finished
    assert max(known) <= 3


def test_who_waits_may_change_at_any_step_of_ours(pools):
    """The queue is the loop's, whose thread may go on between any two steps of a look."""
    queue = OrderedDict.fromkeys(range(5))
    limiter = SimpleNamespace(_wait_queue=queue, statistics=lambda: SimpleNamespace(tasks_waiting=5))
    known = Limiter(lambda: limiter, pools, pools.series("custom", "anyio"), AnyioLimiters(pools))
    seen = []

    def goes_on(frame, event, _):
        frame.f_trace_opcodes = True
        if event == "opcode":
            queue[max(queue) + 1] = None
            queue.popitem(last=False)
        return goes_on

    def look():
        sys.settrace(lambda frame, *_: goes_on if frame.f_code is Limiter.waiting_since.__code__ else None)
        seen.append(known.waiting_since())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(PATIENCE)

    assert [1000.0] == seen
    assert min(queue) > 10


def test_a_limiter_that_limits_something_else_is_no_pool(watch, collect, run):
    """Anything can be limited; only what work in threads waits for is a pool."""

    async def main():
        async with anyio.CapacityLimiter(1):
            pass

    watch()
    run(main)

    assert {} == collect().as_dict()


def test_a_caller_that_gives_up_is_not_counted(watch, collect, work, run):
    """Its work never began. The same task is counted with what it does next."""
    seen = []

    async def main():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, work)
            await until(lambda: number(collect(), CPYTHON_THREAD_POOL_THREAD_BUSY) == 1)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(anyio.to_thread.run_sync, int)
                    await until(lambda: number(collect(), CPYTHON_THREAD_POOL_QUEUE_LENGTH) == 1)
                    scope.cancel()
            seen.append(number(collect(), CPYTHON_THREAD_POOL_QUEUE_LENGTH))
            work.end()
        await anyio.to_thread.run_sync(int)

    watch()
    run(main)

    assert ([0], {DEFAULT: 2}) == (seen, collect().points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT))


def test_callers_that_gave_up_are_forgotten(start, pools, work, run):
    """When there have become many of them, those whose task is gone are let go of."""
    limiters = AnyioLimiters(pools)
    start(pools, limiters)
    left = []

    async def main():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, work)
            await until(lambda: len(work.times) == 1)
            async with anyio.create_task_group() as inner:
                for _ in range(20):
                    inner.start_soon(anyio.to_thread.run_sync, int)
                await until(lambda: pools.all()[0].queued() == 20)
                inner.cancel_scope.cancel()
            left.append(len(limiters._calls))
            work.end()
        gc.collect()  # tasks that were cancelled may refer to themselves
        limiters._prune_at = 0
        await anyio.to_thread.run_sync(int)
        left.append(len(limiters._calls))

    run(main)

    assert [21, 0] == left


def test_a_call_from_before_us(watch, collect, work, run):
    """It goes on and is not counted; those that follow are, through whichever limiter."""

    async def main():
        limiter = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(lambda: anyio.to_thread.run_sync(work, limiter=limiter))
            await until(lambda: len(work.times) == 1 and limiter.statistics().tasks_waiting == 1)
            watch()
            work.end()
        await anyio.to_thread.run_sync(int)
        await anyio.to_thread.run_sync(int, limiter=limiter)
        await anyio.to_thread.run_sync(int, limiter=limiter)

    run(main)

    assert {DEFAULT: 1, CUSTOM: 2} == collect().points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT)


def test_results_and_errors_are_as_without_us(watch, run):
    """The same values, the same frames in the traceback."""

    def fails():
        raise KeyError("x")

    async def main():
        outcome = [await anyio.to_thread.run_sync(lambda: 7)]
        try:
            await anyio.to_thread.run_sync(fails)
        except KeyError as error:
            outcome.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
        try:
            await anyio.to_thread.run_sync(fails, limiter="no limiter")
        except Exception as error:
            outcome.append(type(error))
        return outcome

    bare = run(main)
    watch()

    assert bare == run(main)
    assert (7, "fails") == (bare[0], bare[1][-1])


def test_what_is_patched_is_given_back(watch):
    """The originals, ours, and the originals again."""

    def now():
        return [
            vars(backend.AsyncIOBackend)["run_sync_in_worker_thread"],
            backend.find_root_task,
            vars(backend.CapacityLimiter)["release_on_behalf_of"],
        ]

    before = now()
    running = watch()
    during = now()
    running.stop()

    assert [False] * 3 == [ours is theirs for ours, theirs in zip(during, before, strict=True)]
    assert before == now()


def test_work_that_outlives_us(watch, work, run):
    """We stop while it is under way, and nothing is different for it."""

    async def main():
        running = watch()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, work)
            await anyio.lowlevel.checkpoint()
            running.stop()
            work.end()
        return await anyio.to_thread.run_sync(lambda: 7)

    assert 7 == run(main)


def test_what_is_not_there_is_not_watched(collect, start, pools, monkeypatch):
    """An anyio whose insides have other names, or before 4.0: nothing is patched, and nothing breaks."""
    import importlib

    other = SimpleNamespace(AsyncIOBackend=None)
    monkeypatch.setitem(sys.modules, "anyio._backends._asyncio", other)
    start(pools, AnyioLimiters(pools))

    assert ({}, ["AsyncIOBackend"]) == (collect().as_dict(), [*vars(other)])
    monkeypatch.undo()
    assert importlib.import_module("anyio._backends._asyncio") is backend


def test_who_waits_may_not_be_known(watch, pools, collect, work, clock, run):
    """A task that takes the limiter by itself has submitted nothing: it waits since it was first seen to."""
    seen = []

    async def main():
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, work)
            await until(lambda: number(collect(), CPYTHON_THREAD_POOL_THREAD_BUSY) == 1)
            tasks.start_soon(limiter.acquire_on_behalf_of, "somebody")
            await until(lambda: number(collect(), CPYTHON_THREAD_POOL_QUEUE_LENGTH) == 1)
            clock.now += 1.0
            seen.extend(pool.waiting_since() for pool in pools.all())
            work.end()
        limiter.release_on_behalf_of("somebody")
        seen.extend(pool.waiting_since() for pool in pools.all())

    watch()
    run(main)

    assert [1000.0, None] == seen


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="forks")
def test_a_forked_child_has_no_limiter():
    """The loop of the parent does not run in it, and what it counts begins at 0."""
    said = run_python(
        """
        import anyio, anyio.to_thread, os, sys, warnings
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.threadpool.anyio_limiters import AnyioLimiters
        from otel_resinstr.threadpool.pools import Pools

        sink, pools = Sink(), Pools(60.0)
        running = Running([pools, AnyioLimiters(pools)], Telemetry(**sink.providers))
        names = [f"cpython.thread_pool.{name}" for name in ("thread.count", "thread.limit", "work_item.count")]

        async def main():
            await anyio.to_thread.run_sync(int)
            found = sink.collect().as_dict()
            print([[*found[name].values()] for name in names], flush=True)
            child = os.fork()
            if child == 0:
                found = sink.collect().as_dict()
                print([[*found.get(name, {}).values()] for name in names], flush=True)
                os._exit(0)
            os.waitpid(child, 0)

        anyio.run(main)
        """
    )

    assert ["[[1], [40], [1]]", "[[0], [], [0]]"] == said.splitlines()
