# SPDX-License-Identifier: Apache-2.0
"""Finds the event loops that run, without the application's help, and beats them.

A loop that runs says so to asyncio through ``asyncio._set_running_loop``: that is how third-party loops are
asked to make themselves known (https://github.com/python/cpython/blob/v3.13.0/Lib/asyncio/events.py#L779).
Wrapping that function, in the two places where it is looked up, follows the interpreter's own idea of what
runs in which thread, and leaves no frame of ours on the stack of the application. Only loops that keep a copy
of the function from the time of their own import (uvloop, rloop) need their ``run_forever`` wrapped too.

Not found: a loop of those that already runs in another thread when the probe starts, until it runs anew.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import weakref
from collections import deque
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_resinstr._bounded import OTHER, Bounded

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from types import FrameType

    from otel_resinstr._probe import Lease

    Listener = Callable[["Running", "Look"], None]

# Loops that may have copied the function before it was wrapped: the module, and the class to wrap.
_COPYING = (("uvloop", "Loop"), ("rloop", "RLoop"))

_NAMES = 16  # thread names that keep their own series, `main` included

# Seconds that a round of ours may be late without more being read into it: on a busy machine each thread
# waits for the CPU and the GIL.
_TOLERANCE = 0.1

_COROUTINE = 0x80  # inspect.CO_COROUTINE; importing inspect takes 10 ms
_GENERATOR = 0x20  # inspect.CO_GENERATOR

# What may stand between a loop and the line that started it, beside the standard library.
_STARTERS = frozenset(("otel_resinstr", "rloop", "uvloop", "wrapt"))


class Beat:
    """A callback that was handed to a loop, and when it ran. In the loop it only reads the clock: under 1 µs."""

    __slots__ = ("_clock", "due", "excused", "ran")

    def __init__(self, clock: Callable[[], float], due: float, excused: float) -> None:
        self._clock = clock
        self.due = due
        """Since when it should have run, in seconds of the clock."""
        self.excused = excused
        """Seconds of its lateness in which our own thread was not run either: no proof against the loop."""
        self.ran: float | None = None
        """When it ran, or when the loop stopped without having run it; None while neither has happened."""

    def __call__(self) -> None:
        """Run in the loop."""
        self.ran = self._clock()

    def late(self, now: float) -> float:
        """Seconds that it came late, or is late by *now*."""
        return (now if self.ran is None else self.ran) - self.due


class Look(NamedTuple):
    """What a look at a beat has shown."""

    late: float
    """Seconds that the beat came late, or is late so far."""
    held: float
    """The part of them in which our own thread was run, so that they can be held against the loop."""
    over: bool
    """Whether the beat has run. It is told so once."""
    at: float
    """When it ran, else when it was looked at."""


class Running:
    """A loop while it runs in one thread."""

    def __init__(self, loop: AbstractEventLoop, ident: int, base: int) -> None:
        self.loop = weakref.ref(loop)
        self.ident = ident
        """The thread, as `threading.get_ident` tells it."""
        self.base = base
        """The ``id`` of the frame that started the loop: what the loop runs, it runs inside of that frame."""
        self.thread = ""
        """The normalised name of the thread, from the first beat on."""
        self.beat: Beat | None = None
        """The beat that is on its way, or has come back and was not told to the listeners yet."""
        # Empty, so that a handle keeps nothing of the application alive; our own, since no two threads can
        # enter one context at the same time.
        self._context = Context()

    def send(self, beat: Beat) -> None:
        """Hand *beat* to the loop."""
        loop = self.loop()
        if loop is None:
            return
        self.beat = beat
        try:
            loop.call_soon_threadsafe(beat, context=self._context)
        except RuntimeError:
            self.beat = None  # it was closed a moment ago


class Loops:
    """The event loops that run at present, and a beat to each of them every *period* seconds.

    Cost: 3 µs each time a loop starts or stops to run; for each running loop and period one callback of less
    than 1 µs in the loop, 20 to 40 µs in our own thread, and what it costs the system to wake the loop. There
    is no thread of ours before the first loop runs.
    """

    name = "eventloop.loops"

    def __init__(self, period: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.period = period
        self.clock = clock
        self._listeners: tuple[Listener, ...] = ()
        self._names = Bounded(_NAMES)
        self._names("main")
        self._abstract: type[AbstractEventLoop]
        self._ticking = threading.Lock()  # taken once, by the first loop that is found
        self._forget()

    def start(self, lease: Lease) -> None:
        """Begin to find loops: those that run already, and those that are yet to run."""
        self._lease = lease
        lease.at_end(self._forget)
        lease.after_fork(self._forget)  # the loops of the parent do not run in the child
        lease.when_imported("asyncio", self._watch_asyncio)
        for module, kind in _COPYING:
            lease.when_imported(module, partial(self._watch_class, kind))

    def tell(self, lease: Lease, listener: Listener) -> None:
        """Call *listener* each period with each running loop and a look at its beat.

        The calls come from our own thread, and end with *lease*.
        """

        def guarded(running: Running, look: Look) -> None:
            lease.guard(listener, running, look)

        def forget() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not guarded)

        self._listeners = (*self._listeners, guarded)
        lease.at_end(forget)

    def running(self) -> list[Running]:
        """The loops that run, and those that have stopped within the period with a beat that was not told yet."""
        return [*self._stopped, *self._running.values()]

    def _forget(self) -> None:
        self._running: dict[int, Running] = {}  # by thread; changed by the loops' threads, one step at a time
        self._stopped: deque[Running] = deque()
        self._rested: float | None = None  # when the last round ended

    # In the threads of the application

    def _watch_asyncio(self, asyncio: Any) -> None:
        self._abstract = asyncio.AbstractEventLoop
        # asyncio's own loops look the function up in the first place, others take it from the second.
        for place in (asyncio.events, asyncio):
            self._lease.patch(place, "_set_running_loop", self._set_running_loop)
        own = threading.get_ident()
        for ident, frame in stacks().items():
            # Public in all but name: it is in `__all__`.
            self._adopt(ident, frame, asyncio._get_running_loop() if ident == own else None)  # noqa: SLF001

    def _watch_class(self, kind: str, module: Any) -> None:
        self._lease.patch(getattr(module, kind), "run_forever", self._run_forever)

    def _set_running_loop(
        self, wrapped: Callable[..., None], _instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        self._lease.guard(self._runs, *args)

    def _run_forever(
        self,
        wrapped: Callable[..., None],
        loop: AbstractEventLoop,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if threading.get_ident() in self._running:
            return wrapped(*args, **kwargs)  # it is about to fail, and the loop that runs goes on
        self._lease.guard(self._runs, loop)
        try:
            return wrapped(*args, **kwargs)
        finally:
            self._lease.guard(self._runs, None)

    def _runs(self, loop: AbstractEventLoop | None) -> None:
        """Note what this thread runs from now on."""
        ident = threading.get_ident()
        known = self._running.get(ident)
        if known is not None:
            if loop is not None and known.loop() is loop:
                return
            self._leave(known)
        # Anything can be set, and is in tests of other people's.
        if isinstance(loop, self._abstract):
            self._enter(loop, ident, _starter(sys._getframe()))  # noqa: SLF001  the way to one's own stack, as in logging

    def _adopt(self, ident: int, frame: FrameType | None, loop: AbstractEventLoop | None) -> None:
        """Note a loop that has been running in the thread *ident* for some time: *loop*, if that is known.

        Else a loop that is written in Python stands in its own ``run_forever``.
        """
        base = None
        while frame is not None:
            if frame.f_code.co_name == "run_forever" and isinstance(
                frame.f_locals.get("self"), self._abstract
            ):
                loop, base = frame.f_locals["self"], frame
                break
            if frame.f_code.co_flags & _COROUTINE:
                base = frame.f_back  # the outermost coroutine is what the loop called
            frame = frame.f_back
        if loop is not None and base is not None and loop.is_running():
            self._enter(loop, ident, id(base))

    def _enter(self, loop: AbstractEventLoop, ident: int, base: int) -> None:
        self._running[ident] = Running(loop, ident, base)
        if self._ticking.acquire(blocking=False):
            self._lease.every(self.period, self._round)

    def _leave(self, running: Running) -> None:
        self._running.pop(running.ident, None)
        beat = running.beat
        if beat is not None:
            if beat.ran is None:
                beat.ran = self.clock()  # what is still due will not run: nothing is late any longer
            self._stopped.append(running)

    # In our own thread

    def _round(self) -> None:
        now = self.clock()
        # A round that is late by a period or more has left beats out: the process was stopped, or this thread
        # was not run. What was due in that time was late as well, but nobody saw whose fault that was.
        due = now if self._rested is None else self._rested + self.period
        unseen = now
        if self._rested is not None and now - due >= max(self.period, _TOLERANCE):
            unseen = self._rested
        while self._stopped:
            self._tell(self._stopped.popleft(), now, unseen)
        for running in list(self._running.values()):
            last = running.beat
            self._tell(running, now, unseen)
            if running.beat is None:
                if not running.thread:
                    running.thread = self._thread(running.ident)
                since = sent = self.clock()
                if unseen < now and last is not None and last.ran is not None:
                    since = max(due, last.ran)
                running.send(Beat(self.clock, since, excused=sent - since))
        self._rested = self.clock()

    def _tell(self, running: Running, now: float, unseen: float) -> None:
        beat = running.beat
        if beat is None:
            return
        ran = beat.ran
        at = now if ran is None else ran
        beat.excused += max(0.0, at - unseen)
        look = Look(late=at - beat.due, held=at - beat.due - beat.excused, over=ran is not None, at=at)
        for listener in self._listeners:
            listener(running, look)
        if look.over:
            running.beat = None

    def _thread(self, ident: int) -> str:
        if ident == threading.main_thread().ident:
            return "main"
        name = thread_name(ident)
        return OTHER if name is None else self._names(re.sub(r"\d+", "N", name))


def stacks() -> dict[int, FrameType]:
    """The innermost frame of each thread, by its ident; nothing on an interpreter that does not tell.

    Costs less than 1 µs a thread.
    """
    tell: Callable[[], dict[int, FrameType]] = getattr(sys, "_current_frames", dict)
    return tell()


def thread_name(ident: int) -> str | None:
    """The name of the thread *ident*, or None if it was not started by `threading`.

    Not through `threading.current_thread`, which would make such a thread up a name and keep it.
    """
    return next((thread.name for thread in threading.enumerate() if thread.ident == ident), None)


def _starter(frame: FrameType) -> int:
    """The ``id`` of the frame that runs a loop, seen from *frame* in the middle of its start.

    Not the frames of asyncio: some of them return before the loop begins to turn (``_run_forever_setup``).
    The frame found stays where it is until the loop stops, so that its id is not given to another one.
    """
    while frame.f_back is not None and _passed(frame):
        frame = frame.f_back
    return id(frame)


def _passed(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return (
        package in _STARTERS
        or package in sys.stdlib_module_names
        or bool(
            frame.f_code.co_flags & _GENERATOR
        )  # a context manager around the start, as nest_asyncio has it
    )
