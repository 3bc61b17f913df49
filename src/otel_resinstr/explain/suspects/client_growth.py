# SPDX-License-Identifier: Apache-2.0
"""Clients that are kept: each holds its threads, sockets and descriptors until the process runs out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr import semconv
from otel_resinstr._words import count, duration, listed, mebibytes
from otel_resinstr.explain import thresholds
from otel_resinstr.explain.suspects import Finding, Unknown

if TYPE_CHECKING:
    from otel_resinstr.explain.figures import Figures

NAME = "client_growth"


def judge(figures: Figures, _healthy: Figures | None) -> Finding | Unknown | None:
    """Many clients at a time, and still more of them in the second half of the time watched."""
    peak, halfway = figures.clients_peak, figures.clients_halfway
    if peak is None or halfway is None:
        return Unknown(NAME, (semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name,))
    if peak < thresholds.GROWTH_CLIENTS or peak <= halfway:
        return None
    where = figures.client_site or "the application"
    of_all = "" if figures.clients_created is None else f" of the {figures.clients_created:,} that were made"
    return Finding(
        NAME,
        f"the clients that {where} constructs stay open: {peak:,}{of_all}{_held(figures)}{_end(figures)}.",
        "Construct one client when the process starts and share it; close whatever client is not needed any more.",
        figures.client_site,
    )


def _held(figures: Figures) -> str:
    held = []
    if figures.driver_threads_peak is not None:
        held.append(count(figures.driver_threads_peak, "thread") + _each(figures.driver_threads_per_client))
    if figures.sockets_peak is not None:
        held.append(count(figures.sockets_peak, "socket") + _each(figures.sockets_per_client))
    if figures.memory_growth is not None:
        held.append(f"{mebibytes(figures.memory_growth)} more memory than at the start")
    return f", with up to {listed(held)}" if held else ""


def _each(number: float | None) -> str:
    return "" if number is None else f" ({number:.2g} a client)"


def _end(figures: Figures) -> str:
    """When the descriptors run out, if it goes on like this."""
    first, peak, limit = figures.descriptors_first, figures.descriptors_peak, figures.descriptors_limit
    if first is None or peak is None or limit is None or not figures.seconds or peak <= first:
        return ""
    left = (limit - peak) * figures.seconds / (peak - first)
    return f"; at this rate the limit of {count(limit, 'descriptor')} is reached in {duration(left)}"
