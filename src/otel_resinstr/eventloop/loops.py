# SPDX-License-Identifier: Apache-2.0
"""Finds the event loops that run, without the application's help, and looks at them.

A loop that runs says so to asyncio through ``asyncio._set_running_loop``: that is how third-party loops are
asked to make themselves known (https://github.com/python/cpython/blob/v3.13.0/Lib/asyncio/events.py#L779).
Wrapping that function, in the two places where it is looked up, follows the interpreter's own idea of what
runs in which thread, and leaves no frame of ours on the stack of the application. Only loops that keep a copy
of the function from the time of their own import (uvloop, rloop) need their ``run_forever`` wrapped too.

Not found: a loop of those that already runs in another thread when the probe starts, until it runs anew; and one whose
``call_soon_threadsafe`` takes no ``context``, or raises what is no RuntimeError.

A loop that is seen to wait in its selector is on time, and need not be woken to prove it. Any other is sent a
beat, a callback that only reads the clock; what counts is when it runs. Of a loop that is written in C the stack
shows what it runs in Python, and nothing of it else: where it seems to wait, a beat a second makes sure.
"""

from __future__ import annotations

import math
import random
import re
import sys
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_resinstr._bounded import OTHER, Bounded
from otel_resinstr.eventloop._clocks import Clocks
from otel_resinstr.eventloop._green import patched_by
from otel_resinstr.eventloop._running import Beat, Look, Running, Sample
from otel_resinstr.eventloop._stack import stacks, waits
from otel_resinstr.semconv import RESINSTR_PROBE, RESINSTR_PROBE_DISABLED

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence
    from types import FrameType

    from otel_resinstr._probe import Lease

    Looks = Sequence[tuple[Running, Look]]
    Samples = Sequence[tuple[Running, Sample]]

# Loops that may have copied the function before it was wrapped: the module, and the class to wrap.
_COPYING = (("uvloop", "Loop"), ("rloop", "RLoop"))

_NAMES = 16  # thread names that keep their own series, `main` included

_SPREAD = 0.25  # looks come at random within a quarter of the period: no timer of the application keeps step

# Seconds that a look may be late without more being read into it: on a busy machine each thread waits for the CPU
# and the GIL.
_TOLERANCE = 0.1

# Loops of which none has done anything since the last look are looked at that many periods later.
_QUIET = 1.5

_NAPS = 8  # looks at loops that sleep are told together

_SOONEST = 0.001  # seconds between two looks, at least
_NEVER = 1e6  # seconds, until looks are taken that are not to be taken

_COROUTINE = 0x80  # inspect.CO_COROUTINE; importing inspect takes 10 ms
_GENERATOR = 0x20  # inspect.CO_GENERATOR

# What may stand between a loop and the line that started it, beside the standard library.
_STARTERS = frozenset(("otel_resinstr", "rloop", "uvloop", "wrapt"))


class _Found:
    """What one look at all loops has shown."""

    def __init__(self) -> None:
        self.samples: list[tuple[Running, Sample]] = []
        self.looks: list[tuple[Running, Look]] = []
        self.beats: list[tuple[Running, Beat, float]] = []
        """Those to be sent, and when the hold began that each may meet."""


class Loops:
    """The event loops that run at present, each looked at every *period* seconds, and beaten if it does not wait.

    A beat that is on its way is looked at again just when the hold that it may have met has lasted for
    *threshold* seconds.

    Cost: 20 µs each time a loop starts or stops to run. For each period 40 µs in our own thread and 5 to 10 µs for
    each running loop; nothing in a loop that waits (one callback a second, where it is one of uvloop's or rloop's),
    and one callback of less than 1 µs in one that does not, with what it costs to hand it over. There is no thread of
    ours before the first loop runs.
    """

    name = "eventloop.loops"

    def __init__(
        self,
        period: float,
        threshold: float = math.inf,
        clocks: Clocks | None = None,
        spread: Callable[[float, float], float] | None = None,
    ) -> None:
        self.period = period
        self.clocks = clocks or Clocks()
        self._threshold = threshold
        # A generator of our own: the application's numbers are to be the same as without us.
        self._spread = spread or random.Random().uniform  # noqa: S311  for when to look, not for a secret
        self._listeners: tuple[Callable[[Looks], None], ...] = ()
        self._samplers: tuple[Callable[[Samples], None], ...] = ()
        self._names = Bounded(_NAMES)
        self._names("main")
        self._abstract: type[AbstractEventLoop]
        self._off = False
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

    def tell(self, lease: Lease, listener: Callable[[Looks], None]) -> None:
        """Call *listener* with the running loops and what looks at them have shown of what was due.

        The calls come from our own thread, and end with *lease*.
        """

        def guarded(looks: Looks) -> None:
            lease.guard(listener, looks)

        def forget() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not guarded)

        self._listeners = (*self._listeners, guarded)
        lease.at_end(forget)

    def sample(self, lease: Lease, sampler: Callable[[Samples], None]) -> None:
        """Call *sampler* with the running loops, at random times, and what they were at; as `tell` otherwise."""

        def guarded(samples: Samples) -> None:
            lease.guard(sampler, samples)

        def forget() -> None:
            self._samplers = tuple(known for known in self._samplers if known is not guarded)

        self._samplers = (*self._samplers, guarded)
        lease.at_end(forget)

    def running(self) -> list[Running]:
        """The loops that run, and those that have stopped since the last look with a beat that was not told yet."""
        return [*(known for known in list(self._stopped) if known.beat), *self._running.values()]

    def _forget(self) -> None:
        self._running: dict[int, Running] = {}  # by thread; changed by the loops' threads, one step at a time
        self._stopped: deque[Running] = deque()
        self._due: float | None = None  # when to look the next time
        self._naps: list[tuple[float, float, float]] = []  # looks at sleeping loops that were not told yet
        self._queue: tuple[float, float] | None = (
            None  # when we asked how long our thread was kept waiting, and that
        )

    # In the threads of the application

    def _watch_asyncio(self, asyncio: Any) -> None:
        self._abstract = asyncio.AbstractEventLoop
        # asyncio's own loops look the function up in the first place, others take it from the second.
        for place in (asyncio.events, asyncio):
            self._lease.patch(place, "_set_running_loop", self._set_running_loop)
        own = threading.get_ident()
        frame = None
        for ident, frame in stacks().items():
            # Public in all but name: it is in `__all__`.
            self._adopt(ident, frame, asyncio._get_running_loop() if ident == own else None)  # noqa: SLF001
        del frame  # it may be our own, which would hold itself, and with it those of the application

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
        if self._is_off():
            return
        self._running[ident] = Running(loop, ident, base, self.clocks)
        if self._ticking.acquire(blocking=False):
            self._lease.every(self.period, self._round)

    def _leave(self, running: Running) -> None:
        self._running.pop(running.ident, None)
        running.stop()
        self._stopped.append(running)

    def _is_off(self) -> bool:
        """Whether there is nothing that we can do, since threads are not what they were; that is said once."""
        library = None if self._off else patched_by()
        if library is not None:
            self._off = True
            self._forget()
            self._lease.event(
                RESINSTR_PROBE_DISABLED,
                f"the probe {self.name} is off: {library} has replaced threads and selectors by its own; while a loop "
                "is held no thread of ours would run to see it, so event loops are not watched in this process",
                self.name,
                {RESINSTR_PROBE: self.name},
            )
        return self._off

    # In our own thread

    def _round(self) -> float:
        if self._is_off():
            # The thread stays: under gevent one that was there before cannot end without a traceback.
            return _NEVER
        now = self.clocks.wall()
        lag = 0.0 if self._due is None else max(0.0, now - self._due)
        # So late that looks were left out: the process was stopped, or this thread got no CPU or not the GIL.
        unseen = lag if lag >= max(self.period, _TOLERANCE) else 0.0
        process = self.clocks.process()
        if self._all_sleep(now) and not unseen:
            self._naps.append((now, lag, process))
            if len(self._naps) < _NAPS:
                return self._plan(now, quiet=True)
            self._queued(now, unseen)
            self._tell_of_naps()
            return self._plan(now, quiet=True)
        queued = self._queued(now, unseen)
        self._tell_of_naps()
        frames = stacks()
        # Our own frame would hold itself by way of these, and with it those of the application.
        frames.pop(threading.get_ident(), None)
        found = _Found()
        quiet = True
        while self._stopped:
            running = self._stopped.popleft()
            self._name(running)
            found.samples.append((running, running.sample(now, busy=None)))
            self._answer(running, now, found)
        for running in list(self._running.values()):
            self._name(running)
            running.measure(now, lag, unseen, queued)
            asleep = running.asleep()
            quiet = quiet and asleep
            frame = frames.get(running.ident)
            if not asleep:
                running.shown = waits(frame, running.base) if frame is not None else False
            waiting = running.shown is not False
            found.samples.append((running, running.sample(now, busy=not waiting)))
            self._look(running, now, lag, found, waiting=waiting)
        # Telling may take a while: what the application is done with meanwhile is not to be finalised in our thread.
        frame = None
        frames.clear()
        self._tell(found, process)
        return self._plan(now, quiet=quiet)

    def _all_sleep(self, now: float) -> bool:
        if self._stopped or not self._running:
            return False
        return all(running.sleeps(now) for running in list(self._running.values()))

    def _tell_of_naps(self) -> None:
        """Tell of the looks at which all loops slept: together, since nothing is as frequent, and as dull."""
        if self._naps:
            found = _Found()
            last, _, process = self._naps[-1]
            for running in list(self._running.values()):
                if running.since < self._naps[0][0]:  # it did not begin meanwhile
                    found.samples.append((running, running.nap(last)))
                    found.looks += ((running, Look(lag, lag, over=True, at=at)) for at, lag, _ in self._naps)
            self._naps.clear()
            self._tell(found, process)

    def _look(self, running: Running, now: float, lag: float, found: _Found, *, waiting: bool) -> None:
        since = self._answer(running, now, found)
        if since is None:
            return  # its beat is still on its way
        due = max(now - lag, since)
        # One that is late already is told so first; the next look comes soon.
        doubted = now - due < _TOLERANCE and running.unproved(now)
        running.free = waiting and not doubted and not running.strained()
        if running.free:
            found.looks.append((running, Look(now - due, now - due, over=True, at=now)))
            return
        # A hold began between the last moment at which it turned and the one at which the look was due: in the middle.
        # What is longer than between two looks is no hold: we were not run ourselves.
        began = due - min(due - since, self.period * _QUIET) / 2
        found.beats.append((running, Beat(self.clocks.wall, due), began))
        if now - due >= _TOLERANCE:
            found.looks.append((running, Look(now - due, now - began, over=False, at=now)))

    def _answer(self, running: Running, now: float, found: _Found) -> float | None:
        """Note what has become of the beat; returns since when the loop has turned, or None if it is on its way."""
        beat = running.beat
        if beat is None:
            return running.since
        ran = beat.ran
        at = now if ran is None else ran
        found.looks.append((running, Look(beat.late(at), at - running.began, over=ran is not None, at=at)))
        if ran is not None:
            running.beat = None
            running.answered = ran
        return ran

    def _tell(self, found: _Found, process: float) -> None:
        for sampler in self._samplers:
            sampler(found.samples)
        for listener in self._listeners:
            listener(found.looks)
        for running, look in found.looks:
            if look.over:
                running.turned(look.at, process)
        for running, beat, began in found.beats:
            if not running.send(beat, began) and self._running.get(running.ident) is running:
                del self._running[running.ident]  # the others are watched all the same

    def _plan(self, now: float, *, quiet: bool) -> float:
        """In how many seconds to look again; later if all loops sleep, just when a hold crosses the threshold."""
        wait = self.period * (_QUIET if quiet else self._spread(1 - _SPREAD, 1 + _SPREAD))
        for running in list(self._running.values()):
            crossing = running.began + self._threshold - now
            if running.beat is not None and crossing > 0:
                wait = min(wait, crossing)
        wait = max(_SOONEST, wait)
        self._due = now + wait
        return wait

    def _name(self, running: Running) -> None:
        if not running.thread:
            running.thread = self._thread(running.ident)

    def _queued(self, now: float, unseen: float) -> float:
        """How long our thread was kept from a CPU since it asked last; asked once a second, and when it was late."""
        if self._queue is not None and not unseen and now - self._queue[0] < 1.0:
            return 0.0
        total = self.clocks.queued(threading.get_native_id())
        before, self._queue = self._queue, None if total is None else (now, total)
        return 0.0 if before is None or total is None else total - before[1]

    def _thread(self, ident: int) -> str:
        if ident == threading.main_thread().ident:
            return "main"
        name = thread_name(ident)
        return OTHER if name is None else self._names(re.sub(r"\d+", "N", name))


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
