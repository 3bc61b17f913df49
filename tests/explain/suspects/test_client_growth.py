# SPDX-License-Identifier: Apache-2.0
"""Clients that are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_resinstr.explain.figures import Figures
from otel_resinstr.explain.suspects import Finding, Unknown
from otel_resinstr.explain.suspects.client_growth import NAME, judge

REMEDY = (
    "Construct one client when the process starts and share it; close whatever client is not needed any more."
)
KEPT = Figures(
    seconds=8.0,
    clients_created=59,
    clients_peak=59,
    clients_halfway=35,
    client_site="app.py:51 kept",
    driver_threads_peak=171,
    driver_threads_per_client=3.0,
    sockets_peak=171,
    sockets_per_client=3.0,
    memory_first=50 * 2**20,
    memory_peak=56 * 2**20,
    descriptors_first=20,
    descriptors_peak=180,
    descriptors_limit=1024,
)


def test_clients_that_pile_up_are_growth():
    """The sentence has what they hold, and when the descriptors run out: 844 left, at 20 a second."""
    assert Finding(
        NAME,
        "the clients that app.py:51 kept constructs stay open: 59 of the 59 that were made, with up to 171 threads "
        "(3 a client), 171 sockets (3 a client) and 6.0 MiB more memory than at the start; at this rate the limit "
        "of 1,024 descriptors is reached in 42 s.",
        REMEDY,
        "app.py:51 kept",
    ) == judge(KEPT, None)


def test_what_is_not_known_is_not_in_the_sentence():
    """Neither a line nor what they hold is made up."""
    found = judge(Figures(clients_peak=10, clients_halfway=9), None)

    assert "the clients that the application constructs stay open: 10." == found.sentence
    assert None is found.site


def test_a_share_that_is_not_known_is_left_out():
    """How many there are is known even where how many each client has is not."""
    found = judge(replace(KEPT, driver_threads_per_client=None, sockets_peak=None, memory_peak=None), None)

    assert "with up to 171 threads; at" in found.sentence


@pytest.mark.parametrize(
    "change",
    [
        {"descriptors_first": None},
        {"descriptors_peak": None},
        {"descriptors_limit": None},
        {"descriptors_peak": 20},
        {"seconds": None},
        {"seconds": 0.0},
    ],
)
def test_no_forecast_without_its_figures(change):
    """Where one of them is missing, or nothing has grown, no time is named."""
    assert judge(replace(KEPT, **change), None).sentence.endswith("than at the start.")


@pytest.mark.parametrize("change", [{"clients_peak": 9, "clients_halfway": 1}, {"clients_halfway": 59}])
def test_few_clients_or_a_level_number_are_no_growth(change):
    """Nine clients may be nine clusters; sixty that were there at half time and are there now are somebody's choice."""
    assert None is judge(replace(KEPT, **change), None)


@pytest.mark.parametrize("field", ["clients_peak", "clients_halfway"])
def test_without_its_figures_it_is_not_known(field):
    """What did not arrive excludes nobody."""
    assert Unknown(NAME, ("mongodb.client.active_instance.count",)) == judge(
        replace(KEPT, **{field: None}), None
    )
