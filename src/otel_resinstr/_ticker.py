# SPDX-License-Identifier: Apache-2.0
"""The one background thread: it calls what has to be called regularly, and lives only while something has."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from contextvars import Context
from typing import TYPE_CHECKING

from otel_resinstr.semconv import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable

THREAD_NAME = "resinstr"

_logger = logging.getLogger(SCOPE)


class _Beat:
    def __init__(self, seconds: float, call: Callable[[], object], due: float) -> None:
        self.seconds = seconds
        self.call = call
        self.due = due
        self.cancelled = False


class Ticker:
    """A thread for calls at regular intervals: started with the first, gone with the last, renewed in a child.

    What it calls must be quick and must not raise. Who waits for a call that hangs waits for *patience* seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, patience: float = 5.0) -> None:
        self._clock = clock
        self._patience = patience
        # Re-entrant: a finaliser that runs while it is held may break a probe, which ends its calls.
        self._lock = threading.RLock()
        self._beats: tuple[_Beat, ...] = ()
        self._thread: threading.Thread | None = None
        self._leaving: list[threading.Thread] = []
        # Each thread has a wake-up of its own; one that finds another's in this place is to end.
        self._wake = _wake_up()

    def every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Call *call* every *seconds*; returns what ends that.

        A call that returns a float is made again in so many seconds instead.

        A call that comes late is not made up for: the thread that was held had nothing to say in between. Raises
        RuntimeError, and leaves everything as it was, where the process may not have one more thread.
        """
        beat = _Beat(seconds, call, self._clock() + seconds)
        with self._lock:
            if self._thread is None:
                self._start()
            self._beats = (*self._beats, beat)
            _rouse(self._wake)

        def cancel() -> None:
            self._cancel(beat)

        return cancel

    def _cancel(self, beat: _Beat) -> None:
        # Does not wait for the thread: whoever cancels may hold a lock that the call under way is waiting for.
        beat.cancelled = True
        with self._lock:
            self._beats = tuple(known for known in self._beats if not known.cancelled)
            if self._beats or self._thread is None:
                return
            self._leaving.append(self._thread)
            self._thread = None
            wake, self._wake = self._wake, _wake_up()
        _rouse(wake)

    def settle(self) -> None:
        """Wait until the thread is gone, if it has nothing to call any more. For callers that hold no lock."""
        while self._leaving:
            thread = self._leaving.pop()
            if thread is not threading.current_thread():
                thread.join(self._patience)

    def _start(self) -> None:
        self._wake = _wake_up()
        # In a context of its own: the trace that happens to be current now is not that of what comes later.
        thread = threading.Thread(
            target=Context().run, args=(self._run, self._wake), name=THREAD_NAME, daemon=True
        )
        thread.start()
        self._thread = thread

    def renew(self) -> None:
        """In a forked child: the thread is not there, and the lock may have been held by one that is not either."""
        self._lock = threading.RLock()
        self._leaving = []
        self._thread = None
        if self._beats:
            try:
                self._start()
            except RuntimeError:
                # The next call of `every` tries again.
                _logger.warning(
                    "no thread can be started in this forked process: some probes have nothing to say"
                )

    def _run(self, wake: threading.Lock) -> None:
        while self._wake is wake:
            wake.acquire(timeout=self.turn())

    def turn(self) -> float:
        """Make the calls that are due; returns in how many seconds the next one is."""
        now = self._clock()
        for beat in self._beats:
            if beat.due <= now and not beat.cancelled:
                beat.due = now + beat.seconds
                wish = beat.call()
                if isinstance(wish, float):
                    beat.due = now + wish
        soonest = min((beat.due for beat in self._beats), default=math.inf)
        return min(max(0.0, soonest - self._clock()), threading.TIMEOUT_MAX)


def _wake_up() -> threading.Lock:
    """A lock that is held, for a thread to wait at until it is roused: a third of what waiting for an Event costs.

    A release stays until it is taken, and follows the change that it tells of: no wake-up is lost.
    """
    lock = threading.Lock()
    lock.acquire()
    return lock


def _rouse(wake: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # it has been roused already
        wake.release()
