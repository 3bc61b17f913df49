# SPDX-License-Identifier: Apache-2.0
"""A child that is forked while metrics are exported exports its own."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease

_LOCK = type(threading.Lock())


def _readers() -> Iterable[Any]:
    """The SDK's metric readers, where the SDK is there and says which."""
    provider = getattr(sys.modules.get("opentelemetry.sdk.metrics"), "MeterProvider", None)
    return list(getattr(provider, "_all_metric_readers", ()))


class ExportLock:
    """Renews, in a forked child, the lock that the SDK's periodic reader holds while it exports.

    The SDK starts the reader's thread anew in the child, but leaves the lock as it is: held, where the parent exported
    in that moment, by a thread that the child does not have. Then the child reports nothing as long as it lives, and
    needs 30 s to end. With a receiver that does not answer that moment is 10 s of every 60.
    https://github.com/open-telemetry/opentelemetry-python/issues/2767

    Cost: a look at each reader, in a child. A lock that is free, as where the SDK has renewed it, stays.
    """

    name = "process.export_lock"

    def __init__(self, readers: Callable[[], Iterable[Any]] = _readers) -> None:
        self._readers = readers

    def start(self, lease: Lease) -> None:
        """Have a look in each child."""
        lease.after_fork(self._renew)

    def _renew(self) -> None:
        for reader in self._readers():
            lock = getattr(reader, "_export_lock", None)
            if isinstance(lock, _LOCK) and lock.locked():
                reader._export_lock = threading.Lock()  # noqa: SLF001  see the class
