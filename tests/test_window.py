# SPDX-License-Identifier: Apache-2.0
"""Percentiles over the last seconds."""

from __future__ import annotations

import random

import pytest

from otel_resinstr._window import Window


def test_an_empty_window_knows_nothing():
    """Unknown is None, not zero."""
    assert Window(60.0).quantile(0.5, 0.0) is None


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_percentile_is_right_to_three_percent(quantile):
    """Whatever the size of the values is."""
    values = [random.Random(number).lognormvariate(-5, 3) for number in range(1000)]
    window = Window(60.0)
    for value in values:
        window.add(value, 1.0)

    exact = sorted(values)[round(quantile * 1000) - 1]
    assert window.quantile(quantile, 1.0) == pytest.approx(exact, rel=0.03)


def test_the_largest_value_is_exact():
    """An outage of 40 s is not reported as one of 39.2 s, and no percentile exceeds it."""
    window = Window(60.0)
    window.add(40.0, 1.0)

    assert 40.0 == window.quantile(1, 1.0)
    assert window.quantile(0.5, 1.0) <= 40.0


def test_a_value_leaves_the_window_with_its_time():
    """It is there for the length of the window, and gone a twelfth of it later."""
    window = Window(60.0)
    window.add(1.0, 0.0)

    assert [1.0, 1.0, None] == [window.quantile(1, now) for now in (0.0, 60.0, 65.0)]


def test_memory_is_bounded():
    """An hour of values is kept as the window's length of them."""
    window = Window(60.0)
    for second in range(3600):
        window.add(0.001, float(second))

    assert 13 == len(window._slices)
    assert 1 == len(window._slices[0].counts)


def test_values_may_come_out_of_order():
    """Two loops' beats are told in the order of the loops, not in that of time."""
    window = Window(60.0)
    window.add(1.0, 100.0)
    window.add(2.0, 94.9)

    assert 2.0 == window.quantile(1, 100.0)


def test_more_values_count_for_one_reading_only():
    """What is held at this moment is shown, and not kept."""
    window = Window(60.0)
    window.add(1.0, 0.0)

    assert [3.0, 1.0] == [window.quantile(1, 0.0, [3.0]), window.quantile(1, 0.0)]


def test_no_time_at_all_is_a_value():
    """A coarse clock shows a delay of 0: it counts, as 0."""
    window = Window(60.0)
    window.add(0.0, 0.0)

    assert [0.0, 0.0] == [window.quantile(0.5, 0.0), window.quantile(1, 0.0)]
