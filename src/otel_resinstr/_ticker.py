# SPDX-License-Identifier: Apache-2.0
"""The one background thread: it calls what has to be called regularly, and lives only while something has."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from otel_resinstr import _fork

if TYPE_CHECKING:
    from collections.abc import Callable

THREAD_NAME = "resinstr"


class _Beat:
    def __init__(self, seconds: float, call: Callable[[], None], due: float) -> None:
        self.seconds = seconds
        self.call = call
        self.due = due


class Ticker:
    """A thread for calls at regular intervals: started with the first, gone with the last, renewed in a child.

    What it calls must be quick and must not raise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beats: tuple[_Beat, ...] = ()
        self._thread: threading.Thread | None = None
        # Each thread has a wake-up of its own; one that finds another's in this place is to end.
        self._wake = threading.Event()

    def every(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call *call* every *seconds*; returns what ends that.

        A call that comes late is not made up for: the thread that was held had nothing to say in between.
        """
        beat = _Beat(seconds, call, self._clock() + seconds)
        with self._lock:
            self._beats = (*self._beats, beat)
            if self._thread is None:
                _fork.add(self._renew)
                self._start()
            else:
                self._wake.set()

        def cancel() -> None:
            self._cancel(beat)

        return cancel

    def _cancel(self, beat: _Beat) -> None:
        with self._lock:
            self._beats = tuple(known for known in self._beats if known is not beat)
            if self._beats or self._thread is None:
                return
            thread, self._thread = self._thread, None
            wake, self._wake = self._wake, threading.Event()
            _fork.remove(self._renew)
        wake.set()
        if thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._wake,), name=THREAD_NAME, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        # In a forked child: the thread is not there, and the lock may have been held by one that is not either.
        self._lock = threading.Lock()
        self._start()

    def _run(self, wake: threading.Event) -> None:
        while True:
            wake.clear()
            if self._wake is not wake:
                return
            now = self._clock()
            for beat in self._beats:
                if beat.due <= now:
                    beat.due = now + beat.seconds
                    beat.call()
            soonest = min((beat.due for beat in self._beats), default=now)
            wake.wait(max(0.0, soonest - self._clock()))
