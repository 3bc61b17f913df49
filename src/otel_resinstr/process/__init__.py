# SPDX-License-Identifier: Apache-2.0
"""What the operating system says of this process."""

from __future__ import annotations

from otel_resinstr.process.reading import ProcessReading

__all__ = ["ProcessReading"]
