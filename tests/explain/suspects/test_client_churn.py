# SPDX-License-Identifier: Apache-2.0
"""A client for each call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_resinstr.explain.figures import Figures
from otel_resinstr.explain.suspects import Finding, Unknown
from otel_resinstr.explain.suspects.client_churn import NAME, judge

REMEDY = (
    "Construct one client when the process starts, keep it, and share it: it is a pool, and safe in threads."
)
CLOSED = Figures(
    seconds=8.0,
    clients_created=60,
    clients_closed=60,
    clients_dropped=0,
    client_site="app.py:41 closed",
    driver_threads_peak=12,
    sockets_peak=5,
    cpu_per_second=0.0565,
)
HEALTHY = Figures(cpu_per_second=0.019)


def test_clients_that_are_closed_are_churn():
    """The sentence holds all figures that it rests on, the price of a client among them: (56.5 - 19) ms / 7.5."""
    assert Finding(
        NAME,
        "app.py:41 closed constructs client after client: 60 (7.5 a second), 60 closed; they do not pile up "
        "(at most 12 driver threads and 5 sockets at a time), so only the rate gives it away; each costs 5.0 ms "
        "of CPU more than sharing one.",
        REMEDY,
        "app.py:41 closed",
    ) == judge(CLOSED, HEALTHY)


def test_clients_that_are_dropped_are_churn_too():
    """What the driver does for them, and how late, is said; and without the right way to compare, no price."""
    dropped = replace(CLOSED, clients_closed=2, clients_dropped=58)

    assert (
        "app.py:41 closed constructs client after client: 60 (7.5 a second), 2 closed and 58 dropped without close(); "
        "the driver ends their threads and sockets about half a second later, so these follow the rate (at most 12 "
        "driver threads and 5 sockets at a time)."
    ) == judge(dropped, None).sentence


def test_what_is_not_known_is_not_in_the_sentence():
    """Neither a line, nor threads, sockets or CPU are made up."""
    bare = Figures(seconds=10.0, clients_created=20, clients_closed=20, clients_dropped=0)

    found = judge(bare, HEALTHY)

    assert (
        "the application constructs client after client: 20 (2.0 a second), 20 closed; they do not pile up, so only "
        "the rate gives it away."
    ) == found.sentence
    assert None is found.site


@pytest.mark.parametrize("healthy", [Figures(), Figures(cpu_per_second=0.0565), Figures(cpu_per_second=0.1)])
def test_no_price_is_better_than_a_wrong_one(healthy):
    """Where the right way was not measured, or was no cheaper, no price is named."""
    assert "costs" not in judge(CLOSED, healthy).sentence


@pytest.mark.parametrize(
    "change",
    [
        {"clients_created": 9, "clients_closed": 9},
        {"seconds": 361.0},
        {"clients_closed": 29},
    ],
    ids=["few clients", "fewer than ten a minute", "most are still there"],
)
def test_what_is_below_a_threshold_is_no_churn(change):
    """Each of the three thresholds excludes it alone; on the threshold it is churn."""
    on_it = {"clients_created": 10, "clients_closed": 10} if "clients_created" in change else {}
    on_it = on_it or ({"seconds": 360.0} if "seconds" in change else {"clients_closed": 30})

    assert None is judge(replace(CLOSED, **change), None)
    assert isinstance(judge(replace(CLOSED, **on_it), None), Finding)


@pytest.mark.parametrize("field", ["clients_created", "clients_closed", "clients_dropped", "seconds"])
def test_without_its_figures_it_is_not_known(field):
    """What did not arrive excludes nobody."""
    assert Unknown(NAME, ("mongodb.client.created",)) == judge(replace(CLOSED, **{field: None}), HEALTHY)
