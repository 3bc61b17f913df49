# SPDX-License-Identifier: Apache-2.0
"""Which suspects fit, from the figures of one process. Two faults at once are two findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_resinstr._words import count, duration, listed
from otel_resinstr.explain.suspects import (
    Finding,
    Unknown,
    client_churn,
    client_growth,
    loop_blocked,
    pool_saturated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr.explain.figures import Figures

    Suspect = Callable[[Figures, Figures | None], Finding | Unknown | None]

SUSPECTS: tuple[Suspect, ...] = (
    client_churn.judge,
    client_growth.judge,
    loop_blocked.judge,
    pool_saturated.judge,
)
"""Causes before consequences."""


@dataclass(frozen=True)
class Verdict:
    """What was found, what could not be judged, and in one sentence what remains if nothing was found."""

    findings: tuple[Finding, ...]
    unknown: tuple[Unknown, ...]
    otherwise: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it means: a sentence for each finding, or the one that says there is none."""
        return tuple(finding.sentence for finding in self.findings) or (self.otherwise,)


def verdict(figures: Figures, healthy: Figures | None = None) -> Verdict:
    """Judge *figures*; *healthy* are those of the same work done right, to compare with."""
    judged = [suspect(figures, healthy) for suspect in SUSPECTS]
    unknown = tuple(item for item in judged if isinstance(item, Unknown))
    return Verdict(
        tuple(item for item in judged if isinstance(item, Finding)), unknown, _otherwise(figures, unknown)
    )


def _otherwise(figures: Figures, unknown: tuple[Unknown, ...]) -> str:
    missing = [name for item in unknown for name in item.missing]
    parts = []
    if figures.clients_created is not None:
        of_check_outs = "" if figures.check_outs is None else f" for {count(figures.check_outs, 'command')}"
        parts.append(f"{count(figures.clients_created, 'client')}{of_check_outs}")
    if figures.driver_threads_peak is not None:
        parts.append(f"no more than {count(figures.driver_threads_peak, 'driver thread')}")
    if figures.sockets_peak is not None:
        parts.append(f"no more than {count(figures.sockets_peak, 'socket')}")
    if figures.loop_delay_max is not None:
        parts.append(f"an event loop that was never later than {duration(figures.loop_delay_max)}")
    seen = f": {listed(parts)}" if parts else ""
    if missing:
        return f"no verdict, since {listed(missing)} did not arrive{seen}."
    return f"no suspect fits{seen}."
