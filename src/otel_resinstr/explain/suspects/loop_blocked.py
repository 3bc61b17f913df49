# SPDX-License-Identifier: Apache-2.0
"""An event loop that is held: one call that waits makes everything on that loop wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr import semconv
from otel_resinstr._words import duration
from otel_resinstr.explain import thresholds
from otel_resinstr.explain.suspects import Finding, Unknown

if TYPE_CHECKING:
    from otel_resinstr.explain.figures import Figures

NAME = "loop_blocked"


def judge(figures: Figures, _healthy: Figures | None) -> Finding | Unknown | None:
    """A loop that was late for longer than a person overlooks."""
    delay = figures.loop_delay_max
    if delay is None:
        return Unknown(NAME, (semconv.ASYNCIO_EVENTLOOP_DELAY_MAX.name,))
    if delay < thresholds.LOOP_DELAY:
        return None
    times = "" if figures.loop_blocks is None else f", {figures.loop_blocks:,} times"
    if figures.seconds is not None:
        times += f" in {duration(figures.seconds)}"
    if figures.loop_site is None:
        return Finding(
            NAME,
            f"an event loop ran what was due up to {duration(delay)} late{times}, and no line was seen holding it.",
            "Look at the CPU first: the loop's thread may have had to wait for its turn, or for the GIL.",
            None,
        )
    return Finding(
        NAME,
        f"{figures.loop_site} holds the event loop, for up to {duration(delay)} at a time{times}; "
        "whatever else is to run on that loop waits as long.",
        "Await this call (AsyncMongoClient), or hand it to a thread (asyncio.to_thread).",
        figures.loop_site,
    )
