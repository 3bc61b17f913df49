# SPDX-License-Identifier: Apache-2.0
"""The machine and the container around the process."""

from __future__ import annotations

from otel_resinstr.host.reading import HostReading, Source, sources

__all__ = ["HostReading", "Source", "sources"]
