# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_resinstr._increases import Increases


def test_what_was_there_before_does_not_count():
    """From the start on, and what appears later from then on."""
    increases = Increases()
    increases.restart({"a": 100})

    assert [{"a": 0}, {"a": 5, "b": 0}, {"a": 5, "b": 2}] == [
        increases.of({"a": 100}),
        increases.of({"a": 105, "b": 7}),
        increases.of({"a": 105, "b": 9}),
    ]


def test_starting_again_begins_at_0():
    """In a forked child."""
    increases = Increases()
    increases.restart({"a": 100})
    increases.of({"a": 150})
    increases.restart({"a": 150})

    assert {"a": 1} == increases.of({"a": 151})


def test_a_counter_that_begins_anew_goes_on_from_what_was_said():
    """It does not go down, and what comes afterwards counts."""
    increases = Increases()
    increases.restart({"a": 100})

    assert [20, 20, 23] == [increases.of({"a": value})["a"] for value in (120, 3, 6)]


def test_a_reading_that_was_overtaken_changes_nothing():
    """Two readers, of which the slower one hands in the older number last."""
    increases = Increases()
    increases.restart({"a": 100})

    assert [12, 12, 20] == [increases.of({"a": value})["a"] for value in (112, 110, 120)]


def test_counters_of_another_place_go_on_from_what_was_said():
    """Larger or smaller, they are not compared with those of the place before; also when it is that one again."""
    increases = Increases()
    increases.restart({"a": 100}, "here")

    assert [{"a": 5}, {"a": 5, "b": 0}, {"a": 7, "b": 0}, {"a": 7}, {"a": 8}] == [
        increases.of({"a": 105}, "here"),
        increases.of({"a": 90_000, "b": 3}, "there"),
        increases.of({"a": 90_002, "b": 3}, "there"),
        increases.of({"a": 200}, "here"),
        increases.of({"a": 201}, "here"),
    ]


def test_the_type_of_the_number_stays():
    """Seconds are floats also where there are none."""
    increases = Increases()
    increases.restart({"seconds": 1.5, "times": 3})
    first = increases.of({"seconds": 1.5, "times": 3})

    assert {"seconds": float, "times": int} == {key: type(value) for key, value in first.items()}


@given(st.lists(st.integers(0, 1000)))
def test_it_never_goes_down(values):
    """Whatever the counter does."""
    increases = Increases()
    seen = [increases.of({"a": value})["a"] for value in values]

    assert seen == sorted(seen)
