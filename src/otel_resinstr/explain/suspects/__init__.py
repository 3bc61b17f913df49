# SPDX-License-Identifier: Apache-2.0
"""What may be wrong, one suspect a module: what it needs to know, when it fits, and the figures that say so.

A suspect is one function, ``judge``. To add one, write its module and enter it in ``explain.verdict``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A suspect that fits: one sentence with the figures that it rests on, and what to do about it."""

    suspect: str
    sentence: str
    remedy: str
    site: str | None
    """The line of the application to look at, ``file.py:line function``, if it is known."""


@dataclass(frozen=True)
class Unknown:
    """A suspect that can be neither found nor excluded, and what would have to arrive for it."""

    suspect: str
    missing: tuple[str, ...]
    """Names of metrics."""
