# SPDX-License-Identifier: Apache-2.0
"""Telling apart why a loop does not turn, by what the clocks say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_resinstr.eventloop._cause import (
    COMPUTES,
    KEEPS_GIL,
    NOT_SCHEDULED,
    STARVED,
    WAITS,
    Evidence,
    cause,
)

# A loop that has not turned for half a second, looked at on time, in a process that does nothing.
HELD = Evidence(seconds=0.5, cpu=0.0, stir=0.0, process=0.001, unseen=0.0, queued=0.0, lag=0.0)


@pytest.mark.parametrize(
    ("expected", "what"),
    [
        (WAITS, {}),  # a sleep, a read, a lock
        (WAITS, {"process": 0.5}),  # while another thread computes in C, without the GIL
        (WAITS, {"process": 0.5, "lag": 0.02}),  # or with it: the loop's thread does not ask for it
        (WAITS, {"lag": 0.02, "stir": 0.001}),  # a machine that is busy with other processes
        (COMPUTES, {"cpu": 0.4, "process": 0.4, "stir": 0.1, "lag": 0.005}),
        (COMPUTES, {"cpu": 0.05, "process": 0.05, "stir": 0.01, "lag": 0.05}),  # at the tenth part of a CPU
        (STARVED, {"cpu": 0.01, "process": 0.4, "stir": 0.002, "lag": 0.02}),
        (KEEPS_GIL, {"cpu": 0.45, "process": 0.45, "unseen": 0.45, "lag": 0.45}),
        (STARVED, {"cpu": 0.0, "process": 0.45, "unseen": 0.45, "lag": 0.45}),
        (NOT_SCHEDULED, {"cpu": 0.0, "process": 0.01, "unseen": 0.45, "lag": 0.45}),  # SIGSTOP
        (NOT_SCHEDULED, {"cpu": 0.02, "process": 0.3, "unseen": 0.45, "queued": 0.4, "lag": 0.45}),
        (
            COMPUTES,
            {"cpu": 0.3, "process": 0.3, "unseen": 0.45, "queued": 0.4, "lag": 0.45},
        ),  # both wait for a CPU
        (WAITS, {"seconds": 61.5, "process": 0.01, "unseen": 60.0}),  # stopped once, and held since
        (None, {"cpu": None, "stir": None}),
        (None, {"cpu": None, "stir": None, "process": 0.45, "unseen": 0.45}),
        (NOT_SCHEDULED, {"cpu": None, "stir": None, "process": 0.01, "unseen": 0.45}),
    ],
)
def test_each_cause_is_told_from_the_others(expected, what):
    """By the CPU time of the loop's thread and of all, and by how late our own thread was."""
    assert expected == cause(replace(HELD, **what))
