# SPDX-License-Identifier: Apache-2.0
"""Out with what is pending: what the probes have noted and not told yet, and then what the SDK holds back.

The SDK's `force_flush` exports in the thread that calls it, for as long as the exporter tries, whatever its timeout is
(https://github.com/open-telemetry/opentelemetry-python/issues/4568). So it is called in a thread of its own, and
waited for. That holds in a signal handler too, which may have interrupted its thread with a lock of the SDK's held:
who needs it is waited for in vain, and not for ever.
"""

from __future__ import annotations

import contextlib
import threading
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import get_logger_provider
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import get_tracer_provider

from otel_resinstr import _fork

if TYPE_CHECKING:
    from collections.abc import Callable

    # Of metrics, of traces and of logs; None is the global one.
    Providers = tuple[Any, Any, Any]

THREAD_NAME = "resinstr.flush"

_GLOBAL: tuple[Callable[[], Any], ...] = (get_meter_provider, get_tracer_provider, get_logger_provider)

# Replaced, never changed in place: what is added or removed meanwhile does not disturb a flush.
_callbacks: tuple[Callable[[], None], ...] = ()
_in_use: tuple[Providers, ...] = ()


def add(callback: Callable[[], None]) -> None:
    """Call *callback* at each `flush`, in another thread, before the providers are flushed. It must not raise."""
    global _callbacks  # noqa: PLW0603  one process has one list
    _callbacks = (*_callbacks, callback)


def remove(callback: Callable[[], None]) -> None:
    """Forget *callback*; forgetting what is not there does nothing."""
    global _callbacks  # noqa: PLW0603  one process has one list
    _callbacks = tuple(known for known in _callbacks if known != callback)


def use(providers: Providers) -> None:
    """Flush *providers* from now on; the global ones are flushed while there are no others."""
    global _in_use  # noqa: PLW0603  one process has one list
    _in_use = (*_in_use, providers)


def let_go(providers: Providers) -> None:
    """Take a `use` of *providers* back, of this very tuple; taking it back again does nothing."""
    global _in_use  # noqa: PLW0603  one process has one list
    _in_use = tuple(known for known in _in_use if known is not providers)


def flush(timeout: float = 3.0) -> bool:
    """Send what is pending: spans and events of ours that are not told yet, then all that the SDK holds back.

    For the end of a lifespan, a hook of a server, or a job that is frozen after its work. Flushed are the three
    providers, all at once, that `instrument` was given, or else the global ones. One that cannot be flushed, as before
    an SDK is set up, has nothing to flush. Never raises. It blocks its thread: on an event loop call
    ``await asyncio.to_thread(otel_resinstr.flush)``.

    Args:
        timeout: Seconds to wait at most. What takes longer goes on in daemon threads, one for metrics, one for traces
            and one for logs at most, for as long as the process lives.

    Returns:
        Whether all of it came to an end in time, and none of the providers failed. The SDK does not say whether the
        receiver took what it was sent. False where no thread can be started: CPython 3.12 starts none in a function of
        `atexit`, where the SDK sends by itself.
    """
    return out(_tell, timeout)


def out(tell: Callable[[], object], timeout: float) -> bool:
    """As `flush`, with *tell* in the place of what is called at each."""
    timeout = _possible(timeout)
    deadline = time.monotonic() + timeout
    # A lock that we wait for in vain must not cost what the SDK has.
    telling = _begin_to(tell, deadline)
    telling.wait(timeout / 2)
    aside = [
        telling,
        *(_Aside(turn, deadline, _force, kind, deadline) for kind, turn in enumerate(_turns[1:])),
    ]
    ends = [one.wait(deadline - time.monotonic()) for one in aside]
    return all(ends)


def only(tell: Callable[[], object], timeout: float) -> bool:
    """Call *tell* as `out` does, without a flush of the SDK's."""
    timeout = _possible(timeout)
    return _begin_to(tell, time.monotonic() + timeout).wait(timeout)


def _possible(timeout: float) -> float:
    return min(max(0.0, timeout), threading.TIMEOUT_MAX)


def _begin_to(tell: Callable[[], object], deadline: float) -> _Aside:
    return _Aside(_turns[0], deadline, tell)


def _tell() -> None:
    for callback in _callbacks:
        callback()


def _force(kind: int, deadline: float) -> bool:
    """Flush the providers of one kind that are in use, each once; whether all went well."""
    given = [providers[kind] for providers in _in_use] or [None]
    found = [_GLOBAL[kind]() if provider is None else provider for provider in given]
    ends = [_forced(provider, deadline) for provider in {id(one): one for one in found}.values()]
    return all(ends)


def _forced(provider: Any, deadline: float) -> bool:
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return True
    # The boundary: an exporter that fails is no reason for the application to fail, nor for another one.
    with contextlib.suppress(Exception):
        return force_flush(max(1, int((deadline - time.monotonic()) * 1000))) is not False
    return False


def _new_turns() -> tuple[threading.Lock, ...]:
    return tuple(threading.Lock() for _ in ("told", *_GLOBAL))


def _renew() -> None:
    """In a forked child: who had a turn is not there."""
    global _turns  # noqa: PLW0603  one process has one set
    _turns = _new_turns()


# One thread at a time is told, or flushes providers of one kind: where a receiver hangs, those that come later
# leave when their time is over, and do not become more and more.
_turns = _new_turns()
_fork.add_at_last(_renew)


class _Aside:
    """A call in a thread of its own, when it is its *turn*; not after the *deadline*."""

    def __init__(
        self, turn: threading.Lock, deadline: float, call: Callable[..., object], *args: Any
    ) -> None:
        self._turn = turn
        self._deadline = deadline
        self._call = call
        self._args = args
        self._well = False
        self._end = threading.Event()
        # Not in the context of whoever flushes: its trace is not that of what is told.
        thread = threading.Thread(target=Context().run, args=(self._run,), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # none can be started, or not any more
            self._end.set()

    def _run(self) -> None:
        if self._turn.acquire(timeout=max(0.0, self._deadline - time.monotonic())):
            try:
                self._well = self._call(*self._args) is not False
            finally:
                self._turn.release()
        self._end.set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end for so long at most; whether it has come to one, and well."""
        self._end.wait(max(0.0, seconds))  # Ctrl-C ends that, but not every `Thread.join`
        return self._well
