# SPDX-License-Identifier: Apache-2.0
"""Executors are found, counted as a model counts them, and behave as they do without us."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import json
import pickle
import queue
import sys
import threading
import traceback
import weakref
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor, thread, wait
from types import SimpleNamespace

import pytest
import rloop
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mongo import eventually
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.semconv import (
    CPYTHON_THREAD_POOL_QUEUE_LENGTH,
    CPYTHON_THREAD_POOL_THREAD_BUSY,
    CPYTHON_THREAD_POOL_THREAD_COUNT,
    CPYTHON_THREAD_POOL_THREAD_LIMIT,
    CPYTHON_THREAD_POOL_WORK_ITEM_COUNT,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME,
)
from otel_resinstr.threadpool.executors import Executor, Executors
from otel_resinstr.threadpool.pools import EXECUTOR, LOOP_DEFAULT, Pools
from support import Sink, run_python

# rloop leaves its sockets to the collector; the tests below do not leave them to the next one.
RLOOP = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
COUNTS = {
    "threads": CPYTHON_THREAD_POOL_THREAD_COUNT.name,
    "limit": CPYTHON_THREAD_POOL_THREAD_LIMIT.name,
    "busy": CPYTHON_THREAD_POOL_THREAD_BUSY.name,
    "queued": CPYTHON_THREAD_POOL_QUEUE_LENGTH.name,
    "finished": CPYTHON_THREAD_POOL_WORK_ITEM_COUNT.name,
}
JOB = ("job", EXECUTOR)


def counts(collected, series=JOB):
    """Threads, limit and the like of one series; what is absent is left out."""
    found = {what: collected.points(name).get(series) for what, name in COUNTS.items()}
    return {what: count for what, count in found.items() if count is not None}


# Finding


@pytest.mark.parametrize(
    ("loop_class", "name"),
    [
        (asyncio.SelectorEventLoop, "asyncio"),
        (uvloop.Loop, "uvloop"),
        pytest.param(rloop.RLoop, "ThreadPoolExecutor-N", marks=RLOOP),
    ],
)
@pytest.mark.parametrize("way", ["to_thread", "run_in_executor"])
def test_the_default_executor_of_a_loop(watch, collect, loop_class, name, way):
    """It is found whichever loop makes it, and told from the application's own."""

    async def main():
        if way == "to_thread":
            await asyncio.to_thread(int)
        else:
            await asyncio.get_running_loop().run_in_executor(None, int)
        return collect()

    watch()
    loop = loop_class()
    collected = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    del loop  # rloop's sockets go here, and not in the next test that collects
    gc.collect()

    assert {(name, LOOP_DEFAULT): 1} == collected.points(CPYTHON_THREAD_POOL_THREAD_COUNT)


@pytest.mark.parametrize(
    "loop_class", [asyncio.SelectorEventLoop, uvloop.Loop, pytest.param(rloop.RLoop, marks=RLOOP)]
)
def test_an_executor_that_a_loop_is_handed(watch, collect, executor, loop_class):
    """From then on it is the default of the loop; what it did before stays counted where it was."""
    watch()
    executor(1)
    pool = executor(2)
    pool.submit(int).result()
    # Who has the result may be faster than who counts it.
    eventually(lambda: collect().points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT)[JOB] == 1)
    loop = loop_class()
    loop.set_default_executor(pool)
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop.close()
    del loop  # rloop's sockets go here, and not in the next test that collects
    gc.collect()
    pool.shutdown()

    assert {JOB: 1, ("job", LOOP_DEFAULT): 1} == collect().points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT)


def test_an_executor_that_a_loop_is_handed_while_it_works(watch, collect, executor, work):
    """What began before is counted where its wait was."""
    watch()
    pool = executor(1)
    pool.submit(work)
    work.begun(1)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(pool)
    loop.close()
    work.end()
    pool.shutdown()

    assert {JOB: 1, ("job", LOOP_DEFAULT): 0} == collect().points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT)


def test_what_is_no_executor_can_be_handed_to_a_loop_as_before(watch, executor):
    """asyncio refuses it with its own error; an executor of another kind in uvloop is none of ours."""
    watch()
    loop = asyncio.SelectorEventLoop()
    with pytest.raises((TypeError, DeprecationWarning)):  # the second: until Python 3.10
        loop.set_default_executor(None)
    loop.close()
    other = uvloop.Loop()
    other.set_default_executor(SimpleNamespace(shutdown=lambda **_: None))
    other.close()


class Bounded(ThreadPoolExecutor):
    """A subclass as people write them: its own queue, its own `submit`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._work_queue = queue.Queue(10)

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(fn, *args, **kwargs)


class Daemons(ThreadPoolExecutor):
    """Another: it starts its threads in its own way."""

    def _adjust_thread_count(self):
        if len(self._threads) < self._max_workers:
            started = threading.Thread(target=self._serve, name=f"daemon_{len(self._threads)}", daemon=True)
            self._threads.add(started)
            started.start()

    def _serve(self):
        while (item := self._work_queue.get()) is not None:
            item.run()
        self._work_queue.put(None)


class ByName(ThreadPoolExecutor):
    """One more: it hands what the threads need over by name."""

    def _adjust_thread_count(self):
        if len(self._threads) < self._max_workers:
            names = inspect.signature(thread._worker).parameters
            given = (weakref.ref(self), self._work_queue, self._initializer, self._initargs)
            started = threading.Thread(target=thread._worker, kwargs=dict(zip(names, given, strict=True)))
            self._threads.add(started)
            started.start()


@pytest.mark.parametrize("kind", [Bounded, Daemons, ByName])
def test_a_subclass_is_found(watch, collect, executor, work, kind):
    """What it replaces does not matter."""
    watch()
    pool = executor(2, kind=kind)
    for _ in range(3):
        pool.submit(work)
    work.begun(2)

    assert {"threads": 2, "limit": 2, "busy": 2, "queued": 1, "finished": 0} == counts(collect())


def test_an_executor_that_existed_before(watch, collect, executor, work):
    """It is found with its threads and its queue. What was begun without us is not seen to run, what follows is."""
    pool = executor(1)
    pool.submit(work)
    work.begun(1)
    pool.submit(int)
    watch()
    before = counts(collect())
    work.end()
    pool.shutdown()
    after = collect()

    assert {"threads": 1, "limit": 1, "busy": 0, "queued": 1, "finished": 0} == before
    # When it was submitted is not known: its wait is not counted.
    assert ({"threads": 0, "busy": 0, "queued": 0, "finished": 1}, {JOB: 0.0}) == (
        counts(after),
        after.points(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME),
    )


def test_an_executor_that_could_not_be_found_before_is_found_by_its_threads(watch, collect, work):
    """The collector does not tell of what was frozen before a fork; a thread that starts does."""
    pool = ThreadPoolExecutor(2, "job")
    gc.freeze()
    watch()
    unseen = collect().as_dict()
    for _ in range(2):
        pool.submit(work)
    work.begun(2)
    gc.unfreeze()
    seen = counts(collect())
    work.end()
    pool.shutdown()

    assert ({}, {"threads": 2, "limit": 2, "busy": 2, "queued": 0, "finished": 0}) == (unseen, seen)


def test_an_executor_of_opentelemetrys_is_left_out(watch, collect, work):
    """The SDK makes one in each process, and in each forked child: the application knows nothing of it."""
    watch()
    sdk = {"__name__": "opentelemetry.sdk.resources", "ThreadPoolExecutor": ThreadPoolExecutor}
    exec("pool = ThreadPoolExecutor(1, 'job')", sdk)
    with sdk["pool"] as pool:
        future = pool.submit(work, "done")
        work.begun(1)
        during = collect().as_dict()
        work.end()

    assert ({}, "done", {}) == (during, future.result(), collect().as_dict())


def test_an_executor_of_opentelemetrys_whose_thread_has_the_number_of_one_before(start, collect, pools):
    """The system gives the numbers of threads anew: the work of the next one is not of the pool before."""
    executors = Executors(pools)
    start(pools, executors)
    with ThreadPoolExecutor(1, "job") as pool:
        pool.submit(int)
    (before,) = pools.all()
    sdk = {"__name__": "opentelemetry.sdk.resources", "ThreadPoolExecutor": ThreadPoolExecutor}
    exec("pool = ThreadPoolExecutor(1, 'sdk')", sdk)

    def starts():
        executors._by_thread[threading.get_ident()] = before
        thread._worker(weakref.ref(sdk["pool"]), sdk["pool"]._work_queue, None, ())

    future = Future()
    sdk["pool"]._work_queue.put(thread._WorkItem(future, *_task(int)))
    worker = threading.Thread(target=starts)
    worker.start()
    assert 0 == future.result(30)
    sdk["pool"].shutdown()
    worker.join(30)

    assert {JOB: 1} == collect().points(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT)


def test_where_wrapt_has_frames_of_its_own():
    """Without its extension in C: what is opentelemetry's is left out, and what a loop makes is its default."""
    said = run_python(
        """
        import os, sys
        os.environ["WRAPT_DISABLE_EXTENSIONS"] = "1"
        import asyncio, wrapt
        from concurrent.futures import ThreadPoolExecutor
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.threadpool.executors import Executors
        from otel_resinstr.threadpool.pools import Pools

        assert wrapt and "wrapt._wrappers" not in sys.modules
        sink, pools = Sink(), Pools(60.0)
        running = Running([pools, Executors(pools)], Telemetry(**sink.providers))
        sdk = {"__name__": "opentelemetry.sdk.resources", "ThreadPoolExecutor": ThreadPoolExecutor}
        exec("pool = ThreadPoolExecutor(1, 'sdk')", sdk)
        sdk["pool"].submit(int).result()
        asyncio.run(asyncio.to_thread(int))
        print(sorted(sink.collect().as_dict()["cpython.thread_pool.work_item.count"]))
        """
    )

    assert ["[('asyncio', 'loop_default')]"] == said.splitlines()


def test_executors_are_not_looked_for_where_there_can_be_none():
    """The module that makes them is imported after us: what exists already need not be gone through."""
    said = run_python(
        """
        import gc, sys
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.threadpool.executors import Executors
        from otel_resinstr.threadpool.pools import Pools

        sink, pools = Sink(), Pools(60.0)  # the SDK imports the module
        del sys.modules["concurrent.futures.thread"]
        running = Running([pools, Executors(pools)], Telemetry(**sink.providers))
        gc.get_objects = None
        from concurrent.futures import thread
        import importlib
        thread = importlib.import_module("concurrent.futures.thread")
        with thread.ThreadPoolExecutor(1, "job") as pool:
            pool.submit(int)
        print(sink.collect().as_dict()["cpython.thread_pool.work_item.count"])
        print(len(sink.events()))
        """
    )

    assert ["{('job', 'executor'): 1}", "0"] == said.splitlines()


def test_what_cannot_be_made_raises_as_before(watch, collect):
    """And is no pool."""
    watch()
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        ThreadPoolExecutor(0)

    assert {} == collect().as_dict()


def test_an_executor_that_is_gone_is_no_pool(watch, collect):
    """However many there were: those that are gone are not kept."""
    watch()
    for _ in range(200):
        with ThreadPoolExecutor(1, "job") as pool:
            pool.submit(int)
    del pool

    assert {"threads": 0, "busy": 0, "queued": 0, "finished": 200} == counts(collect())


def test_an_executor_that_was_dropped_with_work_left(watch, collect, work):
    """Its threads finish what there is, and are counted until they have."""
    watch()
    pool = ThreadPoolExecutor(1, "job")
    for _ in range(3):
        pool.submit(work)
    work.begun(1)
    del pool
    before = counts(collect())
    work.end()
    eventually(lambda: counts(collect())["threads"] == 0)

    assert {"threads": 1, "busy": 1, "queued": 2, "finished": 0} == before
    assert {"threads": 0, "busy": 0, "queued": 0, "finished": 3} == counts(collect())


# Counting

ENDINGS = {"return": lambda: 1, "raise": lambda: 1 / 0, "exit": sys.exit}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    threads=st.integers(1, 3),
    items=st.lists(st.tuples(st.sampled_from([*ENDINGS]), st.booleans()), max_size=12),
    way=st.sampled_from(["wait", "cancel", "drop"]),
)
def test_whatever_is_submitted_is_counted_once(threads, items, way):
    """Work that returns, raises and is cancelled, and each way to shut down: finished + queued + busy is the model."""
    sink = Sink()
    pools = Pools(60.0)
    running = Running([pools, Executors(pools)], Telemetry(**sink.providers))
    begin, entered = threading.Event(), threading.Semaphore(0)

    def hold():
        entered.release()
        assert begin.wait(30)

    pool = ThreadPoolExecutor(threads, "job")
    held = [pool.submit(hold) for _ in range(threads)]
    for _ in held:
        assert entered.acquire(timeout=30)
    futures = [pool.submit(ENDINGS[ending]) for ending, _ in items]
    for future, (_, cancelled) in zip(futures, items, strict=True):
        if cancelled:
            assert future.cancel()
    before = counts(sink.collect())
    if way == "cancel":
        pool.shutdown(wait=False, cancel_futures=True)
        drained = counts(sink.collect())
        assert 0 == drained["queued"]
    workers = tuple(pool._threads)
    if way == "drop":
        del pool
    else:
        pool.shutdown(wait=False)
    begin.set()
    for worker in workers:
        worker.join(30)
    after = counts(sink.collect())
    ran = [future for future in (*held, *futures) if not future.cancelled()]
    running.stop()
    sink.shutdown()

    assert {
        "threads": threads,
        "limit": threads,
        "busy": threads,
        "queued": len(items),
        "finished": 0,
    } == before
    assert {"threads": 0, "busy": 0, "queued": 0, "finished": len(ran)} == after
    assert all(future.done() for future in (*held, *futures))


def test_work_that_was_cancelled_has_not_waited(watch, collect, executor, work, clock):
    """It never began: it is in the queue until a thread comes upon it, and then in no count."""
    watch()
    pool = executor(1)
    pool.submit(work)
    work.begun(1)
    cancelled = pool.submit(int)
    cancelled.cancel()
    clock.now += 5.0
    waiting = collect()
    work.end()
    pool.shutdown()
    after = collect()

    assert (1, {JOB: 0.0}) == (
        counts(waiting)["queued"],
        waiting.points(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX),
    )
    assert (1, {JOB: 0.0}) == (
        counts(after)["finished"],
        after.points(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME),
    )


def test_work_that_is_cancelled_while_a_thread_takes_it(watch, collect, executor, clock):
    """The future decides between us and the start: it did not run, and is not counted."""
    watch()
    pool = executor(1)

    class Late(Future):
        def set_running_or_notify_cancel(self):
            self.cancel()
            return super().set_running_or_notify_cancel()

    ran = []
    pool._work_queue.put(thread._WorkItem(Late(), *_task(ran.append, 1)))
    pool.submit(ran.append, 2)
    pool.shutdown()

    assert ([2], 1) == (ran, counts(collect())["finished"])


def _task(function, *args):
    """What makes a work item, as this Python takes it."""
    return (
        (function, args, {})
        if "fn" in inspect.signature(thread._WorkItem).parameters
        else ((function, args, {}),)
    )


def test_work_that_is_run_within_work(watch, collect, executor):
    """A worker that runs another work item by itself is busy with its own, which is the one that counts."""
    watch()
    pool = executor(1)
    inner = thread._WorkItem(Future(), *_task(int))
    pool.submit(inner.run).result(30)
    pool.shutdown()

    assert (0, 1) == (inner.future.result(), counts(collect())["finished"])


def test_work_that_is_run_by_nobodys_thread(watch, collect):
    """A work item that somebody runs by himself works, and is of no pool."""
    watch()
    future = Future()
    thread._WorkItem(future, *_task(int)).run()

    assert (0, {}) == (future.result(), collect().as_dict())


# Behaving as without us


def outcomes(pool):
    """All that can be seen of work: results, errors with their tracebacks, names, contexts."""
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set by the submitter")

    def fails():
        raise KeyError("x")

    futures = [pool.submit(fails), pool.submit(variable.get), pool.submit(lambda *, a: a, a=2)]
    wait(futures)
    error = futures[0].exception()
    return [
        [frame.name for frame in traceback.extract_tb(error.__traceback__)],
        [futures[1].result(), futures[2].result()],
        [type(future) for future in futures],
        list(pool.map(str, range(3))),
        sorted(worker.name for worker in pool._threads)[:1],
        str(inspect.signature(type(pool))),
        str(inspect.signature(pool.submit)),
        type(error.__context__),
    ]


def test_results_errors_and_contexts_are_as_without_us(watch, executor):
    """Tracebacks have no frame of ours; what the submitter has set does not get into the thread."""
    bare = outcomes(executor(1))
    watch()

    assert bare == outcomes(executor(1))
    assert (["run", "fails"], ["unset", 2]) == (bare[0], bare[1])


def test_an_initialiser_that_fails(watch, executor, collect, caplog):
    """The pool breaks as it does without us; the work that it drops was never begun."""
    watch()
    pool = executor(1, initializer=lambda: 1 / 0)
    with pytest.raises(BrokenExecutor):
        pool.submit(int).result(30)
    eventually(lambda: not any(worker.is_alive() for worker in pool._threads))

    assert {"threads": 0, "limit": 1, "busy": 0, "queued": 0, "finished": 0} == counts(collect())
    assert ["Exception in initializer:"] == [
        record.getMessage() for record in caplog.records if record.name == "concurrent.futures"
    ]


def test_an_initialiser_gets_what_it_is_given(watch, executor):
    """In each thread, before any work."""
    watch()
    seen = []
    executor(1, initializer=seen.append, initargs=("given",)).submit(seen.append, "work").result(30)

    assert ["given", "work"] == seen


class Thing(Exception):  # noqa: N818  no error of an application's
    """Something that can be raised, and referred to weakly."""


@RLOOP
def test_nothing_is_kept_alive(watch):
    """Executor, arguments, and what the frames of an error hold go at once, with no help of the collector."""

    def fails(thing):
        kept = Thing()
        references.append(weakref.ref(kept))
        raise Thing(thing)

    watch()
    gc.collect()
    gc.disable()
    try:
        references = []
        pool = ThreadPoolExecutor(1, "job")
        thing = Thing()
        references.append(weakref.ref(thing))
        future = pool.submit(fails, thing)
        wait([future])
        worker = next(iter(pool._threads))
        references += [weakref.ref(future), weakref.ref(future.exception()), weakref.ref(pool)]
        del future, thing
        wait([pool.submit(int)])  # the thread has let go of what it did before
        del pool
        worker.join(30)
        left = [reference() for reference in references]
    finally:
        gc.enable()

    assert [None] * 5 == left


def test_the_classes_can_be_pickled(watch):
    """By their names, as without us."""
    watch()

    assert [ThreadPoolExecutor, ThreadPoolExecutor.submit] == pickle.loads(
        pickle.dumps([ThreadPoolExecutor, ThreadPoolExecutor.submit])
    )


def test_the_interpreter_exits_as_without_us():
    """What was submitted is finished first, by an executor that exists or none, and nothing is said on the way."""
    said = run_python(
        """
        import atexit, threading
        from concurrent.futures import ThreadPoolExecutor
        import otel_resinstr
        otel_resinstr.instrument()
        threading._register_atexit(lambda: release.set())
        release, said = threading.Event(), []
        atexit.register(lambda: print(*sorted(said)))
        pool = ThreadPoolExecutor(1)
        for number in range(3):
            pool.submit(lambda number=number: (release.wait(30), said.append(str(number))))
        ThreadPoolExecutor(1).submit(lambda: (release.wait(30), said.append("dropped")))
        """
    )

    assert ["0", "1", "2", "dropped"] == said.split()


# Starting, stopping, forking


def test_what_is_patched_is_given_back(watch, executor):
    """The originals, ours, and the originals again."""

    def now():
        return [
            vars(thread._WorkItem)["__init__"],
            vars(thread._WorkItem)["run"],
            vars(thread)["_worker"],
            vars(ThreadPoolExecutor)["__init__"],
            vars(asyncio.BaseEventLoop)["set_default_executor"],
            vars(uvloop.Loop).get("set_default_executor"),
        ]

    before = now()
    running = watch()
    during = now()
    running.stop()

    assert [False] * 6 == [ours is theirs for ours, theirs in zip(during, before, strict=True)]
    assert before == now()


def test_pools_outlive_us_and_are_found_again(watch, start, collect, executor, work, clock):
    """Work that was begun under us ends without us; what begins under the next ones is counted by them, from 0."""
    running = watch()
    pool = executor(1)
    future = pool.submit(work, "result")
    work.begun(1)
    running.stop()
    assert {} == collect().as_dict()
    work.end()
    assert "result" == future.result(30)
    pools = Pools(60.0, clock)
    start(pools, Executors(pools))
    pool.submit(int).result(30)
    pool.shutdown()

    assert {"threads": 0, "busy": 0, "queued": 0, "finished": 1} == counts(collect())


FORK = """
import json, os, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from support import Sink
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.threadpool.executors import Executors
from otel_resinstr.threadpool.pools import Pools

sink, pools = Sink(), Pools(60.0)
running = Running([pools, Executors(pools)], Telemetry(**sink.providers))

def counts():
    found = sink.collect().as_dict()
    names = ("thread.count", "thread.busy", "queue.length", "work_item.count")
    return [found[f"cpython.thread_pool.{name}"][("job", "executor")] for name in names]

def forked(call):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)

pool = ThreadPoolExecutor(2, "job")
"""


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="forks")
def test_a_forked_child_begins_at_nothing():
    """The parent's executor has no threads in it, and one that the child makes is counted from 0."""
    said = run_python(
        FORK
        + """
pool.submit(int).result()
pool.submit(int).result()
pool.shutdown()
pool = ThreadPoolExecutor(2, "job")
release, entered = threading.Event(), threading.Semaphore(0)
def hold():
    entered.release()
    release.wait(30)
for _ in range(3):
    pool.submit(hold)
for _ in range(2):
    entered.acquire()

def child():
    before = counts()
    with ThreadPoolExecutor(1, "job") as own:
        own.submit(int)
    return [before, counts()]

print(json.dumps([counts(), *forked(child)]))
release.set()
"""
    )

    assert [[2, 2, 1, 2], [0, 0, 1, 0], [0, 0, 1, 1]] == json.loads(said)


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="forks")
def test_a_child_that_is_forked_by_a_worker():
    """The work that forked was begun in the parent, and is counted there only."""
    said = run_python(
        FORK
        + """
def child():
    return counts()

print(json.dumps(pool.submit(forked, child).result()))
pool.shutdown()
print(json.dumps(counts()))
"""
    )

    assert [[1, 0, 0, 0], [0, 0, 0, 1]] == [json.loads(line) for line in said.splitlines()]


# Elsewhere


def test_a_python_that_works_otherwise(start, collect, pools, monkeypatch, work):
    """Without the work items that we know, threads, limit and queue are still there; the rest is absent."""

    class Own(ThreadPoolExecutor):
        pass

    monkeypatch.setitem(sys.modules, "concurrent.futures.other", SimpleNamespace(ThreadPoolExecutor=Own))
    start(pools, Executors(pools, module="concurrent.futures.other"))
    pool = Own(1, "job")
    for _ in range(2):
        pool.submit(work)
    work.begun(1)
    collected = collect()
    waiting = [known.waiting_since() for known in pools.all()]
    work.end()
    pool.shutdown()
    gone = [known.waiting_since() for known in pools.all()]

    assert {"threads": 1, "limit": 1, "queued": 1} == counts(collected)
    assert {*COUNTS.values()} - {COUNTS["busy"], COUNTS["finished"]} | {
        CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX.name
    } == {*collected.names()}
    assert ([1000.0], [None]) == (waiting, gone)


def test_an_executor_without_a_queue(start, collect, pools):
    """Unknown is absent."""
    start(pools, Executors(pools))

    class Strange(ThreadPoolExecutor):
        def __init__(self):
            super().__init__(3, "job")
            del self._work_queue

    strange = Strange()
    found = counts(collect())
    del strange

    assert {"threads": 0, "limit": 3, "busy": 0, "finished": 0} == found


def test_what_is_known_of_an_executor_when_its_queue_is_not(pools, clock, monkeypatch):
    """Gone with the executor, or too long to be looked into for what is no work."""
    pool = ThreadPoolExecutor(1, "job")
    known = Executor(pool, pools.series("job", EXECUTOR), thread._WorkItem, clock)
    monkeypatch.setattr("otel_resinstr.threadpool._internals._MOST", 0)
    pool.shutdown()
    shut_down = known.queued()
    del pool

    assert (1, 0, None, False) == (shut_down, known.queued(), known.waiting_since(), known.exists())


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_green_threads(library, order):
    """Monkey-patched, the pools are green: they work, are counted, and no probe breaks."""
    patch = {
        "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
        "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
    }[library]
    imports = """
from support import Sink
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.threadpool.executors import Executors
from otel_resinstr.threadpool.pools import Pools
from otel_resinstr.threadpool.saturation import Saturation
"""
    said = run_python(
        "\n".join([patch, imports] if order == "before" else [imports, patch])
        + """
import time
from concurrent.futures import ThreadPoolExecutor
sink, pools = Sink(), Pools(60.0)
running = Running([pools, Executors(pools), Saturation(pools, 10.0)], Telemetry(**sink.providers))
with ThreadPoolExecutor(2, "job") as pool:
    print(sum(pool.map(lambda number: (time.sleep(0.01), number)[1], range(10))))
found = sink.collect().as_dict()
print(found["cpython.thread_pool.work_item.count"][("job", "executor")])
print(found["cpython.thread_pool.thread.busy"][("job", "executor")])
print(sink.events())
running.stop()
"""
    )

    assert ["45", "10", "0", "[]"] == said.split()
