# SPDX-License-Identifier: Apache-2.0
"""The values of a metric's attribute stay few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_resinstr._bounded import OTHER, Bounded


def test_the_first_values_keep_their_own_series_and_later_ones_share_one():
    """The first, not the busiest: a counter must not move from one series to another."""
    bounded = Bounded(2)

    assert ["a", "b", OTHER, "a", OTHER, "b"] == [bounded(value) for value in ("a", "b", "c", "a", "d", "b")]


@given(st.lists(st.text()), st.integers(0, 5))
def test_there_are_never_more_than_the_limit_and_the_other(values, limit):
    """And what a value is called once, it is called always."""
    bounded = Bounded(limit)
    first = {}
    for value in values:
        assert bounded(value) == first.setdefault(value, bounded(value))

    assert len({*first.values()} - {OTHER}) <= limit
