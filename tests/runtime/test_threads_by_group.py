# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

from fakes import run
from otel_resinstr.runtime.threads_by_group import ThreadsByGroup, _executor_threads
from otel_resinstr.semconv import CPYTHON_THREAD_COUNT

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells its threads without psutil")


def named(*names):
    return [threading.Thread(name=name) for name in names]


def groups(collected):
    return {group: count for (group,), count in collected.points(CPYTHON_THREAD_COUNT).items()}


@pytest.fixture
def tasks(tmp_path):
    """A machine on which the system counts as many threads of this process as the test says."""

    def tasks(count):
        for number in range(count):
            (tmp_path / "proc" / "self" / "task" / str(number)).mkdir(parents=True)
        return tmp_path

    return tasks


def test_threads_by_what_they_are_for(collect, tasks):
    """Every group of the contract, by the names that the libraries give to their threads."""
    threads = named(
        "pymongo_server_monitor_thread",
        "pymongo_server_monitor_thread",
        "pymongo_events_thread",
        "pymongo_srv_polling_thread",
        "pymongo_server_rtt_thread",
        "pymongo_server_rtt_thread",
        "pymongo_kill_cursors_thread",
        "ThreadPoolExecutor-0_0",
        "ThreadPoolExecutor-12_3",
        "asyncio_7",
        "AnyIO worker thread",
        "OtelBatchSpanRecordProcessor",
        "OtelBatchLogRecordProcessor",
        "OtelPeriodicExportingMetricReader",
        "resinstr",
        "resinstr.flush",
        "Thread-1 (serve)",
        "ThreadPoolExecutor-0_0 and more",
        "my ThreadPoolExecutor-0_0",
        "asyncio_x",
        "resinstr of somebody else",
    )
    probe = ThreadsByGroup(
        threads=lambda: [threading.main_thread(), *threads], executor_threads=set, root=tasks(25)
    )

    assert {
        CPYTHON_THREAD_COUNT.name: {
            ("main",): 1,
            ("pymongo.monitor",): 4,
            ("pymongo.rtt",): 2,
            ("pymongo.kill_cursors",): 1,
            ("thread_pool",): 3,
            ("anyio",): 1,
            ("opentelemetry",): 3,
            ("resinstr",): 2,
            ("native",): 3,
            ("_other",): 5,
        }
    } == collect(probe).as_dict()


def test_workers_are_known_by_their_pool(collect, tmp_path):
    """Whatever prefix a pool gives to its workers, they are workers."""
    workers = named("request handler_0", "request handler_1")
    probe = ThreadsByGroup(
        threads=lambda: [*workers, *named("other")], executor_threads=lambda: workers, root=tmp_path
    )

    assert {"main": 0, "thread_pool": 2, "_other": 1} == groups(collect(probe))


def test_where_the_system_does_not_tell_native_is_absent(collect, tmp_path):
    """What is not known is no zero."""
    probe = ThreadsByGroup(threads=lambda: [threading.main_thread()], root=tmp_path)

    assert {"main": 1} == groups(collect(probe))


@pytest.mark.parametrize("count", [1, 2])
def test_native_is_never_negative(collect, tasks, count):
    """A thread that ends between the two counts does not make a negative number."""
    probe = ThreadsByGroup(threads=lambda: [threading.main_thread(), *named("a")], root=tasks(count))

    assert {"main": 1, "_other": 1, "native": 0} == groups(collect(probe))


def test_a_group_that_was_there_stays_with_a_zero(collect, start, tmp_path):
    """A dashboard must not show the last value of a group for ever; a group that never was is no zero."""
    threads = named("pymongo_server_rtt_thread", "AnyIO worker thread")
    start(ThreadsByGroup(threads=lambda: threads, root=tmp_path))
    before = groups(collect())
    threads.clear()

    assert ({"main": 0, "pymongo.rtt": 1, "anyio": 1}, {"main": 0, "pymongo.rtt": 0, "anyio": 0}) == (
        before,
        groups(collect()),
    )


def test_pools_are_not_imported_for_the_sake_of_looking():
    """In a process without thread pools the module of thread pools stays out."""
    assert [False, 0] == run("""
for name in [name for name in sys.modules if name.startswith("concurrent.futures")]:
    del sys.modules[name]
from otel_resinstr.runtime.threads_by_group import ThreadsByGroup, _executor_threads

start(ThreadsByGroup())
collect()
print(json.dumps(("concurrent.futures.thread" in sys.modules, len(_executor_threads()))))
""")


def test_real_pools(collect, start):
    """A pool with names of its own, and the default pool of asyncio, until they are gone."""
    start(ThreadsByGroup())
    before = groups(collect())

    async def in_default_pool():
        return await asyncio.to_thread(lambda: groups(collect()))

    with ThreadPoolExecutor(3, thread_name_prefix="custom") as pool:
        together = threading.Barrier(4)
        for _ in range(3):
            pool.submit(together.wait)
        together.wait(10)
        with_pool = groups(collect())
    with_default = asyncio.run(in_default_pool())
    after = groups(collect())

    pool_before = before.get("thread_pool", 0)
    seen = [each["thread_pool"] - pool_before for each in (with_pool, with_default, after)]
    assert [3, 1, 0] == seen
    assert before.get("_other", 0) == with_pool.get("_other", 0)


def test_the_registry_of_workers_is_where_it_was():
    """The private table of CPython's pools still has the workers in it."""
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(threading.current_thread).result(10)

        assert worker in _executor_threads()


def test_the_threads_of_the_sdk(collect, start):
    """The reader that exports metrics is OpenTelemetry's."""
    start(ThreadsByGroup())
    before = groups(collect())
    with Path(os.devnull).open("w") as nowhere:
        reader = PeriodicExportingMetricReader(
            ConsoleMetricExporter(nowhere), export_interval_millis=3_600_000
        )
        provider = MeterProvider([reader], shutdown_on_exit=False)
        with_reader = groups(collect())
        provider.shutdown()

    assert before.get("opentelemetry", 0) + 1 == with_reader["opentelemetry"]


@linux_only
def test_a_thread_that_python_did_not_start_is_native():
    """Also once Python code has run in it, and no longer once it has ended."""
    name = CPYTHON_THREAD_COUNT.name
    assert [{name: {"main": 1, "native": native}} for native in (0, 1, 0)] == run("""
import _thread
import threading
from otel_resinstr.runtime.threads_by_group import ThreadsByGroup

start(ThreadsByGroup())
seen = []

def look(threads):
    settled(threads)
    seen.append(collect())

look(1)
known, end = threading.Event(), threading.Event()

def foreign():
    threading.current_thread()  # makes the stand-in that threading.enumerate() lists
    known.set()
    end.wait()

_thread.start_new_thread(foreign, ())
known.wait()
look(2)
end.set()
look(1)
print(json.dumps(seen))
""")


@linux_only
def test_a_forked_child_has_its_own_threads_and_groups():
    """The child has a main thread, whichever thread forked, and no zeros for what only its parent had."""
    parent, child, grandchild = run("""
import threading
from otel_resinstr.runtime.threads_by_group import ThreadsByGroup

def look(threads=1):
    settled(threads)
    return collect()

start(ThreadsByGroup())
end = threading.Event()
thread = threading.Thread(target=end.wait, name="pymongo_server_monitor_thread")
thread.start()
parent = look(2)
child = forked(look)

results = []
other = threading.Thread(target=lambda: results.append(forked(look)), name="AnyIO worker thread")
other.start()
other.join()
end.set()
thread.join()
print(json.dumps((parent, child, results[0])))
""")

    name = CPYTHON_THREAD_COUNT.name
    assert {name: {"main": 1, "pymongo.monitor": 1, "native": 0}} == parent
    assert {name: {"main": 1, "native": 0}} == child
    assert {name: {"main": 1, "native": 0}} == grandchild
