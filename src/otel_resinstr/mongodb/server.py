# SPDX-License-Identifier: Apache-2.0
"""How many connections a server has, as it sees it; asked for through a client of the application."""

from __future__ import annotations

import logging
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import Observation

from otel_resinstr import semconv
from otel_resinstr._ticker import THREAD_NAME
from otel_resinstr._totals import Totals
from otel_resinstr.mongodb.clients import ASYNC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb.clients import Client, Clients

_logger = logging.getLogger(semconv.SCOPE)

_STATES = ("current", "available", "active")

# Without the sections that are dear to make: https://www.mongodb.com/docs/manual/reference/command/serverStatus/
_COMMAND = {"serverStatus": 1, "locks": 0, "metrics": 0, "repl": 0, "tcmalloc": 0, "wiredTiger": 0}

# Errors that asking again does not change: Unauthorized, AuthenticationFailed, CommandNotFound, APIStrictError and
# what Atlas says of a command that it does not have (https://www.mongodb.com/docs/manual/reference/error-codes/).
_REFUSALS = frozenset([13, 18, 59, 323, 8000])


class _Answer(NamedTuple):
    """What a server has said of its connections."""

    process: tuple[Any, Any]
    """Its host and pid. Another one counts from another beginning."""
    connections: dict[str, int]


class Server:
    """`mongodb.server.connection.*`: `serverStatus().connections`, off unless *interval* (s) is given.

    The server counts all of its clients' connections, from all processes: what this one holds is a part of it
    (`mongodb.client.socket.count`), and what is left (`available`) is left for all. Asked once an interval, for each
    server address through one synchronous client that has an idle connection to it: no client of ours, no client of
    the application's that is not in use, no wait for a pool that is. An asynchronous client can be used in its own
    event loop only, which is the application's, and is not asked through.

    The question is put in a thread that lives as long as it, which *timeout* (s) bounds for each address, and under
    suppressed instrumentation: there are no spans, durations and waits of it. Listeners of the application's own see
    the command. Without the privilege for it (`clusterMonitor` has it) a line in the log says so, once.

    Cost: a command of about a millisecond for the server, each interval.
    """

    name = "mongodb.server"

    def __init__(self, clients: Clients, interval: float | None, timeout: float = 1.0) -> None:
        self._clients = clients
        self._interval = interval
        self._timeout = timeout
        self._created: Totals[str] = Totals()
        self._said: set[str] = set()
        self._refused: set[str] = set()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._created.restart()
        self._latest: dict[str, _Answer] = {}
        self._answers: dict[str, _Answer] = {}
        self._question: threading.Thread | None = None

    def start(self, lease: Lease) -> None:
        """Ask once an interval, if there is one."""
        if self._interval is None:
            return
        self._guard = lease.guard
        lease.observe(semconv.MONGODB_SERVER_CONNECTION_COUNT, self._count)
        lease.observe(semconv.MONGODB_SERVER_CONNECTION_CREATED, self._created_observations)
        lease.after_fork(self._begin_anew)
        lease.at_end(self._wait)
        lease.every(self._interval, self._begin)

    def _wait(self) -> None:
        question = self._question
        if question is not None and question is not threading.current_thread():
            question.join(2 * self._timeout)

    # What is read at a collection

    def _count(self) -> Iterable[Observation]:
        for server_address, answer in self._answers.items():
            for state in _STATES:
                if state in answer.connections:
                    yield Observation(
                        answer.connections[state],
                        {
                            semconv.SERVER_ADDRESS: server_address,
                            semconv.MONGODB_SERVER_CONNECTION_STATE: state,
                        },
                    )

    def _created_observations(self) -> Iterable[Observation]:
        for server_address, count in self._created.items():
            yield Observation(count, {semconv.SERVER_ADDRESS: server_address})

    # The question

    def _begin(self) -> None:
        if self._question is not None and self._question.is_alive():
            self._answers = {}  # they are older than an interval
            return
        chosen = self._choose()
        if not chosen:
            self._answers = {}
            return
        # Of itself, not of the ticker's thread, which beats the event loops.
        question = threading.Thread(
            target=Context().run,
            args=(self._guard, self._ask, chosen),
            name=THREAD_NAME,
            daemon=True,
        )
        self._question = question
        try:
            question.start()
        except RuntimeError:  # no thread is to be had at the moment
            self._question, self._answers = None, {}

    def _choose(self) -> dict[str, Client]:
        """For each server address a client that has nothing to do."""
        chosen: dict[str, Client] = {}
        synchronous: set[str] = set()
        asynchronous: set[str] = set()
        for client in self._clients.live():
            if client.over or client.internal or client.server_address in self._refused:
                continue
            (asynchronous if client.kind == ASYNC else synchronous).add(client.server_address)
            if client.kind != ASYNC and any(pool.idle for pool in client.connections.pools()):
                chosen.setdefault(client.server_address, client)
        for server_address in asynchronous - synchronous:
            self._say_once(
                f"the server at {server_address} cannot be asked for serverStatus: all clients of it are "
                "asynchronous ones, which can be used in their own event loop only; "
                f"{semconv.MONGODB_SERVER_CONNECTION_COUNT.name} is absent until there is a synchronous one"
            )
        return chosen

    def _ask(self, chosen: dict[str, Client]) -> None:
        answers = {}
        for server_address, client in chosen.items():
            answer = self._answer(server_address, client)
            if answer is not None:
                answers[server_address] = answer
                self._count_created(server_address, answer)
        self._answers = answers

    def _answer(self, server_address: str, client: Client) -> _Answer | None:
        # Here, since there is a client, pymongo has been imported.
        import pymongo  # noqa: PLC0415
        from bson.codec_options import DEFAULT_CODEC_OPTIONS  # noqa: PLC0415
        from pymongo.errors import OperationFailure, PyMongoError  # noqa: PLC0415

        instance = None if client.ref is None else client.ref()
        if instance is None:
            return None
        try:
            with suppress_instrumentation(), pymongo.timeout(self._timeout):
                status = instance.get_database("admin").command(_COMMAND, codec_options=DEFAULT_CODEC_OPTIONS)
        except OperationFailure as error:
            if error.code in _REFUSALS:
                self._refused.add(server_address)
                self._say_once(
                    f"the server at {server_address} does not answer serverStatus to this application (error "
                    f"{error.code}) and is not asked again; {semconv.MONGODB_SERVER_CONNECTION_COUNT.name} is absent. "
                    "Grant its user the role clusterMonitor, or leave OTEL_RESINSTR_MONGODB_SERVER_INTERVAL unset"
                )
            return None
        except PyMongoError:  # out of reach, too slow, closed meanwhile: unknown this time
            return None
        return _Answer((status.get("host"), status.get("pid")), status.get("connections") or {})

    def _count_created(self, server_address: str, answer: _Answer) -> None:
        """From 0, as all counters do: what this process has seen the server accept."""
        created = answer.connections.get("totalCreated")
        if created is None:
            return
        latest = self._latest.get(server_address)
        known = (
            created
            if latest is None or latest.process != answer.process
            else latest.connections["totalCreated"]
        )
        self._created.add(server_address, max(0, created - known))
        self._latest[server_address] = answer

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            _logger.warning(message)
