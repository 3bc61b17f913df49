# SPDX-License-Identifier: Apache-2.0
"""Figures as people read them."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """``1 client``, ``62 clients``, ``20,000 descriptors``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_DURATIONS = (
    (0.01, 1e3, ".1f", "ms"),
    (1.0, 1e3, ".0f", "ms"),
    (10.0, 1.0, ".2f", "s"),
    (120.0, 1.0, ".0f", "s"),
    (7200.0, 1 / 60, ".0f", "min"),
)
"""Below how many seconds which unit is used, and with how many digits."""


def duration(seconds: float) -> str:
    """No more digits than a person compares: ``0.4 ms``, ``120 ms``, ``1.25 s``, ``14 min``, ``3.2 h``."""
    for limit, factor, digits, unit in _DURATIONS:
        if seconds < limit:
            return f"{seconds * factor:{digits}} {unit}"
    return f"{seconds / 3600:,.1f} h"


def mebibytes(size: float) -> str:
    """``58.2 MiB``."""
    return f"{size / 2**20:,.1f} MiB"


def listed(parts: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
