# SPDX-License-Identifier: Apache-2.0
"""The attributes that spans and events have in common: which client, which pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr import semconv
from otel_resinstr._bounded import OTHER

if TYPE_CHECKING:
    from otel_resinstr._site import Site
    from otel_resinstr.mongodb._connections import Address, PoolState
    from otel_resinstr.mongodb.clients import Client


def of_client(client: Client) -> dict[str, str | int]:
    """The client's first seed, its kind, and the line of the application that constructed it."""
    return {
        semconv.DB_SYSTEM_NAME: "mongodb",
        semconv.SERVER_ADDRESS: client.server_address,
        semconv.MONGODB_CLIENT_TYPE: client.kind,
        **of_site(client.site),
    }


def of_site(site: Site | None) -> dict[str, str | int]:
    """The line of the application; `_other` for none."""
    if site is None:
        return {semconv.MONGODB_CLIENT_SITE: OTHER}
    return {
        semconv.MONGODB_CLIENT_SITE: site.label,
        semconv.CODE_FILE_PATH: site.path,
        semconv.CODE_LINE_NUMBER: site.line,
        semconv.CODE_FUNCTION_NAME: site.function,
    }


def label_of(site: Site | None) -> str:
    """The line in short."""
    return OTHER if site is None else site.label


def of_pool(pool: PoolState) -> dict[str, str | int]:
    """The pool's name and its server."""
    return {
        semconv.DB_SYSTEM_NAME: "mongodb",
        semconv.DB_CLIENT_CONNECTION_POOL_NAME: pool.name,
        **of_server(pool.address),
    }


def of_server(address: Address) -> dict[str, str | int]:
    """The server's host and port; a Unix socket has a path and no port."""
    host, port = address
    return (
        {semconv.SERVER_ADDRESS: host}
        if port is None
        else {semconv.SERVER_ADDRESS: host, semconv.SERVER_PORT: port}
    )
