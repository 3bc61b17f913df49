# SPDX-License-Identifier: Apache-2.0
"""TCP connections by their remote end, and how many of Azure's outbound ports they take. Off unless asked for."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import time
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from opentelemetry.metrics import Observation

from otel_resinstr._bounded import Bounded
from otel_resinstr._kernel import read
from otel_resinstr.semconv import (
    NETWORK_CONNECTION_STATE,
    RESINSTR_CONNECTION_REMOTE,
    RESINSTR_CONNECTION_REMOTE_PORT,
    RESINSTR_PROCESS_CONNECTION_COUNT,
    RESINSTR_SNAT_PORT_AGE,
    RESINSTR_SNAT_PORT_LIMIT,
    RESINSTR_SNAT_PORT_USAGE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from otel_resinstr._probe import Lease

_PERIOD = 10.0  # seconds: a closed connection is seen for a minute
# How long Azure keeps a port after its connection has ended, and what it hands out to an instance beforehand:
# https://learn.microsoft.com/azure/app-service/troubleshoot-intermittent-outbound-connection-errors
_HELD = 240.0
_REMOTES = 32
_REMEMBERED = 4096  # connections: many times the ports that there are
_LARGEST = (
    8 << 20
)  # bytes of a table, 50,000 lines: many times the connections of which the budget tells anything
_ADDRESSES = 4096

_LISTENING = "listen"
_WINDING_UP = "time_wait"
_INBOUND = "inbound"

# https://github.com/torvalds/linux/blob/master/include/net/tcp_states.h, in the words of the conventions
_STATES = {
    b"01": "established",
    b"02": "syn_sent",
    b"03": "syn_received",
    b"04": "fin_wait_1",
    b"05": "fin_wait_2",
    b"06": _WINDING_UP,
    b"07": "closed",
    b"08": "close_wait",
    b"09": "last_ack",
    b"0A": _LISTENING,
    b"0B": "closing",
    b"0C": "syn_received",
}
_STATES_OF_PSUTIL = {
    psutil.CONN_ESTABLISHED: "established",
    psutil.CONN_SYN_SENT: "syn_sent",
    psutil.CONN_SYN_RECV: "syn_received",
    psutil.CONN_FIN_WAIT1: "fin_wait_1",
    psutil.CONN_FIN_WAIT2: "fin_wait_2",
    psutil.CONN_TIME_WAIT: _WINDING_UP,
    psutil.CONN_CLOSE: "closed",
    psutil.CONN_CLOSE_WAIT: "close_wait",
    psutil.CONN_LAST_ACK: "last_ack",
    psutil.CONN_LISTEN: _LISTENING,
    psutil.CONN_CLOSING: "closing",
}
_FIELDS = 10  # up to the inode, after which come more


class Connection(NamedTuple):
    """A TCP connection, or a socket that waits for some. *own*: it belongs to this process, and not to nobody."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: str
    own: bool


class Sockets:
    """This process's TCP connections by remote port and state; the outbound ports that connections take.

    Connections that came to a port on which something listens are ``inbound``, whatever port they came from. The first
    32 remote ports have their own series, as have the first 32 remote ends.

    A connection to a public address takes one of the ports of source network address translation (SNAT) for as long
    as it lives and 240 s beyond. Azure gives each instance 128 for one remote end; with none left, connections fail.
    ``new`` are those of connections that were opened within 240 s, ``kept`` those of older ones. Connections that are
    winding up belong to no process any more, so that those of all processes of the container are counted: they share
    the ports. What opens and ends between two looks, ten seconds apart, and is closed by the other side, is missed.

    Cost: a microsecond for each descriptor, one for each connection of the container's other processes and five for
    each that is counted here, every ten seconds and when it is collected; other threads run meanwhile. Where there are
    more than some 50,000 there are no points. On other systems than Linux psutil's ``net_connections`` of this process,
    without what is winding up.
    """

    name = "process.sockets"

    def __init__(
        self,
        ports: int,
        root: str | os.PathLike[str] = "/",
        process: Callable[[], Any] = psutil.Process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Compare with a budget of so many *ports*; read ``proc`` below *root*, or else ask *process*."""
        self._ports = ports
        self._proc = f"{os.fspath(root).rstrip('/')}/proc/self"
        self._process = process
        self._clock = clock
        self._forget()

    def _forget(self) -> None:
        self._remote_ports = Bounded(_REMOTES)
        self._remotes = Bounded(_REMOTES)
        self._counted: frozenset[tuple[str, str]] = frozenset()
        self._used: frozenset[tuple[str, str]] = frozenset()
        # What `_count` has read a moment ago, for `_usage`, which is collected with it.
        self._just_read: tuple[float, list[Connection]] | None = None
        # First and last seen; replaced, never changed in place: readers and the beat need no lock.
        self._seen: dict[tuple[tuple[str, int], tuple[str, int]], tuple[float, float]] = {}

    def start(self, lease: Lease) -> None:
        """Look every ten seconds, and observe the three metrics; a forked child begins anew."""
        lease.after_fork(self._forget)
        lease.every(_PERIOD, self._look)
        lease.observe(RESINSTR_PROCESS_CONNECTION_COUNT, self._count)
        lease.observe(RESINSTR_SNAT_PORT_USAGE, self._usage)
        lease.observe(RESINSTR_SNAT_PORT_LIMIT, lambda: self._ports)

    def _count(self) -> Iterable[Observation] | None:
        connections = self._connections()
        if connections is None:
            return None
        self._just_read = (self._clock(), connections)
        listening = {each.local[1] for each in connections if each.state == _LISTENING}
        counts: Counter[tuple[str, str]] = Counter()
        for each in connections:
            if each.own and each.state != _LISTENING:
                inbound = each.local[1] in listening
                port = _INBOUND if inbound else self._remote_ports(str(each.remote[1]))
                counts[port, each.state] += 1
        self._counted |= counts.keys()
        return [
            Observation(
                counts[key], {RESINSTR_CONNECTION_REMOTE_PORT: key[0], NETWORK_CONNECTION_STATE: key[1]}
            )
            for key in sorted(self._counted)
        ]

    def _look(self) -> None:
        """Take note of the connections that there are."""
        self._note(self._connections() or [])

    def _note(self, connections: list[Connection]) -> None:
        now = self._clock()
        seen = {ends: (first, last) for ends, (first, last) in self._seen.items() if now - last <= _HELD}
        listening = {each.local[1] for each in connections if each.state == _LISTENING}
        for each in connections:
            if (each.own or each.state == _WINDING_UP) and each.local[1] not in listening:
                ends = (each.local, each.remote)
                if ends in seen or (len(seen) < _REMEMBERED and _is_public(each.remote[0])):
                    seen[ends] = (seen.get(ends, (now, now))[0], now)
        self._seen = seen

    def _usage(self) -> Iterable[Observation] | None:
        just_read, self._just_read = self._just_read, None
        now = self._clock()
        fresh = just_read is not None and now - just_read[0] < _PERIOD
        connections = just_read[1] if just_read is not None and fresh else self._connections()
        if connections is None:
            return None
        self._note(connections)
        counts: Counter[tuple[str, str]] = Counter()
        for (_, (address, port)), (first, _last) in self._seen.items():
            end = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            counts[self._remotes(end), "new" if now - first <= _HELD else "kept"] += 1
        self._used |= counts.keys()
        return [
            Observation(counts[key], {RESINSTR_CONNECTION_REMOTE: key[0], RESINSTR_SNAT_PORT_AGE: key[1]})
            for key in sorted(self._used)
        ]

    def _connections(self) -> list[Connection] | None:
        try:
            own = self._own_inodes()
            tables = [read(f"{self._proc}/net/tcp")]
        except OSError:
            return self._ask()
        with contextlib.suppress(OSError):  # a kernel without IPv6
            tables.append(read(f"{self._proc}/net/tcp6"))
        if max(map(len, tables)) > _LARGEST:
            return None
        return [connection for table in tables for connection in _parsed(table, own)]

    def _own_inodes(self) -> set[bytes]:
        folder = os.fsencode(f"{self._proc}/fd")
        inodes = set()
        for descriptor in os.listdir(folder):  # noqa: PTH208  thousands, perhaps
            try:
                target = os.readlink(folder + b"/" + descriptor)  # noqa: PTH115  as above
            except OSError:
                continue  # it was closed a moment ago
            if target.startswith(b"socket:["):
                inodes.add(target[8:-1])
        return inodes

    def _ask(self) -> list[Connection] | None:
        if os.path.exists(self._proc):  # noqa: PTH110  never raises
            return None  # it is Linux: psutil would read the same files
        try:
            process = self._process()
            # Before psutil 6 it had another name.
            ask = getattr(process, "net_connections", None) or process.connections
            return [
                Connection(
                    _ends(told.laddr),
                    _ends(told.raddr),
                    _STATES_OF_PSUTIL.get(told.status, "closed"),
                    own=True,
                )
                for told in ask("tcp")
            ]
        except (AttributeError, NotImplementedError, OSError, RuntimeError, psutil.Error):
            return None


def _ends(told: Any) -> tuple[str, int]:
    return (str(told[0]), int(told[1])) if told else ("", 0)


def _parsed(table: bytes, own: set[bytes]) -> Iterator[Connection]:
    """The lines of ``/proc/net/tcp`` that are understood, but for other processes' connections.

    https://docs.kernel.org/networking/proc_net_tcp.html
    """
    for line in table.split(b"\n"):
        fields = line.split(None, _FIELDS)
        if len(fields) < _FIELDS or fields[3] not in _STATES:
            continue
        state, ours = _STATES[fields[3]], fields[9] in own
        if ours or state in (_LISTENING, _WINDING_UP):
            try:
                connection = Connection(_end(fields[1]), _end(fields[2]), state, ours)
            except (ValueError, struct.error):  # nonsense
                continue
            yield connection


def _end(text: bytes) -> tuple[str, int]:
    address, _, port = text.partition(b":")
    return _address(address), int(port, 16)


@lru_cache(_ADDRESSES)
def _address(text: bytes) -> str:
    # Words of 32 bits, each in the byte order of the machine.
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(words) == 1:
        return socket.inet_ntop(socket.AF_INET, packed)
    return socket.inet_ntop(socket.AF_INET6, packed).removeprefix("::ffff:")


@lru_cache(_ADDRESSES)
def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
