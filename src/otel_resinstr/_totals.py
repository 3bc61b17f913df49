# SPDX-License-Identifier: Apache-2.0
"""Counting occurrences that are exported as an observable counter: cheaper than a counter of the SDK's."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Totals(Generic[Key]):
    """How often each key was counted in this process. Never goes down, but for `restart`, in a forked child."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self.restart()

    def restart(self) -> None:
        """Begin at nothing, with a lock that nobody holds."""
        # Re-entrant: a finaliser that runs while it is held may close a client.
        self._lock = threading.RLock()
        self._counts = {}

    def add(self, key: Key, count: int = 1) -> None:
        """Count *key*; with 0, only make it known."""
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def items(self) -> list[tuple[Key, int]]:
        """What was counted."""
        with self._lock:
            return list(self._counts.items())
