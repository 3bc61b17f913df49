# SPDX-License-Identifier: Apache-2.0
"""A client for each call: they come and go, so nothing grows; the rate at which they are made is the sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr import semconv
from otel_resinstr._words import count, duration, listed
from otel_resinstr.explain import thresholds
from otel_resinstr.explain.suspects import Finding, Unknown

if TYPE_CHECKING:
    from otel_resinstr.explain.figures import Figures

NAME = "client_churn"


def judge(figures: Figures, healthy: Figures | None) -> Finding | Unknown | None:
    """Many clients, made fast, most of which have ended; *healthy* tells what the work costs without that."""
    created, closed, dropped = figures.clients_created, figures.clients_closed, figures.clients_dropped
    per_second = figures.clients_per_second
    if created is None or closed is None or dropped is None or per_second is None:
        return Unknown(NAME, (semconv.MONGODB_CLIENT_CREATED.name,))
    if (
        created < thresholds.CHURN_CLIENTS
        or per_second * 60 < thresholds.CHURN_CLIENTS_PER_MINUTE
        or closed + dropped < thresholds.CHURN_SHARE_ENDED * created
    ):
        return None
    where = figures.client_site or "the application"
    ends = [
        f"{number:,} {how}"
        for number, how in ((closed, "closed"), (dropped, "dropped without close()"))
        if number
    ]
    sentence = (
        f"{where} constructs client after client: {created:,} ({per_second:.1f} a second), {listed(ends)}"
    )
    return Finding(
        NAME,
        f"{sentence}; {_piles_up(figures, mostly_dropped=dropped > closed)}{_cost(figures, healthy, per_second)}.",
        "Construct one client when the process starts, keep it, and share it: it is a pool, and safe in threads.",
        figures.client_site,
    )


def _piles_up(figures: Figures, *, mostly_dropped: bool) -> str:
    held = []
    if figures.driver_threads_peak is not None:
        held.append(count(figures.driver_threads_peak, "driver thread"))
    if figures.sockets_peak is not None:
        held.append(count(figures.sockets_peak, "socket"))
    most = f" (at most {listed(held)} at a time)" if held else ""
    if mostly_dropped:
        return f"the driver ends their threads and sockets about half a second later, so these follow the rate{most}"
    return f"they do not pile up{most}, so only the rate gives it away"


def _cost(figures: Figures, healthy: Figures | None, per_second: float) -> str:
    if healthy is None or figures.cpu_per_second is None or healthy.cpu_per_second is None:
        return ""
    each = (figures.cpu_per_second - healthy.cpu_per_second) / per_second
    return f"; each costs {duration(each)} of CPU more than sharing one" if each > 0 else ""
