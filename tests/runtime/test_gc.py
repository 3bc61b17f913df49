# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import sys
import threading

import pytest

from fakes import FakeClock, run
from otel_resinstr.runtime.gc import GC
from otel_resinstr.semconv import (
    CPYTHON_GC_COLLECTED_OBJECTS,
    CPYTHON_GC_COLLECTIONS,
    CPYTHON_GC_PAUSE_MAX,
    CPYTHON_GC_PAUSE_TIME,
    CPYTHON_GC_UNCOLLECTABLE_OBJECTS,
)

WINDOW = 60.0


class Interpreter:
    """Collections that take as long as the test says."""

    def __init__(self):
        self.clock = FakeClock(1000.0)
        self.callbacks = []
        self.stats = [{"collections": 0, "collected": 0, "uncollectable": 0} for _ in range(3)]

    def probe(self):
        return GC(WINDOW, lambda: [dict(told) for told in self.stats], self.callbacks, self.clock)

    def collects(self, generation, seconds, collected=0, uncollectable=0):
        info = {"generation": generation, "collected": 0, "uncollectable": 0}
        self.call("start", info)
        self.clock.now += seconds
        for name, more in (("collections", 1), ("collected", collected), ("uncollectable", uncollectable)):
            self.stats[generation][name] += more
        self.call("stop", info)

    def call(self, phase, info):
        for callback in list(self.callbacks):
            callback(phase, info)


def test_collections_and_what_they_took(collect, start):
    """By generation; the longest of the window."""
    interpreter = Interpreter()
    start(interpreter.probe())
    interpreter.collects(0, 0.25, collected=7)
    interpreter.collects(0, 0.5)
    interpreter.collects(2, 2.0, collected=100, uncollectable=1)
    interpreter.clock.now += 5.0

    assert {
        CPYTHON_GC_COLLECTIONS.name: {(0,): 2, (1,): 0, (2,): 1},
        CPYTHON_GC_COLLECTED_OBJECTS.name: {(0,): 7, (1,): 0, (2,): 100},
        CPYTHON_GC_UNCOLLECTABLE_OBJECTS.name: {(0,): 0, (1,): 0, (2,): 1},
        CPYTHON_GC_PAUSE_TIME.name: {(0,): 0.75, (1,): 0.0, (2,): 2.0},
        CPYTHON_GC_PAUSE_MAX.name: {(): 2.0},
    } == collect().as_dict()


def test_the_longest_is_not_the_last(collect, start):
    """Also where many short ones follow at once, or a little later."""
    interpreter = Interpreter()
    start(interpreter.probe())
    seen = []
    for seconds in (0.125, 0.25, 0.0625, 0.0625, 0.0625):
        interpreter.collects(0, seconds)
        seen.append(collect().value(CPYTHON_GC_PAUSE_MAX))
    interpreter.clock.now += WINDOW / 2
    interpreter.collects(0, 0.0625)

    assert [0.125, 0.25, 0.25, 0.25, 0.25, 0.25] == [*seen, collect().value(CPYTHON_GC_PAUSE_MAX)]


def test_a_window_without_a_collection_has_no_longest(collect, start):
    """None is not one of no length."""
    interpreter = Interpreter()
    start(interpreter.probe())
    before = collect().value(CPYTHON_GC_PAUSE_MAX)
    interpreter.collects(0, 0.5)
    interpreter.clock.now += 2 * WINDOW

    assert (None, None) == (before, collect().value(CPYTHON_GC_PAUSE_MAX))


def test_a_collection_that_had_begun_before_is_left_out(collect, start):
    """Where the probe starts in the middle of one, which a finaliser can do."""
    interpreter = Interpreter()
    start(interpreter.probe())
    interpreter.call("stop", {"generation": 2})

    assert {(0,): 0.0, (1,): 0.0, (2,): 0.0} == collect().points(CPYTHON_GC_PAUSE_TIME)


def test_the_callback_is_there_and_gone_again(start):
    """The list of callbacks is the application's, and as it was."""
    before = list(gc.callbacks)
    running = start(GC(WINDOW))
    during = list(gc.callbacks)
    running.stop()

    assert (len(before) + 1, before) == (len(during), gc.callbacks)


def test_an_application_that_has_removed_it_is_none_of_our_business(start):
    """``gc.callbacks.clear()``: stopping does not raise, and what stands there is left alone."""
    interpreter = Interpreter()
    running = start(interpreter.probe())
    interpreter.callbacks[:] = [print]
    running.stop()

    assert [print] == interpreter.callbacks


def test_real_collections(collect, start):
    """The counts are the interpreter's, and a collection takes some time."""
    start(GC(WINDOW))
    before = collect().points(CPYTHON_GC_PAUSE_TIME)[(2,)]
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
    assert collected.points(CPYTHON_GC_PAUSE_TIME)[(2,)] > before
    assert collected.value(CPYTHON_GC_PAUSE_MAX) > 0


def test_it_makes_nothing_for_the_collector(start):
    """A hundred collections of the youngest generation leave no object behind that the next one would look at."""
    start(GC(WINDOW))
    gc.collect()
    gc.disable()
    try:
        gc.collect(0)
        before = len(gc.get_objects())
        for _ in range(100):
            gc.collect(0)
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()

    assert grown < 60  # with what other threads of the tests make meanwhile


def test_collections_in_all_threads_count(collect, start):
    """There is one at a time, whoever asks for it."""
    start(GC(WINDOW))
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
start(GC(60.0))
for _ in range(20):
    gc.collect()

def of_generation_2():
    metrics = sink.collect()
    return {
        "collections": metrics.points("cpython.gc.collections")[2,],
        "pause": metrics.points("cpython.gc.pause.time")[2,],
    }

def in_child():
    gc.collect()
    return of_generation_2()

parent = of_generation_2()
parent["collections"] -= before
print(json.dumps((parent, forked(in_child))))
""")

    assert (20, 1) == (parent["collections"], child["collections"])
    assert parent["pause"] > child["pause"] > 0
