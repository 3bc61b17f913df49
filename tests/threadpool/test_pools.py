# SPDX-License-Identifier: Apache-2.0
"""What pools report, through real readers of the SDK: all numbers of all pools, exactly."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_resinstr._probe import Running, Telemetry
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
from otel_resinstr.threadpool.executors import Executors
from otel_resinstr.threadpool.pools import EXECUTOR, Pools, Seen
from support import Collected

THREADS = CPYTHON_THREAD_POOL_THREAD_COUNT.name
LIMIT = CPYTHON_THREAD_POOL_THREAD_LIMIT.name
BUSY = CPYTHON_THREAD_POOL_THREAD_BUSY.name
QUEUED = CPYTHON_THREAD_POOL_QUEUE_LENGTH.name
FINISHED = CPYTHON_THREAD_POOL_WORK_ITEM_COUNT.name
WAITED = CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME.name
P50 = CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50.name
P99 = CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99.name
MAX = CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX.name


def of(collected, series):
    """What was reported of one series."""
    return {name: points[series] for name, points in collected.as_dict().items() if series in points}


def test_without_a_pool_there_is_nothing(collect, watch):
    """Unknown is absent: no series of zeros."""
    watch()

    assert {} == collect().as_dict()


def test_c_17_a_pool_whose_state_is_known_through_a_reader_of_the_sdk(watch, collect, executor, work, clock):
    """Two threads at work, three work items behind them, the first for 2 s: so says each instrument."""
    watch()
    pool = executor(2)
    for _ in range(5):
        pool.submit(work)
    work.begun(2)
    clock.now += 2.0

    assert {
        THREADS: {("job", EXECUTOR): 2},
        LIMIT: {("job", EXECUTOR): 2},
        BUSY: {("job", EXECUTOR): 2},
        QUEUED: {("job", EXECUTOR): 3},
        FINISHED: {("job", EXECUTOR): 0},
        WAITED: {("job", EXECUTOR): 0.0},
        P50: {("job", EXECUTOR): 0.0},
        P99: {("job", EXECUTOR): 0.0},
        MAX: {("job", EXECUTOR): pytest.approx(2.0)},
    } == collect().as_dict()


def test_what_has_waited(watch, collect, executor, work, clock):
    """Four work items after each other: 0, 2, 2 and 2 s; the total, the percentiles, and the count at the end."""
    watch()
    with executor(1) as pool:
        for _ in range(4):
            pool.submit(work)
        work.begun(1)
        clock.now += 2.0
        work.end()
    collected = collect()

    assert {
        THREADS: 0,
        BUSY: 0,
        QUEUED: 0,
        FINISHED: 4,
        WAITED: pytest.approx(6.0),
        P50: pytest.approx(2.0, rel=0.03),
        P99: pytest.approx(2.0, rel=0.03),
        MAX: pytest.approx(2.0),
    } == of(collected, ("job", EXECUTOR))


def test_the_percentiles_look_back_over_the_window(watch, collect, executor, clock):
    """After a minute without work there is nothing to say of waits; what is counted stays."""
    watch()
    with executor(1) as pool:
        pool.submit(int)
    clock.now += 66.0

    assert {THREADS: 0, BUSY: 0, QUEUED: 0, FINISHED: 1, WAITED: 0.0} == of(collect(), ("job", EXECUTOR))


def test_c_16_two_readers_see_the_same(pools, executor, work, clock):
    """Nothing is reset by reading: a second reader, and a second reading, get what the first one got."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    running = Running([pools, Executors(pools)], Telemetry(provider))
    pool = executor(1)
    for _ in range(3):
        pool.submit(work)
    work.begun(1)
    clock.now += 3.0
    seen = [Collected(reader.get_metrics_data()).as_dict() for reader in readers * 2]
    running.stop()
    provider.shutdown()

    assert 9 == len(seen[0])
    assert [seen[0]] * 4 == seen


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells its threads")
def test_threads_are_those_that_the_system_has(watch, collect, executor, work):
    """The kernel has those threads more that the interpreter has more, and we count; others may end meanwhile."""

    def tasks():
        return {int(task.name) for task in Path("/proc/self/task").iterdir()}

    watch()
    tasks_before, threads_before = tasks(), {*threading.enumerate()}
    pool = executor(3)
    for _ in range(3):
        pool.submit(work)
    work.begun(3)
    started = {thread.native_id for thread in {*threading.enumerate()} - threads_before}

    assert {("job", EXECUTOR): 3} == collect().points(THREADS)
    assert 3 == len(started)
    assert started == tasks() - tasks_before


def test_pools_of_one_name_add_up(watch, collect, executor, work):
    """Numbers in names are no names: `job-1` and `job-2` are one series."""
    watch()
    for number in (1, 22):
        executor(2, f"job-{number}").submit(work)
    work.begun(2)

    assert {THREADS: 2, LIMIT: 4, BUSY: 2, QUEUED: 0} == {
        name: value
        for name, value in of(collect(), ("job-N", EXECUTOR)).items()
        if name in (THREADS, LIMIT, BUSY, QUEUED)
    }


def test_c_28_names_are_bounded(watch, collect, executor):
    """A pool with a name of its own for each request does not make a series for each: 16, and one for the rest."""
    watch()
    for letter in "abcdefghijklmnopqrst":
        executor(1, f"pool of {letter}")
    limits = collect().points(LIMIT)

    assert {
        **{(f"pool of {letter}", EXECUTOR): 1 for letter in "abcdefghijklmnop"},
        ("_other", EXECUTOR): 4,
    } == limits


def test_what_a_pool_does_not_tell_is_absent(start, collect, pools, fake):
    """Of one that tells nothing there is nothing; a sum of which one part is not known is not known either."""
    silent = pools.series("silent", EXECUTOR, counted=False)
    mixed = pools.series("mixed", EXECUTOR)
    start(
        pools,
        fake.Finder(
            pools,
            [fake.Pool(silent), fake.Pool(mixed), fake.Pool(mixed, threads=1, limit=2, busy=1, queued=1)],
        ),
    )

    assert {
        LIMIT: {("mixed", EXECUTOR): 2},
        FINISHED: {("mixed", EXECUTOR): 0},
        WAITED: {("mixed", EXECUTOR): 0.0},
    } == collect().as_dict()


def test_a_finder_that_stops_takes_its_pools_along(start, collect, pools, fake):
    """The series of what this process had stay, at zero."""
    start(pools)
    finder = fake.Finder(
        pools, [fake.Pool(pools.series("a", EXECUTOR), threads=1, limit=2, busy=1, queued=1)]
    )
    running = start(finder)
    before = of(collect(), ("a", EXECUTOR))
    running.stop()

    assert {THREADS: 1, LIMIT: 2, BUSY: 1, QUEUED: 1, FINISHED: 0, WAITED: 0.0} == before
    assert {THREADS: 0, BUSY: 0, QUEUED: 0, FINISHED: 0, WAITED: 0.0} == of(collect(), ("a", EXECUTOR))


def test_two_threads_may_make_the_first_pool(pools, start):
    """Both find that somebody waits for it: one tells, and neither fails."""

    class Shared(deque):
        def __bool__(self):
            return True  # as it was a moment ago

    told = []
    pools._awaited = Shared([lambda: told.append("first")])
    for name in ("a", "b"):
        pools.series(name, EXECUTOR)

    assert ["first"] == told


def test_what_has_no_date_is_so_since_it_was_seen(clock):
    """As long as it is so without a break."""
    seen = Seen(clock)
    answers = []
    for so in (False, True, True, False, True):
        answers.append(seen(so=so))
        clock.now += 1.0

    assert [None, 1001.0, 1001.0, None, 1004.0] == answers


def test_the_clock_is_one_that_does_not_go_back():
    """C-31: durations come from a monotonic clock."""
    import time

    assert time.perf_counter is Pools(60.0).clock
    assert time.get_clock_info("perf_counter").monotonic
