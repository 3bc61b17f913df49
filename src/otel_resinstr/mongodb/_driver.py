# SPDX-License-Identifier: Apache-2.0
"""What the driver's events leave out; the only module that reads private attributes of its.

A function says None where an attribute is not there (any more), and then the point is absent. Read in pymongo
4.11 to 4.20.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def existing(kind: Any) -> list[Any]:
    """The clients of the class *kind* that were not closed; none where the system cannot fork.

    The driver lists them, weakly, to renew them in a forked child.
    """
    clients = list(getattr(kind, "_clients", {}).values())
    return [client for client in clients if not getattr(client, "_closed", False)]


def seed(client: Any) -> str | None:
    """The host name, or path of a Unix socket, of the first of *client*'s seeds in the order of the alphabet."""
    seeds = getattr(getattr(client, "_topology_settings", None), "seeds", ())
    return min((host for host, _ in seeds), default=None)


def monitor_pools(client: Any) -> list[Any]:
    """The pools from which *client*'s monitors take their sockets.

    Monitors check servers over sockets of their own, of which the driver's events say nothing
    (https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md).
    """
    return list(_monitor_pools(client))


def _monitor_pools(client: Any) -> Iterator[Any]:
    for server in _servers(client):
        monitor = getattr(server, "_monitor", None)
        for owner in (monitor, getattr(monitor, "_rtt_monitor", None)):
            pool = getattr(owner, "_pool", None)
            if pool is not None:
                yield pool


def pools(client: Any) -> list[Any]:
    """The pools from which *client*'s commands take their connections."""
    found = (getattr(server, "_pool", None) for server in _servers(client))
    return [pool for pool in found if pool is not None]


def left_open(pool: Any) -> list[tuple[tuple[str, int | None], weakref.ref[Any]]]:
    """What keeps the sockets of *pool*'s idle connections open once nobody has the pool: with the server's address.

    An asyncio transport and its protocol refer to each other, so that it is the garbage collector that closes the
    socket, in its own time.
    """
    try:
        holders = [connection.conn for connection in list(pool.conns)]
        return [(pool.address, weakref.ref(getattr(holder, "get_conn", holder))) for holder in holders]
    except (AttributeError, TypeError):
        return []


def sockets(pool: Any) -> int | None:
    """How many sockets *pool* has open: idle and checked out, but for those that are only being connected."""
    try:
        count: int = len(pool.conns) + pool.active_sockets - pool._pending  # noqa: SLF001  see the module
    except AttributeError:
        return None
    return max(0, count)


def pool_sockets(client: Any) -> int | None:
    """How many sockets *client* has open in its pools."""
    counts = [sockets(getattr(server, "_pool", None)) for server in _servers(client)]
    return None if None in counts else sum(count or 0 for count in counts)


def pending(client: Any) -> dict[tuple[str, int | None], int] | None:
    """How many requests wait for a connection or for the permission to open one, by the server's address.

    The driver's events do not tell: a request that is cancelled while it waits ends without an event. Nor do its
    own counts: before 4.20 they miss a cancelled one too. Who waits at its conditions does.
    """
    waiting = {}
    try:
        for server in _servers(client):
            pool = server._pool  # noqa: SLF001  see the module
            conditions = (pool.size_cond, pool._max_connecting_cond)  # noqa: SLF001  see the module
            waiting[pool.address] = sum(len(condition._waiters) for condition in conditions)  # noqa: SLF001
    except AttributeError:
        return None
    return waiting


def hide_listeners(client: Any, shown: Any) -> None:
    """Say in *client*'s `repr` what the application gave it as its listeners: *shown*, or none at all."""
    options = getattr(getattr(client, "options", None), "_options", None)
    if isinstance(options, MutableMapping):
        if shown is None:
            options.pop("event_listeners", None)
        else:
            options["event_listeners"] = shown


_KINDS_OF_LISTENERS = (
    ("command", "commands"),
    ("server_heartbeat", "server_heartbeat"),
    ("cmap", "cmap"),
)


def remove_listeners(client: Any, ours: type) -> None:
    """Take the listeners that are *ours* away from *client*; where they cannot be, they stay, and do nothing."""
    listeners = getattr(client, "_event_listeners", None)
    for kind, enabled in _KINDS_OF_LISTENERS:
        name = f"_EventListeners__{kind}_listeners"
        found = getattr(listeners, name, None)
        if isinstance(found, list):
            # A new list: a thread may be going through this one.
            left = [listener for listener in found if not isinstance(listener, ours)]
            setattr(listeners, name, left)
            setattr(listeners, f"_EventListeners__enabled_for_{enabled}", bool(left))


def other_tracers(client: Any) -> tuple[Callable[[], bool], ...]:
    """What else makes a span for each of *client*'s commands: for each, whether it does at the moment.

    The driver can do it by itself from a version after 4.20 on, decided when a client is constructed. Contrib's
    listener belongs to the clients that were constructed after its instrumentation, and can be switched off and on.
    """
    options = getattr(client, "options", None)
    tracing = getattr(options, "tracing", None)
    if isinstance(tracing, Mapping) and tracing.get("enabled"):
        return (lambda: True,)
    listeners = getattr(options, "event_listeners", ())
    return tuple(partial(_is_enabled, listener) for listener in listeners if _is_contribs(listener))


def _is_contribs(listener: Any) -> bool:
    return any(
        kind.__name__ == "CommandTracer" and kind.__module__ == "opentelemetry.instrumentation.pymongo"
        for kind in type(listener).__mro__
    )


def _is_enabled(tracer: Any) -> bool:
    return bool(getattr(tracer, "is_enabled", True))


def owns(client: Any, topology: Any) -> bool:
    """Whether *topology* is that of *client*."""
    return getattr(client, "_topology", None) is topology


def handled_error() -> BaseException | None:
    """The error that the driver is handling; most of its events are made while it does, and do not name it.

    An application may be handling one of its own while it uses the driver: what counts is who has caught it.
    """
    _, error, caught = sys.exc_info()
    if caught is None or not str(caught.tb_frame.f_globals.get("__name__")).startswith("pymongo."):
        return None
    return error


def _servers(client: Any) -> list[Any]:
    # list() of a dict's values is one step for the interpreter: a monitor may add a server meanwhile.
    return list(getattr(getattr(client, "_topology", None), "_servers", {}).values())
