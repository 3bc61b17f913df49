# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: what was measured in the last minutes, kept in memory, and written when it is needed."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import math
import os
import signal
import sys
import threading
import time
import zlib
from collections import deque
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import get_logger_provider
from opentelemetry.trace import get_tracer_provider

from otel_resinstr import _events, _instruments, _otlp
from otel_resinstr._fatal import Fatal
from otel_resinstr._lines import Lines
from otel_resinstr._signals import is_free
from otel_resinstr.semconv import METRICS, RESINSTR_PROBE_DISABLED, SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry._logs import LogRecord

    from otel_resinstr._probe import Lease

PERIOD = 5.0
"""Seconds between two samples."""

SECONDS = 600.0
"""How far the ring reaches back."""

BYTES = 2_000_000
"""What the ring takes at most."""

SHARE = 0.001
"""Of a core, what sampling takes at most: after a sample that took longer, the next one is as much later."""

SPACING = 10.0
"""Seconds between two writes of what is new, in the ten minutes after an event."""

_LOOK = 1.0  # seconds until a signal or an event is followed by a write
_PATIENCE = 3.0  # seconds to wait for a write of another thread
_CHUNK = (
    250_000  # bytes that are written at once: some system calls for ten samples, and no large block of memory
)

_BY_NAME = {metric.name: metric for metric in METRICS}
_SIGNAL: Any = getattr(signal, "SIGUSR2", None)

_logger = logging.getLogger(SCOPE)

# The one that runs.
_running: Recorder | None = None


class _Entry:
    """A request of the ring: compressed, and without the resource, which may not be known yet."""

    __slots__ = ("at", "request", "written")

    def __init__(self, at: float, request: bytes) -> None:
        self.at = at
        self.request = zlib.compress(request, 1)
        self.written = False

    def size(self) -> int:
        return sys.getsizeof(self) + sys.getsizeof(self.request)


class Recorder:
    """Samples of all observable metrics and the events, in a ring of ten minutes, in files in *folder* when it counts.

    It counts when the process ends (by `atexit`, and by SIGTERM through `process.sigterm`), on SIGUSR2 where nobody
    has a handler for it, when `dump` is called, and from an event on: for the ten minutes after it what is new is
    written every ten seconds, so that a process which is killed then has told all but its last ten seconds. Nothing
    is written twice: the files of one process together are what it recorded. Stacks of a fault in C are in a file
    beside them (`Fatal`).

    A file holds OTLP/JSON lines, one of all metrics for each sample, one for each event; all files of the package in
    the folder take at most so many *megabytes*. Histograms and spans are not in it.

    Cost: sampling takes at most 0.1 % of a core, which a sample every five seconds comes to where all is read in 5 ms;
    the ring takes at most 2 MB.
    """

    name = "recorder"

    def __init__(  # noqa: PLR0913  the sources
        self,
        folder: Path | None,
        megabytes: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
        cpu: Callable[[], float] = time.thread_time,
        *,
        began: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._began = began
        self._folder = folder
        self._megabytes = megabytes
        self._clock = clock
        self._wall = wall
        self._cpu = cpu
        self._warned = False

    def start(self, lease: Lease) -> None:
        """Begin to record; without a folder there is nothing to do."""
        if self._folder is None:
            return
        self._lease = lease
        self._lines = self._lines_in(self._folder)
        self._fatal = Fatal(self._folder)
        self._fatal.start(lease)
        self._begin()
        lease.after_fork(self._begin)
        lease.at_end(self._leave)
        self._come()
        lease.every(PERIOD, self._beat)
        lease.every(_LOOK, self._look)
        lease.at_exit(self._at_exit, last=True)  # the folder may be on a share that hangs

    def _begin(self) -> None:
        # In a forked child as well: what the parent measured is the parent's, and so are its locks and threads.
        self._ring: deque[_Entry] = deque()
        self._since = self._wall()
        self._life = _life(self._began())
        self._until = self._next = -math.inf
        self._wanted = False
        self._fresh = True
        self._behind: threading.Thread | None = None
        self._writing = threading.Lock()
        # Re-entrant: a finaliser that runs while it is held may end in an event.
        self._keeping = threading.RLock()

    def _come(self) -> None:
        global _running  # noqa: PLW0603  one process has one recorder
        _running = self
        _events.listen(self._heard)
        if _SIGNAL is not None and is_free(_SIGNAL):
            self._set_handler(self._on_signal)

    def _leave(self) -> None:
        global _running  # noqa: PLW0603  as above
        _running = None
        _events.ignore(self._heard)
        if _SIGNAL is not None and signal.getsignal(_SIGNAL) == self._on_signal:
            self._set_handler(signal.SIG_DFL)

    def _set_handler(self, handler: Any) -> None:
        with contextlib.suppress(ValueError):  # this is not the main thread
            signal.signal(_SIGNAL, handler)

    def _on_signal(self, _number: int, _frame: Any) -> None:
        # Whatever the thread was at may have been interrupted with a lock held.
        self._wanted = True

    def _heard(self, record: LogRecord) -> None:
        self._lease.guard(self._hear, record)

    def _hear(self, record: LogRecord) -> None:
        self._keep(_otlp.logs([_otlp.log_record(record)]))
        if record.event_name != RESINSTR_PROBE_DISABLED.name:  # all others are a suspect's
            self._until = self._clock() + SECONDS

    def _beat(self) -> float:
        began = self._cpu()
        self._sample()
        return max(PERIOD, (self._cpu() - began) / SHARE)

    def _sample(self) -> None:
        now = self._wall()
        encoded = [
            _otlp.metric(metric, found, self._since, now)
            for metric, observations in _instruments.observed()
            if (found := list(observations))
        ]
        if encoded:
            self._keep(_otlp.metrics(encoded))

    def _keep(self, request: bytes) -> None:
        now = self._clock()
        entry = _Entry(now, request)
        # A finaliser may add one, and remove some, at any line.
        with self._keeping, contextlib.suppress(IndexError):
            self._ring.append(entry)
            size = sum(entry.size() for entry in list(self._ring))
            while self._ring and (size > BYTES or self._ring[0].at < now - SECONDS):
                size -= self._ring.popleft().size()

    def _look(self) -> None:
        if self._behind is not None and self._behind.is_alive():
            return  # a share that hangs
        now = self._clock()
        if self._fresh:
            self._fresh = False
            self._start_behind(self._enable_fatal)
        elif self._wanted:
            self._wanted = False
            self._start_behind(self.dump)
        elif self._next <= now < self._until:
            self._next = now + SPACING
            self._start_behind(self._write)

    def _start_behind(self, call: Callable[[], object]) -> None:
        # Not on the package's own thread, which has event loops to look at: the folder may be on a slow share.
        self._behind = self._aside(call)
        try:
            self._behind.start()
        except RuntimeError:  # the process may not have one more thread, which is when this counts
            call()

    def _aside(self, call: Callable[[], object]) -> threading.Thread:
        return threading.Thread(
            target=Context().run, args=(self._lease.guard, call), name="resinstr.recorder", daemon=True
        )

    def _enable_fatal(self) -> None:
        try:
            self._fatal.enable()
        except OSError as failure:
            self._warn(failure)

    def _at_exit(self) -> None:
        behind = self._behind
        ending = self._aside(self._write_last)
        try:
            ending.start()
        except RuntimeError:  # none can be started, as at the end of CPython 3.12, or not one more
            if behind is not None:
                behind.join(_PATIENCE)
            if behind is None or not behind.is_alive():
                self._write_last()
        else:
            ending.join(_PATIENCE)

    def _write_last(self) -> None:
        # What is there comes first: reading may wait for a lock that the interrupted thread holds.
        self._write()
        self.dump()
        self._fatal.tidy()

    def asked(self, folder: Path | None) -> Path | None:
        """`dump`, for the application."""
        return self._lease.guard(self.dump, folder)

    def dump(self, folder: Path | None = None) -> Path | None:
        """Write what there is up to now: what is new, or, to another *folder*, all of it."""
        self._sample()
        if folder is None:
            return self._write()
        lines = self._lines_in(folder)
        return lines.path if self._save(lines, list(self._ring), mark=False) else None

    def _lines_in(self, folder: Path) -> Lines:
        return Lines(folder, "recorder", self._megabytes * 10**6)

    def _write(self) -> Path | None:
        if not self._writing.acquire(timeout=_PATIENCE):
            return None
        try:
            new = [entry for entry in list(self._ring) if not entry.written]
            return self._lines.path if self._save(self._lines, new) else None
        finally:
            self._writing.release()

    def _save(self, lines: Lines, entries: Iterable[_Entry], *, mark: bool = True) -> bool:
        try:
            for chunk, of_chunk in _chunks(entries, self._resource()):
                lines.write(chunk)
                for entry in of_chunk:
                    entry.written |= mark
        except (OSError, ValueError) as failure:  # a path may hold what no path can
            self._warn(failure)
            return False
        return True

    def _resource(self) -> dict[str, Any]:
        """What the SDK says of the process, if there is one: but for its command line, which may hold a password."""
        holders = (self._lease.tracer, get_tracer_provider(), get_logger_provider())
        found = (getattr(getattr(holder, "resource", None), "attributes", None) for holder in holders)
        attributes: Mapping[str, Any] = next(filter(None, found), {})
        kept = {key: value for key, value in attributes.items() if not key.startswith("process.command")}
        return {**kept, **self._life}

    def _warn(self, failure: Exception) -> None:
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):  # a filter or handler of the application's that raises
                _logger.warning(
                    "what the flight recorder has is not written: %s; "
                    "let OTEL_RESINSTR_RECORDER_DIR be a folder that the process may write to",
                    failure,
                )


def _life(created: float | None) -> dict[str, Any]:
    """What tells this process from all others, also from the one that had its id before: in a container it is 1.

    https://opentelemetry.io/docs/specs/semconv/registry/attributes/process/
    """
    pid = os.getpid()
    if created is None:  # the system does not tell
        return {"process.pid": pid}
    began = dt.datetime.fromtimestamp(created, dt.timezone.utc)
    return {"process.pid": pid, "process.creation.time": began.isoformat(timespec="milliseconds")}


def _chunks(entries: Iterable[_Entry], resource: dict[str, Any]) -> Iterator[tuple[bytes, list[_Entry]]]:
    chunk, of_chunk = b"", []
    for entry in entries:
        chunk += _otlp.line(zlib.decompress(entry.request), resource)
        of_chunk.append(entry)
        if len(chunk) >= _CHUNK:
            yield chunk, of_chunk
            chunk, of_chunk = b"", []
    if of_chunk:
        yield chunk, of_chunk


def dump(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Write what the flight recorder holds, up to this moment, and return the file.

    Never raises. It blocks its thread while it reads all metrics and writes, some milliseconds where the disk is quick:
    on an event loop call ``await asyncio.to_thread(otel_resinstr.dump)``.

    Args:
        folder: Where to write all that there is. By default the recorder's own folder, for what is not there yet.

    Returns:
        The file that was written to last; None where no recorder runs or the file cannot be written, of which the log
        has the reason once.
    """
    recorder = _running
    if recorder is None:
        return None
    with contextlib.suppress(TypeError):  # that is no folder
        return recorder.asked(None if folder is None else Path(folder))
    return None
