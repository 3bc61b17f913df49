# SPDX-License-Identifier: Apache-2.0
"""Who holds an event loop: one stack, taken while it is held."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._totals import Totals
from otel_resinstr.eventloop._cause import COMPUTES, KEEPS_GIL, NOT_SCHEDULED, OUTSIDE, WAITS, cause
from otel_resinstr.eventloop._current import current
from otel_resinstr.eventloop._stack import (
    IMPORTS,
    NOBODY,
    NOBODY_IMPORTS,
    blamed,
    inside,
    minds_itself,
    stacks,
    text,
    waits,
)
from otel_resinstr.eventloop.loops import thread_name
from otel_resinstr.semconv import (
    ASYNCIO_EVENTLOOP_BLOCKED,
    ASYNCIO_EVENTLOOP_BLOCKED_CAUSE,
    ASYNCIO_EVENTLOOP_BLOCKED_DURATION,
    ASYNCIO_EVENTLOOP_BLOCKED_EVENT,
    ASYNCIO_EVENTLOOP_BLOCKED_STATE,
    ASYNCIO_EVENTLOOP_THREAD,
    ASYNCIO_TASK_NAME,
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    CODE_LINE_NUMBER,
    CODE_STACKTRACE,
    THREAD_NAME,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context
    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr.eventloop._running import Look, Running
    from otel_resinstr.eventloop.loops import Looks, Loops

# After how many seconds a hold that goes on is looked at anew: in the meantime it may be another line that holds.
# That is reported, and from a second on in any case.
_AGAIN = (0.3, 1.0, 10.0, 60.0, 600.0, 3600.0)
_LONG = 1.0

_DOES = {
    COMPUTES: ", which computes",
    WAITS: ", which waits without letting go",
    KEEPS_GIL: ", in a call into C that keeps the GIL, so that no other thread runs either",
    IMPORTS: ", which imports a module",
    None: "; whether it computes, waits or lacks the GIL cannot be told on this platform",
}
_ADVICE: dict[str | None, str] = {
    IMPORTS: "Import it before the loop runs",
    KEEPS_GIL: "A thread would not help: do less at a time, or hand it to a process",
}
# From which length on a hold is reported of which the stack shows nothing: until then the loop's thread may as well
# wait for a CPU.
_UNSEEN = 1.0

_IN_C = (
    "a call into C that shows no line, as of a function of a library that was handed to the loop by itself "
    "(`call_soon(lock.acquire)`)"
)
_AWAIT = "Await this work, or hand it to a thread (asyncio.to_thread)"


class _Hold:
    """A time in which a loop does not turn, and what was found to be the cause."""

    def __init__(self) -> None:
        self.counted = False
        self.said = False
        self.again = 0.0
        """How long it has to last to be reported the next time."""
        self.cause: str | None = None
        self.culprit = ""
        """The line that holds the loop; empty where none is to blame."""
        self.context: Context | None = None
        self.attributes: dict[str, AnyValue] = {}

    def so_far(self, seconds: float) -> str:
        """What is to be said while it lasts."""
        if not self.culprit:
            return f"runs nothing, for {seconds:.2f} s so far: {OUTSIDE[self.cause]}"
        return (
            f"is held, for {seconds:.2f} s so far, by {self.culprit}{_DOES[self.cause]}: nothing else runs on it "
            f"meanwhile. {_ADVICE.get(self.cause, _AWAIT)}"
        )

    def in_the_end(self, seconds: float) -> str:
        """What is to be said when it is over."""
        if not self.culprit:
            return f"ran nothing for {seconds:.2f} s: {OUTSIDE[self.cause]}"
        return f"was held for {seconds:.2f} s by {self.culprit}; it runs again"


class Blocked:
    """A loop that does not turn for *threshold* seconds, and the line of the application that holds it.

    The stack is taken and reported while the loop is held, again after 1, 10 and 60 seconds, and so on, and after 0.3
    if it is another line by then; a last event says how long it was in the end. The length is known to half of the time
    between two looks, at either end of the hold. A hold is counted also where no stack could be had, because it was
    over too soon.

    Why it does not turn is told by the CPU clocks of the loop's thread and of the process, and by how late our own
    thread is (`_cause`): the line computes, waits, or keeps the GIL; other threads hold the GIL; the process was not
    scheduled. The last is reported and not counted: nobody held the loop.

    Cost: nothing while a loop is on time. A look at a held loop costs 50 µs in our own thread; the loop is
    not touched.
    """

    name = "eventloop.blocked"

    def __init__(self, loops: Loops, threshold: float) -> None:
        self._loops = loops
        self._threshold = threshold
        self._holds: weakref.WeakKeyDictionary[Running, _Hold] = weakref.WeakKeyDictionary()
        self._blocks: Totals[str] = Totals()

    def start(self, lease: Lease) -> None:
        """Begin to look at the loops that are late."""
        self._lease = lease
        lease.observe(ASYNCIO_EVENTLOOP_BLOCKED, self._observe)
        self._loops.tell(lease, self._look_at)
        lease.after_fork(self._forked)

    def _forked(self) -> None:
        self._holds.clear()
        self._blocks.restart()

    def _observe(self) -> Iterable[Observation]:
        for thread, count in self._blocks.items():
            yield Observation(count, {ASYNCIO_EVENTLOOP_THREAD: thread})

    def _look_at(self, looks: Looks) -> None:
        for running, look in looks:
            if look.held >= self._threshold or self._holds:
                self._look(running, look)

    def _look(self, running: Running, look: Look) -> None:
        hold = self._holds.get(running)
        if hold is None:
            if look.held < self._threshold:
                return
            hold = self._holds[running] = _Hold()
        why = cause(running.evidence(look.at))
        if why != NOT_SCHEDULED and not hold.counted:
            hold.counted = True
            self._blocks.add(running.thread)
        if not look.over:
            self._while_held(running, hold, look, why)
            return
        del self._holds[running]
        if hold.said or (not hold.culprit and _nobody(hold, why)):
            self._say(running, hold, look, "ended", hold.in_the_end(look.held))

    def _while_held(self, running: Running, hold: _Hold, look: Look, why: str | None) -> None:
        due, before = hold.again, hold.culprit
        by_somebody_now = due > 0 and not before and why not in OUTSIDE
        if (look.held >= due or by_somebody_now) and self._find(running, hold, why, look.held):
            hold.again = min((more for more in _AGAIN if more > look.held), default=look.held + _AGAIN[-1])
            if not due or hold.culprit != before or look.held >= _LONG:
                hold.said |= self._say(running, hold, look, "held", hold.so_far(look.held))

    def _find(self, running: Running, hold: _Hold, why: str | None, held: float) -> bool:
        """Find out who or what holds the loop now; whether there is something to say."""
        if why == NOT_SCHEDULED:
            return False  # it may be over as soon as the process runs again, and is told then
        # Work that comes in a burst, as of threads that start, is over by the next look.
        before = hold.cause
        if _nobody(hold, why):
            return before == why
        innermost = stacks().get(running.ident)
        frames = inside(innermost, running.base)
        beat = running.beat
        shown = waits(innermost, running.base)
        if innermost is None or shown or minds_itself(frames):
            return False
        # The loop may have moved on while we looked: what it does now is not what it did then.
        if beat is not None and beat.ran is not None:
            return False
        if shown is None:
            if held >= _UNSEEN:
                hold.cause, hold.culprit, hold.context, hold.attributes = why, _IN_C, None, {}
            return held >= _UNSEEN
        site, remark = blamed(frames, running.base)
        task, hold.context = current(running.loop(), frames)
        hold.cause = IMPORTS if remark in (IMPORTS, NOBODY_IMPORTS) else why
        hold.culprit = (
            f"{site.label} ({site.path}{', ' + NOBODY if remark in (NOBODY, NOBODY_IMPORTS) else ''})"
        )
        hold.attributes = {
            CODE_FILE_PATH: site.path,
            CODE_LINE_NUMBER: site.line,
            CODE_FUNCTION_NAME: site.function,
            CODE_STACKTRACE: text(frames),
            **({} if task is None else {ASYNCIO_TASK_NAME: task}),
        }
        return True

    def _say(self, running: Running, hold: _Hold, look: Look, state: str, what: str) -> bool:
        attributes = {
            **hold.attributes,
            **({} if hold.cause is None else {ASYNCIO_EVENTLOOP_BLOCKED_CAUSE: hold.cause}),
            ASYNCIO_EVENTLOOP_BLOCKED_DURATION: look.held,
            ASYNCIO_EVENTLOOP_BLOCKED_STATE: state,
            ASYNCIO_EVENTLOOP_THREAD: running.thread,
            THREAD_NAME: thread_name(running.ident) or running.thread,
        }
        # What is reported again after a second, or a minute, is another thing than what was reported first.
        kind = (hold.culprit or (hold.cause, running.thread), state, state == "held" and hold.again)
        message = f"the event loop of the thread {running.thread} {what}"
        return self._lease.event(ASYNCIO_EVENTLOOP_BLOCKED_EVENT, message, kind, attributes, hold.context)


def _nobody(hold: _Hold, why: str | None) -> bool:
    """Whether it is no line of the loop's that is to blame; then that is what the hold is."""
    if why not in OUTSIDE:
        return False
    hold.cause, hold.culprit, hold.context, hold.attributes = why, "", None, {}
    return True
