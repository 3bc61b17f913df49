# SPDX-License-Identifier: Apache-2.0
"""Finds pymongo's clients: each is given a listener when it is constructed, and watched weakly until it ends.

Patches the constructors of `MongoClient` and `AsyncMongoClient` (Motor's clients construct one of them), their `close`,
and what tells an application of its client's listeners, so that ours are not among them. A client that nobody keeps
dies exactly as without us.
"""

from __future__ import annotations

import inspect
import logging
import re
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import Observation

from otel_resinstr import semconv
from otel_resinstr._bounded import OTHER, Bounded
from otel_resinstr._site import application_site
from otel_resinstr.mongodb import _driver
from otel_resinstr.mongodb._connections import (
    DEFAULT_MAX_POOL_SIZE,
    POOL_CLOSED,
    Connection,
    Connections,
    PoolState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

    from pymongo import monitoring

    from otel_resinstr._probe import Lease
    from otel_resinstr._site import Site
    from otel_resinstr.mongodb._connections import Address
    from otel_resinstr.mongodb.commands import Commands

SYNC = "sync"
ASYNC = "async"
CLOSED = "closed"
DROPPED = "dropped"

BEAT = 1.0
"""Seconds after which, at the latest, is told what was noted where nothing slow may be done."""

PATIENCE = 3.0
"""Seconds for which the end of the interpreter may be held up to tell: each span may take its exporter's time."""

_NOTES = 10_000  # as many are kept until they are told: more come together only where the thread cannot run

_logger = logging.getLogger(semconv.SCOPE)

_SERVERS = 100  # as many server addresses are told apart


class Client:
    """What is known of one client; it does not keep the client alive."""

    def __init__(self, kind: str, server_address: str, site: Site | None, *, internal: bool) -> None:
        self.kind = kind
        self.server_address = server_address
        self.site = site
        self.internal = internal
        """Made by the driver itself, for encryption: not the application's doing, but its sockets are real."""
        self.connections = Connections()
        self.given_listeners: Any = None
        """What the application gave it; kept until it is constructed."""
        self.commands: int | None = None
        """How many were run; None where nobody counts them."""
        self.other_tracers: tuple[Callable[[], bool], ...] = ()
        """What else makes a span for each command: for each, whether it does at the moment."""
        self.span: Any = None
        """The ledger's, while the constructor runs."""
        self.created_in: Any = None
        """The context of that span."""
        self.constructed = 0.0
        self.gone_at = 0.0
        """When nothing referred to it any more."""
        self.connections_opened = 0
        self.heartbeat_errors: dict[Any, str] = {}
        """By address the class of the error with which the latest heartbeat failed, if it did."""
        self.inherited = False
        """Constructed by the process that this one was forked from."""
        self.silent = not is_instrumentation_enabled()
        """Constructed where instrumentation is suppressed, as in an exporter: no spans."""
        self.unmonitored = False
        """It was there before us: it has no listener of ours, and its line is not known."""
        self.key = 0
        self.ref: weakref.ref[Any] | None = None
        self.pools: weakref.WeakSet[Any] = weakref.WeakSet()
        """The driver's, for the commands of an asynchronous client."""
        self.left: list[tuple[Address, weakref.ref[Any]]] = []
        """What an asynchronous client that was dropped has left behind: as long as it lives, a socket is open."""
        self.over = False
        """Closed or dropped, though it may still be there, or its sockets."""
        self.ended = False
        """Gone with everything that it had, or never constructed."""

    def instance(self) -> Any:
        """The driver's client; None when it is gone."""
        return None if self.ref is None else self.ref()


class LifeObserver(Protocol):
    """What the ledger wants to know. Each method guards itself."""

    def constructing(self, client: Client) -> None:
        """The constructor is about to run."""

    def constructed(self, client: Client, error: BaseException | None) -> None:
        """The constructor has returned, or raised *error*."""

    def ended(self, client: Client, reason: str) -> None:
        """The client was closed or dropped. Called with the lock of `Clients` held."""


class PoolObserver(Protocol):
    """What the pool probe wants to know. Each method guards itself."""

    def opening(self, pool: PoolState) -> Any:
        """A connection is about to be opened; what is returned comes back with `opened`."""

    def opened(self, pool: PoolState, opening: Any, seconds: float, *, failed: bool) -> None:
        """The connection is ready, or could not be opened."""

    def checked_out(self, pool: PoolState, seconds: float) -> None:
        """A connection was obtained after *seconds*."""

    def checked_in(self, pool: PoolState, seconds: float) -> None:
        """A connection came back after *seconds* of use."""

    def timed_out(self, pool: PoolState) -> None:
        """The wait for a connection ran out."""

    def closed(self, pool_name: str, reason: str, count: int) -> None:
        """So many connections were closed. Called with the lock of `Clients` held."""


class EndObserver(Protocol):
    """What the probe of life cycles wants to know. Each method guards itself, and may be called with a lock held."""

    def client_ended(self, client: Client, reason: str, at: float) -> None:
        """The client was closed or dropped."""

    def connection_ended(self, client: Client, pool: PoolState, connection: Connection, reason: str) -> None:
        """The connection was closed."""


class WaitObserver(Protocol):
    """What the probe of waits wants to know. Each method guards itself."""

    def checked_out(self, pool: PoolState, connection: Connection, seconds: float) -> None:
        """The connection was obtained after *seconds*."""

    def check_out_failed(self, pool: PoolState, reason: str, seconds: float) -> None:
        """None was to be had, after *seconds*. The driver may hold the pool's lock."""


class FailureObserver(Protocol):
    """What the probe of failures wants to know. Each method guards itself."""

    def not_constructed(self, client: Client, error: BaseException) -> None:
        """The constructor raised."""

    def pool_cleared(self, client: Client, pool: PoolState) -> None:
        """The driver gave up all connections of the pool, and holds its lock."""


class HeartbeatObserver(Protocol):
    """What the probe of heartbeats wants to know. Each method guards itself."""

    def answered(self, client: Client, event: Any) -> None:
        """A server answered."""

    def failed(self, client: Client, event: Any) -> None:
        """A server did not answer, or not as it should."""


class Clients:
    """Which clients there are, and how many sockets they hold.

    Cost: a client that is constructed, used once and closed becomes a tenth dearer than with an idle listener that
    makes the same two records; a pool event by itself costs 2 µs.
    """

    name = "mongodb.clients"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Re-entrant, since a signal handler or a finaliser that uses a client may run while it is held.
        self._lock = threading.RLock()
        # By the driver's client's id: two of them compare equal if they know the same servers.
        self._live: dict[int, Client] = {}
        # Clients that are gone, but not all of their sockets.
        self._lingering: list[Client] = []
        # Filled by weak references' callbacks, which may run at any moment in any thread and must take no lock.
        self._dropped: deque[Client] = deque()
        self._notes: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._telling = threading.RLock()
        self._at_each_beat: tuple[Callable[[], None], ...] = ()
        self._beats = False
        self._monitors: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._server_address = Bounded(_SERVERS)
        self._seen: dict[tuple[str, str], None] = {}
        self.life: LifeObserver | None = None
        self.pool: PoolObserver | None = None
        self.ends: EndObserver | None = None
        self.waits: WaitObserver | None = None
        self.failures: FailureObserver | None = None
        self.heartbeats: HeartbeatObserver | None = None
        self.commands: Commands | None = None

    def start(self, lease: Lease) -> None:
        """Wrap the constructors and `close` of both clients, once pymongo has been imported."""
        self._lease = lease
        self.guard = lease.guard
        lease.after_fork(self._forked)
        lease.at_exit(self._tell_at_last)
        lease.at_flush(self._tell)
        lease.when_imported("pymongo.monitoring", self._found_monitoring)
        lease.when_imported("pymongo.synchronous.mongo_client", self._found_sync)
        lease.when_imported("pymongo.asynchronous.mongo_client", self._found_async)
        self._warn_of_unmonitored()
        lease.observe(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT, self._active)
        lease.observe(semconv.MONGODB_CLIENT_SOCKET_COUNT, self._sockets)
        lease.at_end(self._take_listeners_back)

    def _take_listeners_back(self) -> None:
        clients = self.live()
        if clients:
            from otel_resinstr.mongodb._listener import OwnListener  # noqa: PLC0415  see _prepare

            for client in clients:
                _driver.remove_listeners(client.instance(), OwnListener)

    def _found_monitoring(self, module: Any) -> None:
        listeners = getattr(module, "_EventListeners", None)
        if hasattr(listeners, "event_listeners"):
            self._lease.patch(listeners, "event_listeners", self._listeners_of_the_application)

    def _found_sync(self, module: Any) -> None:
        self._lease.patch(module.MongoClient, "__init__", self._constructor(SYNC))
        self._lease.patch(module.MongoClient, "close", self._close)
        self._adopt(SYNC, module.MongoClient)

    def _found_async(self, module: Any) -> None:
        self._lease.patch(module.AsyncMongoClient, "__init__", self._constructor(ASYNC))
        self._lease.patch(module.AsyncMongoClient, "close", self._close_async)
        self._lease.patch(module.AsyncMongoClient, "aclose", self._close_async)
        self._adopt(ASYNC, module.AsyncMongoClient)

    def _adopt(self, kind: str, owner: Any) -> None:
        """Count the clients that were there before us."""
        for instance in _driver.existing(owner):
            client = Client(kind, self._server_address(_driver.seed(instance) or OTHER), None, internal=False)
            client.unmonitored = True
            with self._lock:
                if id(instance) not in self._live:  # constructed by another thread, a moment ago
                    self._watch(client, instance)

    def _warn_of_unmonitored(self) -> None:
        count = len(self.live())
        if count:
            _logger.warning(
                "MongoDB clients that were there before otel_resinstr: %d. They are counted "
                "(mongodb.client.active_instance.count, mongodb.client.socket.count), but their pools, commands and "
                "lines of code are not seen. Call otel_resinstr.instrument() before the first client is constructed, "
                "or run the application under opentelemetry-instrument",
                count,
            )

    # What the application calls

    def _constructor(self, kind: str) -> Callable[..., None]:
        def construct(
            wrapped: Callable[..., None],
            instance: Any,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
        ) -> None:
            prepared = self._lease.guard(self._prepare, kind, instance, args, kwargs)
            if prepared is None:
                wrapped(*args, **kwargs)
                return
            client, kwargs = prepared
            try:
                wrapped(*args, **kwargs)
            except BaseException as error:
                self._lease.guard(self._constructed, client, instance, error)
                raise
            self._lease.guard(self._constructed, client, instance, None)

        return construct

    def _listeners_of_the_application(
        self,
        wrapped: Callable[..., Any],
        _instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        from otel_resinstr.mongodb._listener import OwnListener  # noqa: PLC0415  see _prepare

        return [listener for listener in wrapped(*args, **kwargs) if not isinstance(listener, OwnListener)]

    def _close(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self._lease.guard(self._closing, instance)
        result = wrapped(*args, **kwargs)
        self._lease.guard(self._closed, instance)
        return result

    async def _close_async(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self._lease.guard(self._closing, instance)
        result = await wrapped(*args, **kwargs)
        self._lease.guard(self._closed, instance)
        return result

    # The life of a client

    def _prepare(
        self,
        kind: str,
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Client, dict[str, Any]] | None:
        from otel_resinstr.mongodb._listener import (  # noqa: PLC0415  needs pymongo, which is there now
            CommandsListener,
            HeartbeatListener,
            OwnListener,
            PoolListener,
        )

        # The driver takes the names of its options in any case.
        option = next((key for key in kwargs if key.lower() == "event_listeners"), "event_listeners")
        given = kwargs.get(option)
        if not isinstance(given, (Sequence, type(None))):
            return None  # The driver says what is wrong with it.
        # A client that is made of another's options, by the driver or by the application, brings the other's along.
        own = [listener for listener in given or () if not isinstance(listener, OwnListener)]
        client = Client(
            kind,
            self._server_address(_first_host(args[0] if args else kwargs.get("host"), instance.HOST)),
            application_site(inspect.currentframe()),
            internal=_is_driver(inspect.currentframe()),
        )
        client.constructed = self._clock()
        if self.life is not None and not client.internal:
            self.life.constructing(client)
        client.given_listeners = given if len(own) == len(given or ()) else own
        ours: list[OwnListener] = [PoolListener(self, client)]
        if self.commands is not None:
            client.commands = 0
            ours.append(CommandsListener(self, client, self.commands))
        if self.heartbeats is not None or self.failures is not None:
            ours.append(HeartbeatListener(self, client))
        return client, {**kwargs, option: [*own, *ours]}

    def _constructed(self, client: Client, instance: Any, error: BaseException | None) -> None:
        with self._lock:
            self._bury()  # first: the id may be that of one that has died
            if error is None:
                self._watch(client, instance)
                client.other_tracers = _driver.other_tracers(instance)
                _driver.hide_listeners(instance, client.given_listeners)
            else:
                client.gone_at = self._clock()
                self._end(client, {})
            client.given_listeners = None
        self._begin_beats()
        self._find_pools(client)
        if client.internal:
            return
        if client.span is not None:
            client.created_in = client.span.get_span_context()
        if self.life is not None:
            self.life.constructed(client, error)
        if self.failures is not None and error is not None:
            self.failures.not_constructed(client, error)

    def _known(self, instance: Any) -> Client | None:
        client = self._live.get(id(instance))
        return client if client is not None and client.ref is not None and client.ref() is instance else None

    def _watch(self, client: Client, instance: Any) -> None:
        client.key = id(instance)
        client.ref = weakref.ref(instance, lambda _ref: self.guard(self._gone, client))
        self._live[client.key] = client
        self._seen[client.server_address, client.kind] = None

    def _closing(self, instance: Any) -> None:
        client = self._known(instance)
        if client is not None:
            self._find_pools(client)

    def _closed(self, instance: Any) -> None:
        client = self._known(instance)
        if client is None:
            return
        with self._lock:
            self._over(client, CLOSED, self._clock())

    def _over(self, client: Client, reason: str, at: float) -> None:
        if not client.over:
            client.over = True
            if client.internal or client.unmonitored:
                return
            if self.life is not None:
                self.life.ended(client, reason)
            if self.ends is not None:
                self.ends.client_ended(client, reason, at)

    def _gone(self, client: Client) -> None:
        client.gone_at = self._clock()
        # What the client had is still there. A synchronous pool closes its sockets when it goes; the monitors', which
        # stay for a moment, are counted by themselves. An asynchronous one leaves a cycle behind for each socket.
        client.left = [left for pool in client.pools for left in _driver.left_open(pool)]
        self._dropped.append(client)

    def _bury(self) -> None:
        """Account for the clients that died since; called with the lock held."""
        while self._dropped:
            client = self._dropped.popleft()
            self._live.pop(client.key, None)
            self._over(client, DROPPED, client.gone_at)
            for pool in client.connections.pools():
                pool.exists = False  # its sockets may be there; nobody can take them
            self._lingering.append(client)
        for client in list(self._lingering):
            self._end(client, Counter(address for address, ref in client.left if ref() is not None))
            # A finaliser that runs here and uses a client may have been faster.
            if client.ended and client in self._lingering:
                self._lingering.remove(client)

    def _end(self, client: Client, left: Mapping[Address, int]) -> None:
        # The driver closes the sockets of a dropped client without an event.
        client.ended = not left
        for pool, connections in client.connections.keep(left):
            self._closed_all(client, pool, connections, DROPPED)

    def _closed_all(
        self, client: Client, pool: PoolState, connections: list[Connection], reason: str
    ) -> None:
        """Account for *connections* that were closed; called with the lock held."""
        if connections and self.pool is not None:
            self.pool.closed(pool.name, reason, len(connections))
        if self.ends is not None:
            for connection in connections:
                self.ends.connection_ended(client, pool, connection, reason)

    def _find_pools(self, client: Client) -> None:
        instance = client.instance()
        if instance is not None:
            with self._lock:
                for pool in _driver.monitor_pools(instance):
                    self._monitors[pool] = client.server_address
                if client.kind == ASYNC:
                    client.pools.update(_driver.pools(instance))

    def _forked(self) -> None:
        # The clients are there in the child too; the driver gives each new pools, and new connection ids from 1.
        self._lock = threading.RLock()
        self._telling = threading.RLock()
        self._notes.clear()
        # Who died in the parent is nothing to tell of here, and whoever would be told has not renewed its lock yet.
        observers = self.life, self.pool, self.ends
        self.life = self.pool = self.ends = None
        self._bury()
        self.life, self.pool, self.ends = observers
        for client in (*self._live.values(), *self._lingering):
            client.inherited = True
            client.connections.inherit()
        # Made anew: another thread that iterated over it in the parent would keep it from ever forgetting a pool.
        self._monitors = weakref.WeakKeyDictionary(dict(self._monitors))

    # What is done where nothing is held

    def later(self, function: Callable[..., None], *args: Any) -> None:
        """Call *function* soon, on the package's thread.

        The driver calls listeners with its pool's lock held, and weak references' callbacks come at any moment:
        there is no telling of a span or of an event then, which may end in an exporter or a handler of the log.
        *function* guards itself.
        """
        if len(self._notes) < _NOTES:
            self._notes.append((function, args))

    def at_each_beat(self, lease: Lease, call: Callable[[], None]) -> None:
        """Call *call* each second for as long as *lease* lasts, on the package's thread, once there is a client."""

        def guarded() -> None:
            lease.guard(call)

        def let_go() -> None:
            self._at_each_beat = tuple(known for known in self._at_each_beat if known is not guarded)

        self._at_each_beat = (*self._at_each_beat, guarded)
        lease.at_end(let_go)

    def _begin_beats(self) -> None:
        with self._lock:
            begun, self._beats = self._beats, True
        if not begun:
            try:
                self._lease.every(BEAT, self._tell)
            except RuntimeError:
                # No thread may be started (any more): the next client tries again, or the end of the interpreter tells.
                self._beats = False

    def _tell(self, seconds: float = threading.TIMEOUT_MAX) -> None:
        # By one thread at a time: the package's own, one that flushes, or the last one.
        until = self._clock() + seconds
        if not self._telling.acquire(timeout=seconds):
            return
        try:
            self.live()
            for call in self._at_each_beat:
                call()
            while self._notes and self._clock() < until:
                function, args = self._notes.popleft()
                function(*args)
        finally:
            self._telling.release()

    def _tell_at_last(self) -> None:
        self._tell(PATIENCE)

    # What is read at a collection

    def live(self) -> list[Client]:
        """The clients that exist, those that were closed included, and those that have left sockets behind."""
        with self._lock:
            self._bury()
            return [*self._live.values(), *self._lingering]

    def _servers_seen(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._seen)

    def _active(self) -> Iterable[Observation]:
        counts = dict.fromkeys(self._servers_seen(), 0)  # a zero that is known: the last one has ended
        for client in self.live():
            if not client.over and not client.internal:
                key = client.server_address, client.kind
                counts[key] = counts.get(key, 0) + 1
        for (server_address, kind), count in counts.items():
            yield Observation(
                count, {semconv.SERVER_ADDRESS: server_address, semconv.MONGODB_CLIENT_TYPE: kind}
            )

    def _sockets(self) -> Iterable[Observation]:
        in_pools: dict[str, int | None] = {server_address: 0 for server_address, _ in self._servers_seen()}
        for client in self.live():
            counted, held = in_pools.get(client.server_address, 0), self._pool_sockets(client)
            in_pools[client.server_address] = None if counted is None or held is None else counted + held
            self._find_pools(client)
        yield from _by_server(
            {server: count for server, count in in_pools.items() if count is not None}, "pool"
        )
        yield from _by_server(self._monitor_sockets(in_pools), "monitor")

    @staticmethod
    def _pool_sockets(client: Client) -> int | None:
        if not client.unmonitored:
            return client.connections.opened()
        instance = None if client.ref is None else client.ref()
        return 0 if instance is None else _driver.pool_sockets(instance)

    def socket_count(self) -> int:
        """All sockets, as far as they are known."""
        return sum(observation.value for observation in self._sockets())  # type: ignore[misc]  # all are int

    def _monitor_sockets(self, servers: Iterable[str]) -> dict[str, int]:
        with self._lock:
            counted = [(server, _driver.sockets(pool)) for pool, server in self._monitors.items()]
        counts: dict[str, int] = {}
        if any(count is None for _, count in counted):
            return counts
        counts = dict.fromkeys(servers, 0)
        for server, count in counted:
            counts[server] = counts.get(server, 0) + (count or 0)
        return counts

    # What the driver calls, through the listener

    def pool_created(self, client: Client, event: monitoring.PoolCreatedEvent) -> None:
        """A pool for one server; also in a child, where the driver makes its pools anew."""
        with self._lock:
            if client.ended:
                return
            pool = client.connections.pool(event.address)
            self._closed_all(client, pool, pool.begin_anew(), _REASONS[POOL_CLOSED])
            options = event.options
            pool.max_size = options.get("maxPoolSize", DEFAULT_MAX_POOL_SIZE) or None
            pool.min_size = options.get("minPoolSize", 0)

    def pool_closed(self, client: Client, event: monitoring.PoolClosedEvent) -> None:
        """The pool is gone."""
        client.connections.pool(event.address).exists = False

    def pool_cleared(self, client: Client, event: monitoring.PoolClearedEvent) -> None:
        """The driver gave up all connections of the pool; their closing follows."""
        if self.failures is not None:
            self.failures.pool_cleared(client, client.connections.pool(event.address))

    def connection_created(self, client: Client, event: monitoring.ConnectionCreatedEvent) -> None:
        """A connection is about to be opened."""
        if client.ended:
            return
        now = self._clock()
        pool = client.connections.pool(event.address)
        opening = None if self.pool is None else self.pool.opening(pool)
        with self._lock:
            known = pool.connections.get(event.connection_id)
            if known is not None:  # it cannot be there any more: another one has its id
                self._closed_all(client, pool, [known], "error")
            pool.connections[event.connection_id] = Connection(now, now, opening)

    def connection_ready(self, client: Client, event: monitoring.ConnectionReadyEvent) -> None:
        """A connection is open and authenticated."""
        pool = client.connections.pool(event.address)
        connection = pool.find(event.connection_id, used=True)
        if connection is None:
            return
        connection.used_since = None
        self._opened(client, pool, connection)
        # The moment to see pools of servers that were discovered after the client was constructed.
        self._find_pools(client)

    def connection_closed(self, client: Client, event: monitoring.ConnectionClosedEvent) -> None:
        """A connection was closed, or could not be opened."""
        pool = client.connections.pool(event.address)
        connection = pool.take(event.connection_id, event.reason)
        if connection is None:
            return
        self._opened(client, pool, connection, failed=True)
        with self._lock:
            self._closed_all(client, pool, [connection], _REASONS.get(event.reason, event.reason))

    def check_out_failed(self, client: Client, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        """No connection was to be had."""
        pool = client.connections.pool(event.address)
        if self.pool is not None and event.reason == TIMEOUT:
            self.pool.timed_out(pool)
        if self.waits is not None:
            self.waits.check_out_failed(pool, event.reason, event.duration or 0.0)

    def checked_out(self, client: Client, event: monitoring.ConnectionCheckedOutEvent) -> None:
        """A connection is in use."""
        pool = client.connections.pool(event.address)
        connection = pool.find(event.connection_id, used=False)
        if connection is None:
            return
        connection.check_out(self._clock())
        if event.duration is not None:
            if self.commands is not None:
                self.commands.checked_out(event.duration)
            if self.pool is not None:
                self.pool.checked_out(pool, event.duration)
            if self.waits is not None:
                self.waits.checked_out(pool, connection, event.duration)

    def checked_in(self, client: Client, event: monitoring.ConnectionCheckedInEvent) -> None:
        """A connection is idle again, or about to be closed."""
        if self.commands is not None:
            self.commands.checked_in()
        pool = client.connections.pool(event.address)
        connection = pool.find(event.connection_id, used=True)
        used = None if connection is None else connection.check_in(self._clock())
        if used is not None and self.pool is not None:
            self.pool.checked_in(pool, used)

    def heartbeat_succeeded(self, client: Client, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        """A server answered."""
        client.heartbeat_errors.pop(event.connection_id, None)
        if self.heartbeats is not None:
            self.heartbeats.answered(client, event)

    def heartbeat_failed(self, client: Client, event: monitoring.ServerHeartbeatFailedEvent) -> None:
        """A server did not answer, or not as it should."""
        error = type(event.reply).__qualname__
        if error == _CANCELLED:
            return
        client.heartbeat_errors[event.connection_id] = error
        if self.heartbeats is not None:
            self.heartbeats.failed(client, event)

    def _opened(
        self, client: Client, pool: PoolState, connection: Connection, *, failed: bool = False
    ) -> None:
        if connection.ready_at is not None:
            return
        now = self._clock()
        opening, connection.opening = connection.opening, None
        if not failed:
            connection.ready_at = now
            client.connections_opened += 1
            if opening is not None:
                connection.created_in = opening.get_span_context()
        if self.pool is not None:
            self.pool.opened(pool, opening, now - connection.opened, failed=failed)


# Not a failure: the driver breaks off a heartbeat when the client is closed, or when a command has failed already.
_CANCELLED = "_OperationCancelled"

TIMEOUT = "timeout"
"""The driver's reason for a check-out that failed because the wait for a connection ran out."""

CONNECTION_ERROR = "connectionError"
"""The driver's reason for a check-out that failed because no connection could be opened."""

# The driver's reasons are in camel case, values of attributes in snake case.
_REASONS = {POOL_CLOSED: "pool_closed"}


def _by_server(counts: dict[str, int], kind: str) -> Iterable[Observation]:
    for server_address, count in counts.items():
        yield Observation(
            count, {semconv.SERVER_ADDRESS: server_address, semconv.MONGODB_CLIENT_SOCKET_TYPE: kind}
        )


# A host name, an address, or the path of a Unix socket; the port is left out.
_SEED = re.compile(r"(?P<socket>/.+)|\[(?P<v6>[^\]@]+)\](:\d*)?|(?P<host>[^:@/?&=\s]+)(:\d*)?", re.DOTALL)


def _first_host(host: Any, default: str) -> str:
    """The first seed's host name, or path of a Unix socket: never what stands around it in a URI, like a password.

    What is none of them is a mistake that the driver will tell of: then it is *default*.
    """
    first = host[0] if isinstance(host, (list, tuple)) and host else host
    if not isinstance(first, str):
        return default
    scheme, separator, rest = first.partition("://")
    if separator:
        # The options come off first: an "@" in them is no end of the user's name and password.
        hosts, _, path = rest.partition("?")[0].partition("/")
        seed = default if "@" in path else unquote(hosts.rpartition("@")[2].partition(",")[0])
    else:
        seed = scheme.partition(",")[0]
    found = _SEED.fullmatch(seed)
    return default if found is None else found["socket"] or found["v6"] or found["host"]


def _is_driver(frame: FrameType | None) -> bool:
    """Whether the driver itself constructs a client: the first frame outside of us is one of its own."""
    while frame is not None and _package(frame) in {"otel_resinstr", "wrapt"}:
        frame = frame.f_back
    return _package(frame) == "pymongo"


def _package(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__")).partition(".")[0]
