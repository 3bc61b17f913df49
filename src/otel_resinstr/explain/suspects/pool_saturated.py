# SPDX-License-Identifier: Apache-2.0
"""A thread pool that is exhausted: its threads wait for something, and all other work waits for a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr._words import count, duration
from otel_resinstr.explain import thresholds
from otel_resinstr.explain.suspects import Finding, Unknown

if TYPE_CHECKING:
    from otel_resinstr.explain.figures import Figures

NAME = "pool_saturated"


def judge(figures: Figures, _healthy: Figures | None) -> Finding | Unknown | None:
    """Work that waited longer for a thread than a person does. Without a pool there is no wait, and no suspect."""
    wait = figures.pool_wait_max
    if wait is None or wait < thresholds.POOL_WAIT:
        return None
    queue = f", {count(figures.pool_queue_peak, 'work item')} at a time" if figures.pool_queue_peak else ""
    waited = f"work waited up to {duration(wait)} for a thread of its pool{queue}"
    if figures.pool_site is None:
        return Finding(
            NAME,
            f"{waited}, and no line was seen keeping the threads.",
            "Look for pools that are handed more than their threads can do, or that were made before a fork.",
            None,
        )
    return Finding(
        NAME,
        f"{waited}; most of the threads were at {figures.pool_site}.",
        "Make this work shorter, await it, or give it a pool of its own; more threads help if what they wait for "
        "can take it.",
        figures.pool_site,
    )
