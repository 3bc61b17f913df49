# SPDX-License-Identifier: Apache-2.0
"""Figures as people read them."""

from __future__ import annotations

import pytest

from otel_resinstr._words import count, duration, listed, mebibytes


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.00042, "0.4 ms"),
        (0.0049, "4.9 ms"),
        (0.12, "120 ms"),
        (1.25, "1.25 s"),
        (59.6, "60 s"),
        (130, "2 min"),
        (3600 * 3.2, "3.2 h"),
        (3600 * 24 * 365, "8,760.0 h"),
    ],
)
def test_durations_have_the_digits_that_people_compare(seconds, shown):
    """The unit fits the size, and no digit pretends to more than was measured."""
    assert shown == duration(seconds)


def test_counts_agree_with_their_noun():
    """One client, two clients, and thousands are set apart."""
    assert ["0 clients", "1 client", "20,000 clients"] == [
        count(number, "client") for number in (0, 1, 20_000)
    ]


def test_lists_end_with_and():
    """Of one, two and more."""
    assert ["", "a", "a and b", "a, b and c"] == [listed(list(parts)) for parts in ("", "a", "ab", "abc")]


def test_memory_is_in_mebibytes():
    """With one digit: the next one changes by itself."""
    assert "5.5 MiB" == mebibytes(5_767_168)
