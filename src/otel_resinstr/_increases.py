# SPDX-License-Identifier: Apache-2.0
"""What counters of the machine have grown by since this process looks at them.

They began when the machine or the container did. Handed on as they are, the first export would be all of that: a
metric reader that exports differences (as Azure Monitor's does) takes it for what has just happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

Key = TypeVar("Key")


class Increases(Generic[Key]):
    """By how much each counter has grown since `restart`, or since it was first seen. Never goes down."""

    def __init__(self) -> None:
        self._base: dict[Key, float] = {}
        self._last: dict[Key, float] = {}
        self._where: Hashable = None

    def restart(self, counters: Mapping[Key, float], where: Hashable = None) -> None:
        """Begin at 0 with what the *counters* say now: when a probe starts, and in a forked child."""
        self._base = dict(counters)
        self._last = {}
        self._where = where

    def of(self, counters: Mapping[Key, float], where: Hashable = None) -> dict[Key, float]:
        """What each of *counters* has grown by; those that stand elsewhere than before go on from what was said."""
        if where != self._where:
            self._base = {}
            self._where = where
        return {key: self._increase(key, value) for key, value in counters.items()}

    def _increase(self, key: Key, value: float) -> float:
        last = self._last.get(key, 0)
        if value < self._base.setdefault(key, value - last):
            # It began anew, or the process was moved to another cgroup: go on from what has been said.
            self._base[key] = value - last
        # Readers that collect at the same time may come the wrong way round.
        increase = self._last[key] = max(value - self._base[key], last)
        return increase
