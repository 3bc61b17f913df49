# SPDX-License-Identifier: Apache-2.0
"""Each command: a span and its duration, and how long it had waited for its connection."""

from __future__ import annotations

import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_resinstr import semconv
from otel_resinstr.mongodb._conventions import Operations, azure_reads_old_names, collection_of, named_at
from otel_resinstr.mongodb._query_text import query_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span
    from pymongo import monitoring

    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb._conventions import Operation
    from otel_resinstr.mongodb.clients import Client, Clients

    # The driver's request id; of an answer that was not asked for, where it came from.
    Key = int | tuple[tuple[str, int | None], int | None]

_OPEN = 10_000
"""As many commands can be under way; each has a connection of its own, of which few processes have as many."""


class _Use(NamedTuple):
    """A connection is in use."""

    waited: float | None
    """For how long, until the first command."""
    key: Key | None
    """The latest command."""
    outer: _Use | None
    """In the middle of whose command: a signal handler or a finaliser may use a client."""


_here: ContextVar[_Use | None] = ContextVar("otel_resinstr_mongodb_command", default=None)
"""In the thread or task that uses a connection: how long it waited for it, and then which command it runs.

The driver's events of commands do not say which connection a command has, and those of connections do not say for
which command they are; but both come in the thread or task of the application's call.
"""


class _Open(NamedTuple):
    """A command that has not ended."""

    operation: Operation
    span: Span | None
    since: float


class Commands:
    """`db.client.operation.duration`, and a span for each command, after OpenTelemetry's conventions for MongoDB.

    https://opentelemetry.io/docs/specs/semconv/database/mongodb/

    A command is what is sent to the server, so each retry, each batch of a bulk write and each `getMore` is one. It
    fails where the driver says so: a write that was refused, in a reply that reports it, is a command that
    succeeded. What the driver redacts (authentication, users) is left out. A write that is not acknowledged ends
    when it has been sent.

    `mongodb.pool.wait_time` (s) on the span is what this command waited for its connection, before the span began.
    Of the commands that share a check-out (of a bulk write, of an exhaust cursor) the first one has it.

    Where contrib's `pymongo` or the driver itself makes spans for a client, ours are left out as long as it does.
    Cost: one record of the SDK's (20 µs), its span (40 µs), and 5 µs.
    """

    name = "mongodb.commands"

    def __init__(
        self,
        clients: Clients,
        *,
        query_text_length: int = 0,
        old_names: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._query_text_length = query_text_length
        self._old_names = old_names
        self._clock = clock
        self._open: dict[Key, _Open] = {}

    def start(self, lease: Lease) -> None:
        """Listen to the commands of the clients that are constructed from now on."""
        self.lease = lease
        self._tracer = lease.tracer
        self._duration = lease.histogram(semconv.DB_CLIENT_OPERATION_DURATION)
        self._old_names = self._old_names or azure_reads_old_names()
        self._operations = Operations(old_names=self._old_names)
        lease.after_fork(self._open.clear)  # the parent ends them
        self._clients.commands = self
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.commands = None
        self._end_the_oldest(len(self._open))

    # What the driver calls, through the listener

    def started(self, client: Client, event: monitoring.CommandStartedEvent) -> None:
        """A command is about to be sent."""
        command = event.command
        if not command or not is_instrumentation_enabled():
            return
        client.commands = (client.commands or 0) + 1
        key: Key = event.request_id or (event.connection_id, event.server_connection_id)
        here = _here.get()
        waited, outer = (None, None) if here is None else (here.waited, here.outer)
        _here.set(_Use(None, key, outer))
        name = event.command_name
        operation = self._operations.of(
            event.connection_id, event.database_name, name, collection_of(name, command)
        )
        span = None
        if not client.other_tracers or not any(traces() for traces in client.other_tracers):
            attributes = operation.span
            if waited is not None:
                attributes = {**attributes, semconv.MONGODB_POOL_WAIT_TIME: waited}
            if operation.batch_at is not None and (size := operation.batch_size(command)) > 1:
                attributes = {**attributes, semconv.DB_OPERATION_BATCH_SIZE: size}
            span = self._tracer.start_span(operation.span_name, kind=SpanKind.CLIENT, attributes=attributes)
            if self._query_text_length and span.is_recording():
                self._add_query_text(span, name, command)
        self._open[key] = _Open(operation, span, self._clock())
        if len(self._open) > _OPEN:
            self._end_the_oldest(_OPEN // 10)
        if self.lease.ended:  # meanwhile, in another thread, which has not seen this one
            self._end_the_oldest(len(self._open))

    def _add_query_text(self, span: Span, name: str, command: Mapping[str, Any]) -> None:
        text = query_text(command, named_at(name), self._query_text_length)
        span.set_attribute(semconv.DB_QUERY_TEXT, text)
        if self._old_names:
            span.set_attribute(semconv.DB_STATEMENT, text)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """The answer has come, or none was asked for."""
        ended = self._open.pop(event.request_id or (event.connection_id, event.server_connection_id), None)
        if ended is not None:
            if ended.span is not None:
                ended.span.end()
            self._duration.record(event.duration_micros / 1e6, ended.operation.metric)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """The server refused it, or the connection broke."""
        ended = self._open.pop(event.request_id or (event.connection_id, event.server_connection_id), None)
        if ended is None:
            return
        failure = event.failure
        code = failure.get("code")
        error: dict[str, str] = {}
        if code is None:
            error[semconv.ERROR_TYPE] = str(failure.get("errtype") or _kind_of_error())
        else:
            error[semconv.ERROR_TYPE] = error[semconv.DB_RESPONSE_STATUS_CODE] = str(code)
        # Not its message, which may hold values; this is one of the server's names for its codes.
        self._fail(ended, event.duration_micros / 1e6, error, failure.get("codeName"))

    def _fail(self, ended: _Open, seconds: float, error: dict[str, str], description: str | None) -> None:
        if ended.span is not None:
            ended.span.set_attributes(error)
            ended.span.set_status(Status(StatusCode.ERROR, description))
            ended.span.end()
        self._duration.record(seconds, {**ended.operation.metric, **error})

    # What `Clients` calls, in the thread or task of the command

    def checked_out(self, seconds: float) -> None:
        """A connection was obtained, for the command that comes next."""
        outer = _here.get()
        # A connection that is still out though its command has ended, as a cursor's may be, comes back anywhere.
        while outer is not None and outer.key not in self._open:
            outer = outer.outer
        _here.set(_Use(seconds, None, outer))

    def checked_in(self) -> None:
        """The connection came back: a command that has not ended never will."""
        here = _here.get()
        if here is not None:
            _here.set(here.outer)
            if here.key in self._open:
                self.lease.guard(self._cancelled, here.key)

    def _cancelled(self, key: Key) -> None:
        # The driver has no event for a command that was cancelled, or interrupted by Ctrl-C.
        ended = self._open.pop(key)
        self._fail(ended, self._clock() - ended.since, {semconv.ERROR_TYPE: _kind_of_error()}, None)

    # What nobody will end

    def _end_the_oldest(self, count: int) -> None:
        for key in list(self._open)[:count]:
            ended = self._open.pop(key, None)
            if ended is not None and ended.span is not None:
                ended.span.end()


def _kind_of_error() -> str:
    # The driver makes its events while it handles the error.
    kind = sys.exc_info()[0]
    return "_OTHER" if kind is None else kind.__qualname__
