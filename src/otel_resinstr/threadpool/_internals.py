# SPDX-License-Identifier: Apache-2.0
"""What is read from private attributes of `concurrent.futures`: what it has no public names for.

Each is None where a later version of Python, or somebody's subclass, does not have it.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
_MOST = 100_000  # work items of a queue that are looked at: 1 ms


def max_workers(executor: Any) -> int | None:
    """How many threads *executor* may have; None also after its shutdown, when it makes no more of them."""
    limit = getattr(executor, "_max_workers", None)
    return limit if isinstance(limit, int) and not getattr(executor, "_shutdown", False) else None


def prefix(executor: Any) -> str:
    """What the names of its threads begin with; the name of its class where that is not known."""
    return str(getattr(executor, "_thread_name_prefix", None) or type(executor).__name__)


def threads(executor: Any) -> tuple[threading.Thread, ...] | None:
    """The threads that it has started, also those that have ended."""
    found = getattr(executor, "_threads", None)
    return None if found is None else tuple(found)  # in one step: a thread may be added meanwhile


def is_in_use(executor: Any) -> bool:
    """Whether it can be given work, or has threads that may be at work."""
    return max_workers(executor) is not None or any(thread.is_alive() for thread in threads(executor) or ())


def work_queue(executor: Any) -> Any:
    """The queue of its work."""
    return getattr(executor, "_work_queue", None)


def length(queue: Any) -> int | None:
    """How much is in *queue*."""
    tell = getattr(queue, "qsize", None)
    return None if tell is None else int(tell())


def work_items(queue: Any, kind: type) -> list[Any] | None:
    """The work items of *kind* in *queue*, in their order; None where there are too many to look at, or no way to.

    A `queue.SimpleQueue` cannot be looked into, but the garbage collector can: in Python 3.10 to 3.12 the queue
    refers to a list, later to the items themselves.
    """
    if (length(queue) or 0) > _MOST:
        return None
    # Of the queues that are written in Python: public in most, not in the one that eventlet puts in place.
    held = getattr(queue, "queue", getattr(queue, "_queue", None))
    if held is not None:
        return [item for item in list(held) if isinstance(item, kind)]
    found = gc.get_referents(queue)
    for inner in [inner for inner in found if type(inner) is list]:
        found += inner
    return [item for item in found if isinstance(item, kind)]


def is_cancelled(future: Any) -> bool:
    """Whether *future* was cancelled before its work began.

    The public `cancelled` takes a lock, which costs 0.7 µs and which a fork may have left locked for ever.
    """
    try:
        return future._state in _CANCELLED  # noqa: SLF001  see above
    except AttributeError:
        return bool(future.cancelled())


_CANCELLED = frozenset(("CANCELLED", "CANCELLED_AND_NOTIFIED"))


def hooks(module: Any) -> bool:
    """Whether *module* makes and runs its work as we know it."""
    item = getattr(module, "_WorkItem", None)
    return isinstance(item, type) and callable(getattr(item, "run", None)) and hasattr(module, "_worker")
