# SPDX-License-Identifier: Apache-2.0
"""Occurrences are counted without losing one."""

from __future__ import annotations

import sys
import threading

import pytest

from otel_resinstr._totals import Totals


def test_what_was_counted_is_told():
    """Each key by itself; one that was made known only has a known zero."""
    totals = Totals()
    totals.add("a")
    totals.add("b", 0)
    totals.add("a", 2)

    assert [("a", 3), ("b", 0)] == totals.items()


def test_in_a_forked_child_it_begins_at_nothing():
    """What the parent counted, the parent reports."""
    totals = Totals()
    totals.add("a")
    totals._lock.acquire()  # by a thread that the child does not have
    totals.restart()
    told = []
    reader = threading.Thread(target=lambda: told.append(totals.items()))
    reader.start()
    reader.join(10)

    assert [[]] == told


def test_a_finaliser_may_count_while_counting():
    """Garbage is collected at any moment, and a client that is closed by that is counted in the same thread."""
    totals = Totals()
    with totals._lock:
        totals.add("a")

    assert [("a", 1)] == totals.items()


@pytest.fixture
def busy_switching():
    """Threads take turns as often as the interpreter lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_threads_lose_nothing(busy_switching):
    """Each of many threads counts; the sum is exact."""
    totals = Totals()

    def count():
        for _ in range(2000):
            totals.add("a")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [("a", 16000)] == totals.items()
