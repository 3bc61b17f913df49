# SPDX-License-Identifier: Apache-2.0
"""Whether gevent or eventlet has put its own in the place of what threads and loops are made of."""

from __future__ import annotations

import sys
from typing import Any

_NEEDED = ("thread", "threading", "select", "socket")


def patched_by() -> str | None:
    """Which library has patched the standard library under us, also after we started, or None. Costs 0.2 µs."""
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None:
        asked = getattr(gevent, "is_module_patched", None)  # None while it is being imported
        if asked is not None and any(map(asked, _NEEDED)):
            return "gevent"
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None:
        asked = getattr(eventlet, "is_monkey_patched", None)
        if asked is not None and any(map(asked, _NEEDED)):
            return "eventlet"
    return None
