# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import tracemalloc

import pytest

import otel_resinstr
from fakes import FakeClock
from otel_resinstr.runtime.heap import Heap
from otel_resinstr.semconv import (
    CPYTHON_MEMORY_ALLOCATED_BLOCKS,
    CPYTHON_MEMORY_TRACED,
    CPYTHON_MEMORY_TRACED_PEAK,
)

MIB = 1 << 20


@pytest.fixture(autouse=True)
def not_traced():
    """Tracing is as it was, also where a test fails."""
    assert not tracemalloc.is_tracing()
    yield
    tracemalloc.stop()


def here():
    """The line after the next one of the caller."""
    return sys._getframe(1).f_lineno + 1


def test_blocks_are_counted(collect, start):
    """A hundred thousand objects more are a hundred thousand blocks more; nothing is traced."""
    start(Heap())
    before = collect()
    kept = [object() for _ in range(100_000)]
    after = collect()

    assert [CPYTHON_MEMORY_ALLOCATED_BLOCKS.name] == before.names() == after.names()
    grown = after.value(CPYTHON_MEMORY_ALLOCATED_BLOCKS) - before.value(CPYTHON_MEMORY_ALLOCATED_BLOCKS)
    assert grown == pytest.approx(len(kept), abs=10_000)


def test_traced_memory_is_reported_while_something_traces(collect, start):
    """Whoever began it, and not before and after."""
    start(Heap())
    tracemalloc.start()
    block = bytearray(8 * MIB)
    with_it = collect()
    del block
    without = collect()
    tracemalloc.stop()
    stopped = collect()

    assert with_it.value(CPYTHON_MEMORY_TRACED) - without.value(CPYTHON_MEMORY_TRACED) > 7 * MIB
    assert without.value(CPYTHON_MEMORY_TRACED_PEAK) > 8 * MIB
    assert [CPYTHON_MEMORY_ALLOCATED_BLOCKS.name] == stopped.names()


def test_tracing_that_we_began_ends_with_us(start):
    """And one that was there before goes on."""
    running = start(Heap(trace=True))
    began = tracemalloc.is_tracing()
    running.stop()
    ended = tracemalloc.is_tracing()
    tracemalloc.start()
    start(Heap(trace=True)).stop()

    assert (True, False, True) == (began, ended, tracemalloc.is_tracing())


def test_tracing_that_the_application_began_anew_goes_on(start):
    """It has stopped ours and traces for itself; or it has stopped ours, and there is nothing to stop."""
    running = start(Heap(trace=True))
    tracemalloc.stop()
    tracemalloc.start()
    running.stop()
    began_anew = tracemalloc.is_tracing()
    tracemalloc.stop()
    running = start(Heap(trace=True))
    tracemalloc.stop()
    running.stop()

    assert (True, False) == (began_anew, tracemalloc.is_tracing())


def test_tracing_that_ends_while_the_lines_are_looked_for_is_no_error(start, sink, monkeypatch):
    """Another thread stops it just before the snapshot: there are no lines, and the probe goes on."""
    running = start(Heap())
    monkeypatch.setattr(tracemalloc, "is_tracing", lambda: True)

    assert ([], []) == (otel_resinstr.heap_growth(), sink.events())
    assert [False] == [lease.ended for lease in running._leases]


def test_the_lines_that_grew_most(start, sink):
    """By size, with the number of blocks, since the last call; said once each time it is asked for."""
    clock = FakeClock(1000.0)
    start(Heap(trace=True, clock=clock))
    otel_resinstr.heap_growth()
    clock.now += 300.0
    line = here()
    leak = [bytearray(1000) for _ in range(2000)]
    first = otel_resinstr.heap_growth()
    kept = list(leak)
    clock.now += 60.0
    second = otel_resinstr.heap_growth()

    assert (__file__, line) == first[0][:2]
    assert len(first) <= 10
    assert 2000 * 1000 < first[0].size < 2000 * 1200
    assert 2000 <= first[0].blocks <= 4100
    assert line not in [grown.line for grown in second if grown.path == __file__]
    event = sink.events("cpython.heap.growth")[1]
    assert 300.0 == event.attributes["cpython.heap.growth.duration"]
    assert event.attributes["cpython.heap.growth.bytes"] > 2000 * 1000
    told = f"{__file__}:{line} +{first[0].size} bytes in +{first[0].blocks} blocks"
    assert told == event.attributes["cpython.heap.growth.lines"][0]
    assert event.body.startswith("Python's memory changed by +")
    assert f" MiB in 300 s; most grew: {told}, " in event.body
    assert 3 == len(sink.events("cpython.heap.growth"))
    assert len(kept) == 2000


def test_without_tracing_there_are_no_lines(start, sink):
    """Nor an event; and nothing is begun by asking."""
    start(Heap())

    assert ([], [], False) == (
        otel_resinstr.heap_growth(),
        sink.events(),
        tracemalloc.is_tracing(),
    )


def test_without_the_probe_there_are_no_lines(start):
    """Before it starts, and after it was stopped, also where something traces."""
    before = otel_resinstr.heap_growth()
    start(Heap()).stop()
    tracemalloc.start()

    assert ([], []) == (before, otel_resinstr.heap_growth())
