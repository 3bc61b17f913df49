# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc

from fakes import FakeClock
from otel_resinstr.runtime.objects import Objects
from otel_resinstr.semconv import CPYTHON_GC_OBJECT_COUNT


class Heap:
    """A heap whose walk takes as long as the test says."""

    def __init__(self, count=3, blocks=1000, seconds=0.01):
        self.clock = FakeClock(1000.0)
        self.count, self.blocks, self.seconds = count, blocks, seconds
        self.walks = 0

    def walk(self):
        self.walks += 1
        self.clock.now += self.seconds
        return [None] * self.count

    def probe(self):
        return Objects(self.walk, lambda: self.blocks, self.clock)


def test_the_objects_are_counted(collect):
    """As many as the collector knows of."""
    assert {CPYTHON_GC_OBJECT_COUNT.name: {(): 3}} == collect(Heap().probe()).as_dict()


def test_walking_takes_a_thousandth_of_the_time_at_most(collect, start):
    """What a walk of 10 ms found is told for ten seconds."""
    heap = Heap()
    start(heap.probe())
    seen = []
    for _ in range(5):
        seen.append(collect().value(CPYTHON_GC_OBJECT_COUNT))
        heap.count += 1
        heap.clock.now += 4.0

    assert ([3, 3, 3, 6, 6], 2) == (seen, heap.walks)


def test_a_large_heap_is_not_walked(collect, start):
    """Absent, while it is that large, and there again afterwards."""
    heap = Heap(blocks=2_000_001)
    start(heap.probe())
    large = collect().names()
    heap.blocks = 2_000_000

    assert ([], 0, [CPYTHON_GC_OBJECT_COUNT.name]) == (large, heap.walks, collect().names())


def test_a_child_walks_its_own_heap(collect, start):
    """What the parent counted is not told again."""
    heap = Heap()
    probe = heap.probe()
    start(probe)
    collect()
    heap.count = 9
    probe._forget()  # what the fork calls

    assert 9 == collect().value(CPYTHON_GC_OBJECT_COUNT)


def test_this_process_has_objects(collect, start):
    """A hundred thousand lists more are a hundred thousand objects more."""
    probe = Objects()
    start(probe)
    before = collect().value(CPYTHON_GC_OBJECT_COUNT)
    kept = [[] for _ in range(100_000)]
    probe._forget()
    after = collect().value(CPYTHON_GC_OBJECT_COUNT)

    assert abs(after - before - len(kept)) < 20_000
    assert abs(after - len(gc.get_objects())) < 20_000
