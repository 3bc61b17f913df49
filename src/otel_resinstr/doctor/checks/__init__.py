# SPDX-License-Identifier: Apache-2.0
"""The checks, one module a theme, in the order in which a command comes to send something.

A check is a function of the `Context` that yields findings. The kinds of findings that a module knows are its
constants; from these the page docs/doctor.md is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr.doctor.checks import (
    azure,
    duplicates,
    endpoint,
    exporters,
    host,
    instrumentors,
    launcher,
    servers,
    settings,
    versions,
)
from otel_resinstr.doctor.finding import Kind

if TYPE_CHECKING:
    from types import ModuleType

CHECKS: tuple[ModuleType, ...] = (
    versions,
    launcher,
    instrumentors,
    settings,
    exporters,
    endpoint,
    azure,
    servers,
    duplicates,
    host,
)


def kinds(theme: ModuleType) -> list[Kind]:
    """What a theme may find."""
    return [value for value in vars(theme).values() if isinstance(value, Kind)]
