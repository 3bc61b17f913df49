# SPDX-License-Identifier: Apache-2.0
"""A thread pool that is exhausted."""

from __future__ import annotations

from otel_resinstr.explain.figures import Figures
from otel_resinstr.explain.suspects import Finding
from otel_resinstr.explain.suspects.pool_saturated import NAME, judge


def test_a_line_that_keeps_the_threads():
    """The sentence has for how long work waited, how much of it, and where the threads were."""
    assert Finding(
        NAME,
        "work waited up to 6.02 s for a thread of its pool, 10 work items at a time; most of the threads were at "
        "app.py:41 report.",
        "Make this work shorter, await it, or give it a pool of its own; more threads help if what they wait for "
        "can take it.",
        "app.py:41 report",
    ) == judge(Figures(pool_wait_max=6.02, pool_queue_peak=10, pool_site="app.py:41 report"), None)


def test_a_wait_without_a_line_is_no_accusation():
    """Where no line was seen, the pools are to be looked at."""
    assert Finding(
        NAME,
        "work waited up to 1.00 s for a thread of its pool, and no line was seen keeping the threads.",
        "Look for pools that are handed more than their threads can do, or that were made before a fork.",
        None,
    ) == judge(Figures(pool_wait_max=1.0, pool_queue_peak=0), None)


def test_a_pool_that_keeps_up_is_no_suspect():
    """Below a second; and where there is no pool there is nothing to wait for."""
    assert [None, None] == [
        judge(Figures(pool_wait_max=wait, pool_site="app.py:1 f"), None) for wait in (0.99, None)
    ]
