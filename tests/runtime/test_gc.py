# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import sys
import threading

import pytest

from fakes import ALARM, run
from otel_resinstr.runtime.gc import GC
from otel_resinstr.semconv import (
    CPYTHON_GC_COLLECTED_OBJECTS,
    CPYTHON_GC_COLLECTIONS,
    CPYTHON_GC_UNCOLLECTABLE_OBJECTS,
)


def test_collections_and_what_came_of_them(collect):
    """By generation, as CPython says."""
    stats = [
        {"collections": 2, "collected": 7, "uncollectable": 0},
        {"collections": 0, "collected": 0, "uncollectable": 0},
        {"collections": 1, "collected": 100, "uncollectable": 1},
    ]
    now = [dict.fromkeys(told, 0) for told in stats]
    probe = GC(lambda: now)
    now = stats

    assert {
        CPYTHON_GC_COLLECTIONS.name: {(0,): 2, (1,): 0, (2,): 1},
        CPYTHON_GC_COLLECTED_OBJECTS.name: {(0,): 7, (1,): 0, (2,): 100},
        CPYTHON_GC_UNCOLLECTABLE_OBJECTS.name: {(0,): 0, (1,): 0, (2,): 1},
    } == collect(probe).as_dict()


def test_real_collections(collect, start):
    """The counts are the interpreter's."""
    start(GC())
    for _ in range(3):
        cycle = []
        cycle.append(cycle)
        del cycle
        gc.collect()
    stats = gc.get_stats()
    collected = collect()

    assert (
        stats[2]["collections"]
        <= collected.points(CPYTHON_GC_COLLECTIONS)[(2,)]
        <= stats[2]["collections"] + 2
    )
    assert collected.points(CPYTHON_GC_COLLECTED_OBJECTS)[(2,)] >= stats[2]["collected"]


def test_collections_in_all_threads_count(collect, start):
    """There is one at a time, whoever asks for it."""
    start(GC())
    before = collect().points(CPYTHON_GC_COLLECTIONS)[(1,)]

    def work():
        for _ in range(50):
            gc.collect(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # One that is asked for while another one runs is not made.
    assert 50 <= collect().points(CPYTHON_GC_COLLECTIONS)[(1,)] - before <= 250


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_counts_from_0():
    """CPython's own counts go on from the parent's; the child's are its own."""
    parent, child = run("""
import gc
from otel_resinstr.runtime.gc import GC

gc.collect()
gc.disable()
before = gc.get_stats()[2]["collections"]
start(GC())
for _ in range(20):
    gc.collect()

def of_generation_2():
    return collect()["cpython.gc.collections"]["2"]

def in_child():
    gc.collect()
    return of_generation_2()

print(json.dumps((of_generation_2() - before, forked(in_child))))
""")

    assert (20, 1) == (parent, child)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_an_alarm_during_a_collection_is_delivered():
    """With all that is on by default: nobody is called, and what the handler raises comes out of the collection.

    CPython runs a handler at the next line of Python. If that is in a callback of the garbage collector, what it raises
    is lost: Ctrl-C, a time limit.
    """
    delivered = run(
        ALARM
        + """
import otel_resinstr

otel_resinstr.instrument(**sink.providers)
print(json.dumps([delivered() for _ in range(10)]))
otel_resinstr.uninstrument()
"""
    )

    assert [True] * 10 == delivered
