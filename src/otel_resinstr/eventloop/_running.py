# SPDX-License-Identifier: Apache-2.0
"""A loop that runs, the beat that is on its way to it, and what looks at it have shown."""

from __future__ import annotations

import math
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, NamedTuple

from otel_resinstr.eventloop._cause import Evidence, asks, contended
from otel_resinstr.eventloop._clocks import number_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from otel_resinstr.eventloop._clocks import Clocks

_OFTEN = (
    1.0  # seconds between two questions for how long the thread was kept from the CPUs: it is a file to read
)

_PROVE = 1.0  # seconds for which it is believed that a loop waits of which no stack can show it


class Beat:
    """A callback that was handed to a loop, and when it ran. In the loop it only reads the clock: under 1 µs."""

    __slots__ = ("_clock", "due", "ran")

    def __init__(self, clock: Callable[[], float], due: float) -> None:
        self._clock = clock
        self.due = due
        """Since when it should have run, in seconds of the clock."""
        self.ran: float | None = None
        """When it ran, or when the loop stopped without having run it; None while neither has happened."""

    def __call__(self) -> None:
        """Run in the loop; once it has stopped that says nothing more, when it is run again."""
        if self.ran is None:
            self.ran = self._clock()

    def late(self, now: float) -> float:
        """Seconds that it came late, or is late by *now*."""
        return (now if self.ran is None else self.ran) - self.due


class Look(NamedTuple):
    """What a look at a loop has shown of what was due at it."""

    late: float
    """Seconds that it came late, or is late so far."""
    held: float
    """Seconds for which the loop did not turn, half of the time between the last two looks included."""
    over: bool
    """Whether the loop has turned since. It is told so once."""
    at: float
    """When it did, else when it was looked at."""


class Sample(NamedTuple):
    """What a loop was at when it was looked at, and what it has used since the last time."""

    seconds: float
    """Since the last time."""
    cpu: float | None
    """What its thread has had of the CPUs since, in seconds; None where the platform does not tell."""
    queued: float
    """How long its thread was kept waiting for a CPU, as far as that was asked: once a second; 0 if unknown."""
    busy: bool | None
    """Whether it was at something else than waiting in its selector; None for one that has stopped."""
    lag: float
    """How late our own thread came to look, in seconds."""
    at: float
    """When it was looked at."""


class Running:
    """A loop while it runs in one thread. But for `stop`, only our own thread changes it."""

    def __init__(self, loop: AbstractEventLoop, ident: int, base: int, clocks: Clocks) -> None:
        """Note *loop*, which runs in the thread *ident*; that has to be the calling one, or one seen just now."""
        self.loop = weakref.ref(loop)
        self.ident = ident
        """The thread, as `threading.get_ident` tells it."""
        self.base = base
        """The ``id`` of the frame that started the loop: what the loop runs, it runs inside of that frame."""
        self.thread = ""
        """The normalised name of the thread, from the first look on."""
        self.beat: Beat | None = None
        """The beat that is on its way, or has come back and was not told to the listeners yet."""
        self.free = False
        """Whether it was seen to wait at the last look, and nothing is on its way to it."""
        self.shown: bool | None = None
        """Whether its stack has shown that it waits, at the last look that was needed; None if it shows neither."""
        self.began = 0.0
        """When the hold began that the beat has met, if it has met one."""
        self._clocks = clocks
        self._clock = clocks.name_of(ident)
        self._number = number_of(ident)
        # A file to read, which takes longer than all else here: it is asked at the first look, in our own thread.
        self._asked = -math.inf
        self._kept: float | None = None
        self._last: tuple[float, float | None] | None = None
        # Empty, so that a handle keeps nothing of the application alive; our own, since no two threads can
        # enter one context at the same time.
        self._context = Context()
        self._cpu = clocks.thread(self._clock)
        self._stir: float | None = None
        self._lag = 0.0
        self._sampled = clocks.wall()
        self.answered = self._sampled
        """When it was last known to run what it is handed."""
        self.turned(self._sampled, clocks.process())

    def stop(self) -> None:
        """Note, in the loop's thread, that it has stopped: what is still due will not run, and is late no more."""
        now = self._clocks.wall()
        if self.beat is not None and self.beat.ran is None:
            self.beat.ran = now
        self._last = now, self._clocks.thread(self._clock)

    def measure(self, now: float, lag: float, unseen: float, queued: float) -> None:
        """Read the clocks at a look for which our own thread is *lag* late."""
        self._stir = self._step(self._clocks.thread(self._clock))
        self._lag = lag
        self._lags += lag
        self._looks += 1
        self._unseen += min(unseen, now - self._sampled)
        self._queued += queued

    def _step(self, cpu: float | None) -> float | None:
        step = None if cpu is None or self._cpu is None else max(0.0, cpu - self._cpu)
        self._cpu = cpu
        return step

    def asleep(self) -> bool:
        """Whether its thread has had no CPU since it was seen to wait, so that it waits still."""
        return self.free and self._stir == 0.0

    def sleeps(self, now: float) -> bool:
        """Whether it will be found asleep, if it is measured now, and need not prove it."""
        return (
            self.free
            and not self.unproved(now)
            and self._cpu is not None
            and self._clocks.thread(self._clock) == self._cpu
        )

    def unproved(self, now: float) -> bool:
        """Whether only a beat can tell if it waits, and none has for a second: what it runs may be written in C."""
        return self.shown is None and now - self.answered >= _PROVE

    def nap(self, at: float) -> Sample:
        """What there is to say of it, if it has slept until *at*."""
        self._stir, self._lag = 0.0, 0.0
        return self.sample(at, busy=False)

    def strained(self) -> bool:
        """Whether others hold the GIL, and the loop's thread does something: perhaps it only looks as if it waited."""
        return self._lag >= contended() and asks(self._stir)

    def sample(self, now: float, *, busy: bool | None) -> Sample:
        """What there is to say of the time since the last sample."""
        at = now
        if self._last is not None:
            at = self._last[0]
            self._stir = self._step(self._last[1])
        seconds, self._sampled = max(0.0, at - self._sampled), at
        return Sample(seconds, self._stir, self._waited(now), busy, self._lag, now)

    def _waited(self, now: float) -> float:
        if now - self._asked < _OFTEN:
            return 0.0
        before, self._kept = self._kept, self._clocks.queued(self._number)
        self._asked = now
        return 0.0 if before is None or self._kept is None else max(0.0, self._kept - before)

    def turned(self, at: float, process: float) -> None:
        """Note that the loop was seen to turn, the process having had *process* seconds of the CPUs until now."""
        self.since = at
        """When the loop was last known to turn."""
        self._then = self._cpu, process
        self._unseen = 0.0
        self._queued = 0.0
        self._lags = 0.0
        self._looks = 0

    def evidence(self, at: float) -> Evidence:
        """What the clocks say of the time since the loop was last known to turn."""
        cpu, process = self._then
        return Evidence(
            seconds=at - self.since,
            cpu=None if cpu is None or self._cpu is None else max(0.0, self._cpu - cpu),
            stir=self._stir,
            process=self._clocks.process() - process,
            unseen=self._unseen,
            queued=self._queued,
            lag=self._lags / max(1, self._looks),
        )

    def send(self, beat: Beat, began: float) -> bool:
        """Hand *beat* to the loop, which may have been held since *began*; whether such a loop can be handed one."""
        loop = self.loop()
        if loop is None:
            return True
        self.beat, self.began = beat, began
        try:
            loop.call_soon_threadsafe(beat, context=self._context)
        except RuntimeError:
            self.beat = None  # it was closed a moment ago
        except Exception:  # noqa: BLE001  anybody can write a loop, such as one that knows no contexts
            self.beat = None
            return False
        return True
