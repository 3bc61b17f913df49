# SPDX-License-Identifier: Apache-2.0
"""Events: one line in the application's log that a person can act on, and one record in OTLP.

The same cause is reported at most once in an interval, and all causes together at most so many times; what was
held back is counted into the next report of that cause.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber, get_logger

from otel_resinstr import _azure
from otel_resinstr.semconv import (
    MICROSOFT_CUSTOM_EVENT_NAME,
    RESINSTR_EVENT_MESSAGE,
    RESINSTR_EVENT_REPEATED,
    SCHEMA_URL,
    SCOPE,
)
from otel_resinstr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.util.types import AnyValue

    from otel_resinstr.semconv import Event

INTERVAL = 60.0
"""Seconds in which one cause is reported once."""

BURST = 20
"""Reports of all causes together in one interval."""

_CAUSES = 1000  # as many are remembered; the one that was reported longest ago is forgotten first

_logger = logging.getLogger(SCOPE)

# Replaced, never changed in place: who begins or ends to listen meanwhile does not disturb an event.
_listeners: tuple[Callable[[LogRecord], object], ...] = ()


def listen(listener: Callable[[LogRecord], object]) -> None:
    """Call *listener* with each event of the process, in the thread that reports it. It must be quick."""
    global _listeners  # noqa: PLW0603  one process has one list
    _listeners = (*_listeners, listener)


def ignore(listener: Callable[[LogRecord], object]) -> None:
    """Forget *listener*; forgetting what is not there does nothing."""
    global _listeners  # noqa: PLW0603  one process has one list
    _listeners = tuple(known for known in _listeners if known != listener)


class Events:
    """Says what happened to *provider*, by default the global logger provider, and to the log.

    Where Azure Monitor's exporter is installed the records become custom events there, by two attributes more.
    """

    def __init__(
        self, provider: LoggerProvider | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._otlp = get_logger(SCOPE, __version__, provider, SCHEMA_URL)
        self._clock = clock
        # Azure's exporter drops the name of an event, and the body of what it takes for a custom event by this name.
        self._custom = _azure.exporter_version() is not None
        # Re-entrant: a finaliser that runs while it is held may break a probe, which is an event.
        self._lock = threading.RLock()
        self._reported: dict[tuple[str, Hashable], float] = {}
        self._held_back: dict[tuple[str, Hashable], int] = {}
        self._window = clock()
        self._in_window = 0
        self._filtered: list[logging.Handler] = []

    def say(
        self,
        event: Event,
        message: str,
        cause: Hashable,
        attributes: Mapping[str, AnyValue],
        context: Context | None = None,
    ) -> bool:
        """Report *event* unless its *cause* was reported a moment ago; returns whether it was.

        *message* is one line for a person. The record carries the trace of *context*, by default the current one.
        """
        with self._lock:
            repeated = self._admit((event.name, cause))
        if repeated is None:
            return False
        attributes = dict(attributes)
        if repeated:
            attributes[RESINSTR_EVENT_REPEATED] = repeated
            message = f"{message} ({repeated} more since the last report)"
        if self._custom:
            attributes |= {MICROSOFT_CUSTOM_EVENT_NAME: event.name, RESINSTR_EVENT_MESSAGE: message}
        record = LogRecord(
            timestamp=time.time_ns(),
            context=context,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body=message,
            attributes=attributes,
            event_name=event.name,
        )
        self._otlp.emit(record)
        self._log(logging.WARNING, f"{event.name}: {message}")
        for listener in _listeners:
            with contextlib.suppress(Exception):  # the others hear of it all the same
                listener(record)
        return True

    def explain(self, message: str, error: Exception) -> None:
        """Log *message* and the whole of *error* for whoever looks for it (DEBUG); not to OTLP.

        The text of an error may hold what belongs to the application, such as a URI with a password.
        """
        self._log(logging.DEBUG, message, error)

    def _log(self, level: int, message: str, error: Exception | None = None) -> None:
        if _logger.isEnabledFor(level):
            # OpenTelemetry's own logging handler would send the line once more, beside the event.
            for handler in _handlers(_logger):
                if _is_opentelemetry(handler) and handler not in self._filtered:
                    handler.addFilter(self._not_ours)
                    self._filtered.append(handler)
            _logger.log(level, "%s", message, exc_info=error, extra={_MARK: True})

    def _not_ours(self, record: logging.LogRecord) -> bool:
        # A method: each of the subjects has its own filter, so that one that stops does not take away the others'.
        return not hasattr(record, _MARK)

    def _admit(self, cause: tuple[str, Hashable]) -> int | None:
        """How many reports of *cause* were held back before this one, or None if it is to be held back too."""
        now = self._clock()
        if now - self._window >= INTERVAL:
            self._window, self._in_window = now, 0
        last = self._reported.get(cause)
        if self._in_window >= BURST or (last is not None and now - last < INTERVAL):
            if cause in self._held_back or len(self._held_back) < _CAUSES:
                self._held_back[cause] = self._held_back.get(cause, 0) + 1
            return None
        self._in_window += 1
        self._reported.pop(cause, None)
        self._reported[cause] = now  # a dict keeps the order: the first is the oldest
        if len(self._reported) > _CAUSES:
            self._reported.pop(next(iter(self._reported)), None)
        return self._held_back.pop(cause, 0)

    def close(self) -> None:
        """Give the handlers back as they were."""
        for handler in self._filtered:
            handler.removeFilter(self._not_ours)
        self._filtered.clear()

    def renew(self) -> None:
        """Forget, in a forked child, what the parent reported, and the lock that it may have held."""
        self._lock = threading.RLock()
        self._reported.clear()
        self._held_back.clear()
        self._in_window = 0


_MARK = "otel_resinstr_event"


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    walked: logging.Logger | None = logger
    while walked is not None:
        yield from walked.handlers
        walked = walked.parent if walked.propagate else None


def _is_opentelemetry(handler: logging.Handler) -> bool:
    # The SDK's (until it is removed) or the logging instrumentation's: neither may be imported here.
    return any(
        kind.__name__ == "LoggingHandler" and kind.__module__.startswith("opentelemetry.")
        for kind in type(handler).__mro__
    )
