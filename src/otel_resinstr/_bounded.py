# SPDX-License-Identifier: Apache-2.0
"""Keeping the values of a metric's attribute few."""

from __future__ import annotations

OTHER = "_other"
"""What takes the place of a value that is one too many."""


class Bounded:
    """The first *limit* values that are seen keep their own series, all later ones share `OTHER`.

    The first ones, not the busiest: a counter that moved from `OTHER` to a series of its own would go down in one
    of the two.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The attribute value to use for *value*."""
        if value not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(value)
        return value
