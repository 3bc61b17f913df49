# SPDX-License-Identifier: Apache-2.0
"""What has to happen when the interpreter ends, while the SDK still takes what it is given.

The SDK's providers shut down in a function of `atexit`, which calls the last one registered first: a provider that
is made after us would be gone before us. So our function moves to the front when the main thread has ended, which
comes before all of `atexit`. Nothing public tells that moment: `threading._register_atexit` does, which
`concurrent.futures` uses as well. Without it our function stands where the last `add` has put it.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Replaced, never changed in place: what is added or removed meanwhile does not disturb the calls.
_callbacks: tuple[Callable[[], None], ...] = ()


def add(callback: Callable[[], None], *, last: bool = False) -> None:
    """Call *callback* when the interpreter ends, before the callbacks that were added before it, or after all."""
    global _callbacks  # noqa: PLW0603  one process has one list
    _callbacks = (*_callbacks, callback) if last else (callback, *_callbacks)
    _go_first()


def remove(callback: Callable[[], None]) -> None:
    """Forget *callback*; forgetting what is not there does nothing."""
    global _callbacks  # noqa: PLW0603  one process has one list
    _callbacks = tuple(known for known in _callbacks if known != callback)


def _go_first() -> None:
    atexit.unregister(run)
    atexit.register(run)


def run() -> None:
    """Call them, once: also where a signal ends the process, of which the interpreter tells nobody."""
    global _callbacks
    callbacks, _callbacks = _callbacks, ()
    for callback in callbacks:
        callback()


# It is private, and refuses while the interpreter ends.
with contextlib.suppress(AttributeError, RuntimeError):
    threading._register_atexit(_go_first)  # type: ignore[attr-defined]  # noqa: SLF001  see the module
