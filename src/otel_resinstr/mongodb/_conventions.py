# SPDX-License-Identifier: Apache-2.0
"""What OpenTelemetry's conventions for MongoDB make of a command: its names and attributes, the new and the old.

https://opentelemetry.io/docs/specs/semconv/database/mongodb/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_resinstr import _azure, semconv
from otel_resinstr._bounded import OTHER, Bounded

if TYPE_CHECKING:
    Address = tuple[str, int | None]
    Attributes = dict[str, str | int | float]

# The commands whose value is a collection's name. Of others it is a user's name, a parameter's or `*`: not listed,
# not reported. https://www.mongodb.com/docs/manual/reference/command/
_ON_A_COLLECTION = """
    aggregate cloneCollectionAsCapped collMod collStats compact convertToCapped count create createIndexes
    createSearchIndexes delete distinct drop dropIndexes dropSearchIndex find findAndModify findandmodify insert
    killCursors listIndexes listSearchIndexes mapReduce mapreduce planCacheClear planCacheClearFilters
    planCacheListFilters planCacheSetFilter reIndex update updateSearchIndex validate
""".split()  # noqa: SIM905  a line for each of them is no easier to read

_COLLECTION_AT = {**{name: name for name in _ON_A_COLLECTION}, "getMore": "collection"}
"""Under which key a command names its collection."""

_BATCH_AT = {"insert": "documents", "update": "updates", "delete": "deletes", "bulkWrite": "ops"}
"""Under which key a command has the list of what it does at once."""

_SERIES = 1000  # as many combinations of server, database, command and collection are told apart
_NAMES = 100  # as many servers, and as many commands, beyond these

_OLD_AZURE = re.compile(r"1\.0\.0b(\d+)")
_AZURE_READS_NEW_NAMES = 58  # the first beta that does


def collection_of(name: str, command: Mapping[str, Any]) -> str | None:
    """The collection that the command *name* is about; None where it is about none.

    Costs the same for a document of any size: two keys are looked up.
    """
    key = _COLLECTION_AT.get(name)
    if key is None:
        return _explained(command) if name == "explain" else None
    value = command.get(key)
    # A cursor over no collection has a name that begins so, and an aggregation over a whole database has 1.
    return value if isinstance(value, str) and value and not value.startswith("$cmd") else None


def _explained(command: Mapping[str, Any]) -> str | None:
    inner = command.get("explain")
    if not isinstance(inner, Mapping) or not inner:
        return None
    name = next(iter(inner))
    return collection_of(name, inner) if name != "explain" else None


def named_at(name: str) -> str | None:
    """Under which key the command *name* has the name of its collection."""
    return _COLLECTION_AT.get(name)


@dataclass(frozen=True)
class Operation:
    """What all commands of one name on one collection of one server have in common. Its dicts are not changed."""

    span_name: str
    span: Attributes
    metric: Attributes
    batch_at: str | None

    def batch_size(self, command: Mapping[str, Any]) -> int:
        """How many operations *command* holds; 1 is no batch."""
        batch = None if self.batch_at is None else command.get(self.batch_at)
        return len(batch) if isinstance(batch, list) else 1


@dataclass
class Operations:
    """Makes each `Operation` once: commands come by the thousand, their kinds do not."""

    old_names: bool = False
    _made: dict[tuple[Address, str, str, str | None], Operation] = field(default_factory=dict)
    _servers: Bounded = field(default_factory=lambda: Bounded(_NAMES))
    _names: Bounded = field(default_factory=lambda: Bounded(_NAMES))

    def of(self, address: Address, database: str, name: str, collection: str | None) -> Operation:
        """The operation of a command that is sent to *address*."""
        key = (address, database, name, collection)
        made = self._made.get(key)
        if made is None:
            made = self._make(address, database, name, collection)
            if len(self._made) < _SERIES:
                self._made[key] = made
        return made

    def _make(self, address: Address, database: str, name: str, collection: str | None) -> Operation:
        span = _names_of(address, database, name, collection)
        metric = span
        if len(self._made) >= _SERIES:
            # A database for each tenant, or a collection for each day: the first ones keep their series.
            host = self._servers(address[0])
            metric = _names_of(
                (host, None) if host == OTHER else address,
                OTHER,
                self._names(name),
                None if collection is None else OTHER,
            )
        span = {**span, **_peer(address)}
        if self.old_names:
            span.update(_old_names_of(address, database, name, collection))
        target = collection or database
        return Operation(f"{name} {target}" if target else name, span, metric, _BATCH_AT.get(name))


def _names_of(address: Address, database: str, name: str, collection: str | None) -> Attributes:
    host, port = address
    return _known(
        {
            semconv.DB_SYSTEM_NAME: "mongodb",
            semconv.DB_OPERATION_NAME: name,
            semconv.DB_NAMESPACE: database or None,
            semconv.DB_COLLECTION_NAME: collection,
            semconv.SERVER_ADDRESS: host,
            semconv.SERVER_PORT: port,
        }
    )


def _old_names_of(address: Address, database: str, name: str, collection: str | None) -> Attributes:
    host, port = address
    return _known(
        {
            semconv.DB_SYSTEM: "mongodb",
            semconv.DB_NAME: database or None,
            semconv.DB_OPERATION: name,
            semconv.DB_MONGODB_COLLECTION: collection,
            semconv.NET_PEER_NAME: host,
            semconv.NET_PEER_PORT: port,
        }
    )


def _peer(address: Address) -> Attributes:
    """Who is at the other end, where the address says it: nothing is looked up."""
    host, port = address
    if port is None:
        return {semconv.NETWORK_PEER_ADDRESS: host, semconv.NETWORK_TRANSPORT: "unix"}
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return {}
    return {semconv.NETWORK_PEER_ADDRESS: host, semconv.NETWORK_PEER_PORT: port}


def _known(attributes: Mapping[str, str | int | None]) -> Attributes:
    return {key: value for key, value in attributes.items() if value is not None}


def azure_reads_old_names() -> bool:
    """Whether Azure's exporter is installed in a version that knows none of the new names."""
    beta = _OLD_AZURE.match(_azure.exporter_version() or "")
    return beta is not None and int(beta[1]) < _AZURE_READS_NEW_NAMES
