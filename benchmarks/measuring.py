# SPDX-License-Identifier: Apache-2.0
"""Measuring variants in turn, so that a noisy machine is as noisy for each of them, and comparing them in pairs."""

from __future__ import annotations

import gc
import os
import statistics
import time
from dataclasses import dataclass, field
from operator import sub, truediv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

UNIT = {"µs": 1e6, "ms": 1e3, "%": 1e2, "": 1.0}
"""By what seconds, or shares, are multiplied to be shown."""


def each(call: Callable[[], object], times: int, clock: Callable[[], float] = time.process_time) -> float:
    """What one *call* takes on the *clock*, on the average of so many."""
    begin = clock()
    for _ in range(times):
        call()
    return (clock() - begin) / times


def interleaved(
    variants: Mapping[str, Callable[[], float]], rounds: int, times: int = 1
) -> dict[str, list[float]]:
    """What each of *variants* returned in each of the rounds, on the average of *times* within a round.

    Within a round they take turns, in one order and in the reverse. The round before the first is not counted: it
    fills the caches.
    """
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(rounds + 1):
        if index == 1:
            gc.collect()
            gc.freeze()  # what has been made until now is the same burden to all: it is not looked through again
        sums = dict.fromkeys(variants, 0.0)
        for turn in range(times):
            for name in reversed(variants) if (index + turn) % 2 else variants:
                sums[name] += variants[name]()
        if index:
            for name, total in sums.items():
                samples[name].append(total / times)
    gc.unfreeze()
    return samples


def ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    """By round, how many times the *base* ours is."""
    return list(map(truediv, ours, base))


def differences(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    """By round, how much more than the *base* ours is."""
    return list(map(sub, ours, base))


@dataclass
class Row:
    """One figure of the report: the median of *samples*, and what it is to be."""

    what: str
    samples: Sequence[float]
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """Half of the rounds had more."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles: half of the rounds lie between them."""
        if len(self.samples) == 1:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    @property
    def target(self) -> str:
        """The target as it is shown; nothing for a figure that has none."""
        if self.at_most is not None:
            return f"≤ {self.shown(self.at_most)}"
        return f"≥ {self.shown(self.at_least)}" if self.at_least is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without one."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return self.median >= self.at_least if self.at_least is not None else None

    def shown(self, value: float) -> str:
        """*value* of this row with its unit, with three digits that say something."""
        value *= UNIT[self.unit]
        digits = 3 if not self.unit else 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:.{digits}f} {self.unit}".rstrip()


@dataclass
class Report:
    """What one benchmark has found."""

    title: str
    rows: list[Row] = field(default_factory=list)
    note: str = ""


def environ(**more: str) -> dict[str, str]:
    """The environment for a program to be measured: no settings of OpenTelemetry's, compiled modules allowed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "COV", "PYTHONDONTWRITEBYTECODE"))
    }
    return {**kept, **more}
