# SPDX-License-Identifier: Apache-2.0
"""Why a loop is late: held by what it runs, without the GIL, or not scheduled at all."""

from __future__ import annotations

import sys
from dataclasses import dataclass

COMPUTES = "computes"
WAITS = "waits"
KEEPS_GIL = "keeps_gil"
STARVED = "gil_starved"
NOT_SCHEDULED = "not_scheduled"

_NOTHING = 1e-5  # seconds: to ask for the GIL a few times takes more
_LONG = 1.0  # seconds for which our thread was run, and the loop not: then it does not matter what was before

OUTSIDE: dict[str | None, str] = {
    STARVED: "other threads of the process hold the GIL; look for one that computes, or a call into C that keeps it",
    NOT_SCHEDULED: (
        "the process was not run either: it was stopped, got no CPU (throttled, a busy machine), "
        "or waited in a call into C that keeps the GIL"
    ),
}
"""What is to be said where no line of the loop's is to blame."""


@dataclass
class Evidence:
    """What the clocks say of the time in which a loop did not turn. None is what the platform does not tell."""

    seconds: float
    """How long it was."""
    cpu: float | None
    """What the loop's thread had of the CPUs in it."""
    stir: float | None
    """The same since the last look only."""
    process: float
    """What all threads had of the CPUs."""
    unseen: float
    """The seconds of it in which our own thread was due and was not run."""
    queued: float
    """How much of `unseen` our thread was kept from running by other processes and not by the GIL; 0 if unknown."""
    lag: float
    """How late our own thread was for each of its looks, on the average."""


def cause(evidence: Evidence) -> str | None:  # noqa: PLR0911  each answer is one
    """Which of the five it is, or None if it cannot be told.

    Our own thread is the measure: it needs the GIL and a CPU as the loop's does. If it was run on time, the loop
    is held by what it runs. If not, the CPU clocks tell who was at work: nobody, the loop's thread, or others.
    """
    cpu = evidence.cpu
    seen = evidence.seconds - evidence.unseen
    unseen = evidence.unseen if evidence.unseen >= seen and seen < _LONG else 0.0
    seconds = evidence.seconds if unseen else seen
    if unseen and evidence.process < unseen / 10:
        return NOT_SCHEDULED
    if cpu is None:
        return None
    others = evidence.process - cpu
    # On a machine that others use as well a thread computes at a part of the speed.
    computes = cpu >= seconds / 4 or (cpu >= seconds / 20 and cpu >= others)
    if unseen and evidence.queued < unseen / 2:
        return KEEPS_GIL if computes else STARVED
    if computes:
        return COMPUTES
    if unseen:
        return NOT_SCHEDULED
    if evidence.lag >= contended() and asks(evidence.stir) and others >= seconds / 10:
        return STARVED
    return WAITS


def asks(stir: float | None) -> bool:
    """Whether a thread that has had *stir* seconds of the CPUs between two looks may have waited for the GIL.

    Then it asks for it each switch interval; one that sleeps, reads or is at a lock does nothing.
    """
    return stir is not None and stir > _NOTHING


def contended() -> float:
    """From which lag on others must have held the GIL: they give it away after a switch interval, if asked."""
    return 0.8 * sys.getswitchinterval()
