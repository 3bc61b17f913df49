# SPDX-License-Identifier: Apache-2.0
"""The probes of the subject; without pymongo there is nothing to test here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import pytest

from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Running

if find_spec("pymongo") is None:
    collect_ignore_glob = ["test_*.py"]


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
