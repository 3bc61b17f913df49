# SPDX-License-Identifier: Apache-2.0
"""Work that waits for a thread is said while it waits, with the lines that the threads are at."""

from __future__ import annotations

import gc
import json
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from mongo import eventually
from otel_resinstr.semconv import CPYTHON_THREAD_POOL_SATURATED
from otel_resinstr.threadpool.anyio_limiters import AnyioLimiters
from otel_resinstr.threadpool.executors import Executors
from otel_resinstr.threadpool.pools import EXECUTOR, LOOP_DEFAULT
from otel_resinstr.threadpool.saturation import Saturation
from support import run_python

EVENT = CPYTHON_THREAD_POOL_SATURATED.name
STATE = "cpython.thread_pool.saturated.state"
DURATION = "cpython.thread_pool.saturated.duration"


@pytest.fixture
def ticks(ticker, pools):
    return ticker(pools, Executors(pools), AnyioLimiters(pools), Saturation(pools, 1.0))


def line_of(function, text):
    """The number of the line of *function* that holds *text*."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    first = function.__code__.co_firstlineno
    return next(number for number in range(first, len(lines) + 1) if text in lines[number - 1])


def eventually_in(workers, function, times=1):
    """Wait until so many of the threads *workers* have *function* as their innermost; they have a step to go to it."""

    def arrived():
        frames = sys._current_frames()
        codes = [frames[worker.ident].f_code for worker in workers() if worker.ident in frames]
        return [f"{Path(code.co_filename).stem}.{code.co_name}" for code in codes].count(function) == times

    eventually(arrived, seconds=30)


def states(sink):
    return [(event.attributes[STATE], event.attributes[DURATION]) for event in sink.events(EVENT)]


def test_the_whole_event(ticks, sink, executor, work, clock):
    """Exactly these attributes, of these types, and one line that a person can act on; then that it is over."""

    def report():
        work.enter()
        work.release.wait(30)

    pool = executor(2, "reports-7")
    for _ in range(5):
        pool.submit(report)
    work.begun(2)
    eventually_in(lambda: pool._threads, "threading.wait", 2)
    clock.now += 0.9
    ticks.tick()
    early = sink.events()
    clock.now += 0.6
    ticks.tick()
    clock.now += 1.0
    ticks.tick()
    work.end()
    pool.shutdown()
    ticks.tick()
    ticks.tick()
    saturated, ended = sink.events(EVENT)
    line, function = line_of(report, "release.wait"), saturated.attributes["code.function.name"]

    assert [] == early
    assert {
        "thread_pool.name": "reports-N",
        "thread_pool.type": "executor",
        "code.file.path": __file__,
        "code.function.name": function,
        "code.line.number": line,
        "cpython.thread_pool.saturated.busy": 2,
        "cpython.thread_pool.saturated.duration": pytest.approx(1.5),
        "cpython.thread_pool.saturated.limit": 2,
        "cpython.thread_pool.saturated.longest": pytest.approx(1.5),
        "cpython.thread_pool.saturated.queued": 3,
        "cpython.thread_pool.saturated.sites": (f"2 test_saturation.py:{line} {function}",),
        "cpython.thread_pool.saturated.state": "saturated",
        "cpython.thread_pool.saturated.threads": 2,
    } == dict(saturated.attributes)
    assert function.endswith("report")
    assert (
        "the thread pool reports-N (executor) is saturated: 3 work items wait for a thread, the first for 1.50 s; "
        f"2 of 2 threads are busy, 2 at test_saturation.py:{line} {function} ({__file__}). "
        "Make this work shorter, or give the pool more threads if what they wait for can take it"
    ) == saturated.body
    assert {
        "thread_pool.name": "reports-N",
        "thread_pool.type": "executor",
        "cpython.thread_pool.saturated.duration": pytest.approx(2.5),
        "cpython.thread_pool.saturated.state": "ended",
    } == dict(ended.attributes)
    assert (
        "the thread pool reports-N (executor) keeps up again; for 2.50 s work had to wait for its threads"
    ) == ended.body


def test_lines_are_grouped(ticks, sink, executor, work, clock):
    """Five lines are named, those with most threads first, and how many threads are elsewhere."""
    sources = "\n".join(
        f"def work_{letter}(work): work.enter(), work.release.wait(30)" for letter in "abcdefg"
    )
    shop = {"__name__": "shop.reports"}
    exec(compile(sources, "/srv/shop/reports.py", "exec"), shop)
    pool = executor(12)
    for letter in "aaabbccddefg":
        pool.submit(shop[f"work_{letter}"], work)
    work.begun(12)
    pool.submit(int)
    eventually_in(lambda: pool._threads, "threading.wait", 12)
    clock.now += 1.0
    ticks.tick()
    (event,) = sink.events(EVENT)

    assert (
        "3 reports.py:1 work_a",
        "2 reports.py:2 work_b",
        "2 reports.py:3 work_c",
        "2 reports.py:4 work_d",
        "1 reports.py:5 work_e",
    ) == event.attributes["cpython.thread_pool.saturated.sites"]
    assert (
        "1 work item waits for a thread, the first for 1.00 s; 12 of 12 threads are busy, "
        "3 at reports.py:1 work_a (/srv/shop/reports.py), 2 at reports.py:2 work_b (/srv/shop/reports.py), "
        "2 at reports.py:3 work_c (/srv/shop/reports.py), 2 at reports.py:4 work_d (/srv/shop/reports.py), "
        "1 at reports.py:5 work_e (/srv/shop/reports.py), 2 elsewhere. Make this work shorter"
    ) in event.body


def test_work_in_c_has_the_line_that_called_it(ticks, sink, executor, clock):
    """Where there is no line of the application it is the innermost that there is."""
    lock = threading.Lock()
    lock.acquire()
    pool = executor(1)
    pool.submit(lock.acquire)
    pool.submit(int)
    eventually(lambda: pool._work_queue.qsize() == 1)
    eventually_in(lambda: pool._threads, "thread.run")
    clock.now += 1.0
    ticks.tick()
    lock.release()
    (event,) = sink.events(EVENT)

    assert ("thread.py", "run") == (
        Path(event.attributes["code.file.path"]).name,
        event.attributes["code.function.name"].rpartition(".")[2],
    )


class Thing:
    """Something that can be referred to weakly."""


def test_our_thread_keeps_no_frame(ticks, sink, executor, work, clock):
    """What the functions of the application hold goes when they return, with no help of the collector."""
    references = []

    def holds():
        thing = Thing()
        references.append(weakref.ref(thing))
        work()

    pool = executor(1)
    pool.submit(int).result(30)
    gc.collect()
    gc.disable()
    try:
        done = pool.submit(holds)
        work.begun(1)
        pool.submit(int)
        clock.now += 1.0
        ticks.tick()
        work.end()
        done.result(30)
        pool.submit(int).result(30)
        assert [None] == [reference() for reference in references]
    finally:
        gc.enable()
    assert 1 == len(sink.events(EVENT))


def test_on_an_interpreter_that_shows_no_stacks(ticks, sink, executor, work, clock, monkeypatch):
    """All is said but for the lines."""
    monkeypatch.delattr(sys, "_current_frames")
    pool = executor(1)
    for _ in range(2):
        pool.submit(work)
    work.begun(1)
    clock.now += 1.0
    ticks.tick()
    (event,) = sink.events(EVENT)

    assert "the first for 1.00 s; 1 of 1 threads are busy. Make" in event.body
    assert "code.line.number" not in event.attributes


def test_it_is_said_again_while_it_goes_on(ticks, sink, executor, work, clock):
    """After 10 s, after 60 s, and each further minute: not at each look."""
    pool = executor(1)
    for _ in range(2):
        pool.submit(work)
    work.begun(1)
    for _ in range(400):
        clock.now += 0.5
        ticks.tick()

    assert [("saturated", at) for at in (1.0, 10.0, 60.0, 120.0, 180.0)] == states(sink)


def test_a_pool_that_gets_on_is_left_alone(ticks, sink, executor, clock, another):
    """Full at each look, with work in its queue: but none of it waits for long."""
    pool = executor(1)
    for _ in range(5):
        item = another()
        pool.submit(item)
        item.begun(1)
        pool.submit(int)
        clock.now += 0.5
        ticks.tick()
        item.end()
        pool.submit(int).result(30)

    assert [] == sink.events()


def test_one_pool_does_not_flood_the_log(ticks, sink, executor, clock, another):
    """Spell after spell within a minute: the first is said, with its end; the rest is counted into the next."""
    pool = executor(1)
    for _ in range(4):
        item = another()
        pool.submit(item)
        item.begun(1)
        last = pool.submit(int)
        clock.now += 1.5
        ticks.tick()
        item.end()
        last.result(30)
        ticks.tick()

    assert [("saturated", 1.5), ("ended", 1.5)] == states(sink)


def test_a_pool_that_goes_away_has_ended(ticks, sink, work, clock):
    """What was said is taken back also where nobody is left to keep up."""
    pool = ThreadPoolExecutor(1, "job")
    for _ in range(2):
        pool.submit(work)
    work.begun(1)
    clock.now += 1.0
    ticks.tick()
    workers = tuple(pool._threads)
    del pool
    work.end()
    for worker in workers:
        worker.join(30)
    ticks.tick()

    assert ["saturated", "ended"] == [state for state, _ in states(sink)]


def test_what_was_cancelled_does_not_wait(ticks, sink, executor, work, clock):
    """A queue of cancelled work behind a long one is no reason to call somebody."""
    pool = executor(1)
    pool.submit(work)
    work.begun(1)
    for future in [pool.submit(int) for _ in range(3)]:
        future.cancel()
    clock.now += 5.0
    ticks.tick()

    assert [] == sink.events()


def test_workers_that_wait_for_each_other(ticks, sink, executor, clock):
    """Work that waits for other work of its own pool: the line that waits is named."""
    pool = executor(1)
    entered = threading.Event()
    inner = []

    def outer():
        inner.append(pool.submit(int))
        entered.set()
        inner[0].exception(60)

    pool.submit(outer)
    assert entered.wait(30)
    clock.now += 2.0
    eventually_in(lambda: pool._threads, "threading.wait")
    ticks.tick()
    inner[0].cancel()
    (event,) = sink.events(EVENT)

    assert (__file__, line_of(outer, ".exception(")) == (
        event.attributes["code.file.path"],
        event.attributes["code.line.number"],
    )


def anyio_workers():
    return [worker for worker in threading.enumerate() if worker.name == "AnyIO worker thread"]


def test_the_limiter_of_anyio(ticks, sink, work, clock):
    """As many `def` endpoints as there are tokens, all at one line; who waits is told what they share."""

    def endpoint():
        work.enter()
        work.release.wait(30)

    async def main():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(anyio.to_thread.run_sync, endpoint)
            with anyio.fail_after(30):
                while len(work.times) < 2:  # noqa: ASYNC110  it begins in threads
                    await anyio.sleep(0.005)
            eventually_in(anyio_workers, "threading.wait", 2)
            clock.now += 2.0
            ticks.tick()
            work.end()
        ticks.tick()

    anyio.run(main)
    saturated, ended = sink.events(EVENT)
    line, function = line_of(endpoint, "release.wait"), saturated.attributes["code.function.name"]

    assert (
        "the thread pool default (anyio) is saturated: 1 work item waits for a thread, the first for 2.00 s; "
        f"2 of 2 threads are busy, 2 at test_saturation.py:{line} {function} ({__file__}). `def` endpoints and "
        "dependencies share this limit: await in `async def` what they wait for, make it shorter, or raise "
        "total_tokens of anyio.to_thread.current_default_thread_limiter()"
    ) == saturated.body
    assert "ended" == ended.attributes[STATE]


@pytest.mark.parametrize(("kind", "what"), [(LOOP_DEFAULT, "asyncio.to_thread and"), (EXECUTOR, "Make this")])
def test_each_kind_of_pool_has_its_remedy(ticker, sink, pools, clock, fake, kind, what):
    """What to do depends on whose threads they are; what is not known is left out."""
    pool = fake.Pool(pools.series("a", kind), since=clock.now - 3.0)
    ticks = ticker(pools, fake.Finder(pools, [pool]), Saturation(pools, 1.0))
    ticks.tick()
    (event,) = sink.events(EVENT)

    assert (
        f"the thread pool a ({kind}) is saturated: work waits for a thread, the first for 3.00 s. {what}"
        in event.body
    )
    assert {
        "thread_pool.name": "a",
        "thread_pool.type": kind,
        "cpython.thread_pool.saturated.duration": 3.0,
        "cpython.thread_pool.saturated.longest": 3.0,
        "cpython.thread_pool.saturated.state": "saturated",
    } == dict(event.attributes)


def test_there_are_looks_only_where_there_are_pools(ticker, pools, fake):
    """No thread of ours is needed before the first pool; a pool that was there before us is one."""
    ticks = ticker(pools, Saturation(pools, 1.0))
    without = list(ticks.calls)
    pools.series("a", EXECUTOR)
    late = ticker(pools, Saturation(pools, 4.0))

    assert ([], [0.5], [2.0]) == (
        without,
        [each for each, _ in ticks.calls],
        [each for each, _ in late.calls],
    )


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="forks")
def test_an_executor_that_a_fork_left_without_threads():
    """The child is told that its work waits for ever, and what to do; the parent is told nothing."""
    said = run_python(
        """
        import json, os, threading, warnings
        from concurrent.futures import ThreadPoolExecutor
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.threadpool.executors import Executors
        from otel_resinstr.threadpool.pools import Pools
        from otel_resinstr.threadpool.saturation import Saturation
        import logging, time
        logging.getLogger("otel_resinstr").addHandler(logging.NullHandler())

        sink, pools = Sink(), Pools(60.0)
        running = Running([pools, Executors(pools), Saturation(pools, 0.2)], Telemetry(**sink.providers))
        pool = ThreadPoolExecutor(1, "job")
        pool.submit(int).result()
        child = os.fork()
        if child == 0:
            pool.submit(int)
            while not sink.events():
                time.sleep(0.01)
            print(json.dumps([sink.events()[0].body, dict(sink.events()[0].attributes)]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(len(sink.events()))
        running.stop()
        """
    )
    child, parent = said.splitlines()
    body, attributes = json.loads(child)

    assert "0" == parent
    assert body.startswith(
        "the thread pool job (executor) is saturated: 1 work item waits for a thread, the first for "
    )
    assert body.endswith(
        "s; it has no threads in this process, and what it is given waits for ever. "
        "Threads do not follow a fork: make the pool in the child"
    )
    assert (0, 0, 1) == tuple(
        attributes[f"cpython.thread_pool.saturated.{name}"] for name in ("threads", "busy", "queued")
    )
