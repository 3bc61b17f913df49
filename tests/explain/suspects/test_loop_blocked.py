# SPDX-License-Identifier: Apache-2.0
"""An event loop that is held."""

from __future__ import annotations

from otel_resinstr.explain.figures import Figures
from otel_resinstr.explain.suspects import Finding, Unknown
from otel_resinstr.explain.suspects.loop_blocked import NAME, judge


def test_a_line_that_holds_the_loop():
    """The sentence has for how long, how often, and in what time."""
    held = Figures(loop_delay_max=0.744, loop_blocks=7, seconds=8.46, loop_site="app.py:59 wait_for_jobs")

    assert Finding(
        NAME,
        "app.py:59 wait_for_jobs holds the event loop, for up to 744 ms at a time, 7 times in 8.46 s; whatever "
        "else is to run on that loop waits as long.",
        "Await this call (AsyncMongoClient), or hand it to a thread (asyncio.to_thread).",
        "app.py:59 wait_for_jobs",
    ) == judge(held, None)


def test_a_late_loop_without_a_line_is_no_accusation():
    """Where no line was seen, the CPU is the first thing to look at."""
    assert Finding(
        NAME,
        "an event loop ran what was due up to 100 ms late, and no line was seen holding it.",
        "Look at the CPU first: the loop's thread may have had to wait for its turn, or for the GIL.",
        None,
    ) == judge(Figures(loop_delay_max=0.1), None)


def test_a_loop_on_time_is_no_suspect():
    """Below a tenth of a second nobody notices."""
    assert None is judge(Figures(loop_delay_max=0.099, loop_site="app.py:1 f"), None)


def test_without_a_delay_it_is_not_known():
    """No loop, or no probe: neither excludes it."""
    assert Unknown(NAME, ("asyncio.eventloop.delay.max",)) == judge(Figures(loop_blocks=3), None)
