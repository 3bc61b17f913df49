# SPDX-License-Identifier: Apache-2.0
"""What has to happen in a forked child, and the possibility to take it back.

`os.register_at_fork` has no counterpart that removes a hook (https://github.com/python/cpython/issues/67597),
so one hook is registered for the life of the process and this module keeps the list that it calls.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Replaced, never changed in place: a fork in the middle of a change sees the old or the new list, and no lock is held.
_callbacks: tuple[Callable[[], None], ...] = ()
_at_last: tuple[Callable[[], None], ...] = ()


def add(callback: Callable[[], None]) -> None:
    """Call *callback* in each forked child, after the callbacks that were added before it."""
    global _callbacks  # noqa: PLW0603  one process has one list
    _callbacks = (*_callbacks, callback)


def add_at_last(callback: Callable[[], None]) -> None:
    """Call *callback* in each forked child after all others, for the life of the process.

    For what belongs to the package and to no probe, and for what starts a thread: until then the child has one only,
    and locks are renewed without being waited for.
    """
    global _at_last  # noqa: PLW0603  one process has one list
    _at_last = (*_at_last, callback)


def remove(callback: Callable[[], None]) -> None:
    """Forget *callback*; forgetting what is not there does nothing."""
    global _callbacks  # noqa: PLW0603  one process has one list
    _callbacks = tuple(known for known in _callbacks if known != callback)


def _run_in_child() -> None:
    for callback in (*_callbacks, *_at_last):
        callback()


if hasattr(os, "register_at_fork"):  # pragma: no branch  Windows cannot fork
    os.register_at_fork(after_in_child=_run_in_child)
