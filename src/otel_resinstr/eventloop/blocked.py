# SPDX-License-Identifier: Apache-2.0
"""Who holds an event loop: one stack, taken while it is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._site import Site, application_site
from otel_resinstr._totals import Totals
from otel_resinstr.eventloop.loops import stacks, thread_name
from otel_resinstr.semconv import (
    ASYNCIO_EVENTLOOP_BLOCKED,
    ASYNCIO_EVENTLOOP_BLOCKED_DURATION,
    ASYNCIO_EVENTLOOP_BLOCKED_EVENT,
    ASYNCIO_EVENTLOOP_BLOCKED_STATE,
    ASYNCIO_EVENTLOOP_THREAD,
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    CODE_LINE_NUMBER,
    CODE_STACKTRACE,
    THREAD_NAME,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr.eventloop.loops import Look, Loops, Running

_DEEPEST = 40  # frames of a stack that are reported, the innermost ones

# A loop that minds its own business shows nothing but these.
_MACHINERY = frozenset(("asyncio", "otel_resinstr", "rloop", "selectors", "threading", "uvloop", "wrapt"))


class _Hold:
    """A time in which a loop is held, and who was found to hold it."""

    def __init__(self) -> None:
        self.culprit = ""
        self.attributes: dict[str, AnyValue] = {}
        self.said = False


class Blocked:
    """A loop that is later than *threshold* seconds, and the line of the application that holds it.

    The stack is taken and reported while the loop is held, at most a period after the threshold; a second
    event says how long it was in the end. A hold is counted also where no stack could be had: it was over too
    soon, or the loop only waited for its turn on the CPU or for the GIL. A lateness in which our own thread
    was not run either is not counted: the process was stopped, or a call into C kept the GIL.

    Cost: nothing while a loop is on time. A look at a held loop costs 50 µs in our own thread; the loop is
    not touched.
    """

    name = "eventloop.blocked"

    def __init__(self, loops: Loops, threshold: float) -> None:
        self._loops = loops
        self._threshold = threshold
        self._holds: dict[Running, _Hold] = {}
        self._blocks: Totals[str] = Totals()

    def start(self, lease: Lease) -> None:
        """Begin to look at the loops that are late."""
        self._lease = lease
        lease.observe(ASYNCIO_EVENTLOOP_BLOCKED, self._observe)
        self._loops.tell(lease, self._look)
        lease.after_fork(self._forked)

    def _forked(self) -> None:
        self._holds.clear()
        self._blocks.restart()

    def _observe(self) -> Iterable[Observation]:
        for thread, count in self._blocks.items():
            yield Observation(count, {ASYNCIO_EVENTLOOP_THREAD: thread})

    def _look(self, running: Running, look: Look) -> None:
        hold = self._holds.get(running)
        if hold is None:
            if look.held < self._threshold:
                return
            hold = self._holds[running] = _Hold()
            self._blocks.add(running.thread)
        if look.over:
            del self._holds[running]
            if hold.said:
                self._say(running, hold, look, "ended", "was held for {:.2f} s by {}; it runs again")
        elif not hold.culprit and self._find(running, hold):
            what = (
                "is held, for {:.2f} s so far, by {}: nothing else runs on it meanwhile. "
                "Await this work, or hand it to a thread (asyncio.to_thread)"
            )
            hold.said = self._say(running, hold, look, "held", what)

    def _find(self, running: Running, hold: _Hold) -> bool:
        """Take the stack of the loop's thread; whether it shows what holds the loop."""
        frames = _inside(stacks().get(running.ident), running.base)
        beat = running.beat
        # The loop may have moved on while we looked: what it does now is not what it did then.
        if not frames or _waits(frames) or beat is None or beat.ran is not None:
            return False
        site = application_site(frames[0], running.base)
        remark = ""
        if site is None:
            code = frames[0].f_code
            site = Site(code.co_filename, frames[0].f_lineno, code.co_name)
            remark = ", no line of the application"
        hold.culprit = f"{site.label} ({site.path}{remark})"
        hold.attributes = {
            CODE_FILE_PATH: site.path,
            CODE_LINE_NUMBER: site.line,
            CODE_FUNCTION_NAME: site.function,
            CODE_STACKTRACE: _text(frames),
            THREAD_NAME: thread_name(running.ident) or running.thread,
            ASYNCIO_EVENTLOOP_THREAD: running.thread,
        }
        return True

    def _say(self, running: Running, hold: _Hold, look: Look, state: str, what: str) -> bool:
        message = f"the event loop of the thread {running.thread} {what.format(look.held, hold.culprit)}"
        attributes = {
            **hold.attributes,
            ASYNCIO_EVENTLOOP_BLOCKED_DURATION: look.held,
            ASYNCIO_EVENTLOOP_BLOCKED_STATE: state,
        }
        return self._lease.event(ASYNCIO_EVENTLOOP_BLOCKED_EVENT, message, (hold.culprit, state), attributes)


def _inside(frame: FrameType | None, base: int) -> list[FrameType]:
    """What the loop runs: the frames from *frame* outwards to the one that started the loop, without that.

    The thread is not stopped meanwhile. It cannot tear the stack either: we have had the GIL for much less
    than the 5 ms after which it can be taken from us (`sys.getswitchinterval`).
    """
    frames = []
    while frame is not None and id(frame) != base:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _waits(frames: list[FrameType]) -> bool:
    """Whether the loop itself is at it, waiting or between two callbacks, and nothing that it has called.

    A selector alone proves nothing: `subprocess.run` waits in one too.
    """
    for frame in frames:
        module = frame.f_globals.get("__name__")
        if module == "asyncio.events" and frame.f_code.co_name == "_run":
            break  # a callback, perhaps the loop's own that reads who woke it
        if module == "asyncio.base_events" and frame.f_code.co_name == "_run_once":
            return True  # whatever is inside of this is a selector, perhaps one of the application's
    return all(str(frame.f_globals.get("__name__")).partition(".")[0] in _MACHINERY for frame in frames)


def _text(frames: list[FrameType]) -> str:
    """The innermost of *frames* as a traceback shows them, but for the sources, which would have to be read."""
    shown = [(frame.f_code, frame.f_lineno) for frame in reversed(frames[:_DEEPEST])]
    return "\n".join(f'  File "{code.co_filename}", line {line}, in {code.co_name}' for code, line in shown)
