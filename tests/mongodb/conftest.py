# SPDX-License-Identifier: Apache-2.0
"""One server for all tests of the subject, and its probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from mongo import Server
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_resinstr._probe import Running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A MongoDB server."""
    server = Server()
    yield server
    server.stop()


class Probes(NamedTuple):
    """The subject's probes, running."""

    clients: Clients
    pool: Pool
    ledger: Ledger
    running: Running


@pytest.fixture
def probes(start: Callable[..., Running]) -> Probes:
    """The subject's probes, started."""
    clients = Clients()
    pool, ledger = Pool(clients), Ledger(clients, churn_count=10, churn_window=60.0)
    return Probes(clients, pool, ledger, start(clients, pool, ledger))
