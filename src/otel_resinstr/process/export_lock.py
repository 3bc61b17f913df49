# SPDX-License-Identifier: Apache-2.0
"""A child that is forked while metrics are collected or exported reports its own."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from otel_resinstr._probe import Lease

_NAMES = ("_export_lock", "_lock")
_MAKE: dict[type, Callable[[], Any]] = {
    type(threading.Lock()): threading.Lock,
    type(threading.RLock()): threading.RLock,
}


def _readers() -> Iterable[Any]:
    """The SDK's metric readers, where the SDK is there and says which."""
    provider = getattr(sys.modules.get("opentelemetry.sdk.metrics"), "MeterProvider", None)
    return list(getattr(provider, "_all_metric_readers", ()))


def _parts(reader: Any) -> Iterator[Any]:
    """The reader, what collects for it, and what that keeps down to each series: all of them have a lock."""
    yield reader
    consumer = getattr(getattr(reader, "_collect", None), "__self__", None)
    yield consumer
    for storage in _values(consumer, "_reader_storages"):
        yield storage
        for matches in _values(storage, "_instrument_view_instrument_matches"):
            for match in matches:
                yield match
                yield from _values(match, "_attributes_aggregation")


def _values(owner: Any, name: str) -> list[Any]:
    kept = getattr(owner, name, None)
    return list(kept.values()) if isinstance(kept, dict) else []


class ExportLock:
    """Renews, in a forked child, the locks that the SDK holds while it exports metrics, and while it collects them.

    The SDK starts the reader's thread anew in the child, but leaves these locks as they are: held, where the parent
    exported in that moment, by a thread that the child does not have. Then the child reports nothing as long as it
    lives, and needs 30 s to end. With a receiver that does not answer that moment is 10 s of every 60, and a collection
    is some milliseconds more, after which whoever makes an instrument in the child would wait for ever.
    https://github.com/open-telemetry/opentelemetry-python/issues/2767

    Cost: a look at each series, in a child. A lock that is free, as where the SDK has renewed it, stays.
    """

    name = "process.export_lock"

    def __init__(self, readers: Callable[[], Iterable[Any]] = _readers) -> None:
        self._readers = readers

    def start(self, lease: Lease) -> None:
        """Have a look in each child."""
        lease.after_fork(self.renew)

    def renew(self) -> None:
        """Renew what is held, in the child."""
        for reader in self._readers():
            for part in _parts(reader):
                for name in _NAMES:
                    lock = getattr(part, name, None)
                    make = _MAKE.get(type(lock))
                    if make is not None and not _free(lock):
                        setattr(part, name, make())


def _free(lock: Any) -> bool:
    """Whether nobody holds *lock*, or only the one thread that there is."""
    free: bool = lock.acquire(blocking=False)
    if free:
        lock.release()
    return free
