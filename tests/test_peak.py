# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_resinstr._peak import Peak


def test_the_largest_of_the_window():
    """What is older than the window, and a twelfth of it, is forgotten; reading forgets nothing."""
    peak = Peak(12.0)
    for at, value in ((100.0, 3.0), (100.5, 9.0), (100.9, 5.0), (105.0, 4.0)):
        peak.add(value, at)

    assert [9.0, 9.0, 9.0, 4.0, 4.0, None] == [
        peak.read(now) for now in (105.0, 105.0, 112.9, 113.0, 117.9, 118.0)
    ]


def test_the_smallest_of_the_window():
    """The same the other way round."""
    peak = Peak(12.0, lowest=True)
    for at, value in ((100.0, 3.0), (100.5, 1.0), (100.9, 2.0)):
        peak.add(value, at)

    assert 1.0 == peak.read(101.0)


def test_without_a_value_there_is_none():
    """Nothing was added, or all of it was forgotten."""
    peak = Peak(12.0)
    empty = peak.read(5.0)
    peak.add(1.0, 5.0)
    peak.clear()

    assert (None, None) == (empty, peak.read(5.0))


@pytest.mark.parametrize("lowest", [False, True])
@given(
    values=st.lists(
        st.tuples(st.floats(0, 3, allow_subnormal=False), st.floats(-1e9, 1e9)), min_size=1, max_size=80
    )
)
def test_it_is_what_a_list_of_all_values_says(lowest, values):
    """Nothing of the last window is missed, and nothing older than a slice more is kept."""
    peak, now, added = Peak(12.0, lowest=lowest), 50.0, []
    best = min if lowest else max
    for passed, value in values:
        now += passed
        peak.add(value, now)
        added.append((now, value))
        found = peak.read(now)
        surely = [each for at, each in added if now - at <= 12.0]
        perhaps = [each for at, each in added if now - at <= 13.0 + 1e-9]
        assert found in perhaps
        assert found == best(found, best(surely))


def test_adding_makes_nothing_for_the_garbage_collector():
    """So it can be called from within a collection, thousands of times a second."""
    peak = Peak(12.0)
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        for number in range(10_000):
            peak.add(number / 7, number / 3)
        grown = gc.get_count()[0] - before
    finally:
        gc.enable()

    assert grown < 100
