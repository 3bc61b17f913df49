# SPDX-License-Identifier: Apache-2.0
"""What a probe is, what it may take from the process, and how all of it is given back.

A probe takes whatever it needs through its `Lease`: instruments, patches, beats of the ticker, places in the
fork list. Ending the lease gives everything back in reverse order, so a probe has nothing to undo by itself.

The lease is also the boundary at which a probe may break without harm. Where others call us, be it a library (a
listener, a wrapper), the ticker or the SDK (an observable's callback), the call goes through `Lease.guard`:
a probe that raises is stopped and reported once, and the application and the other probes go on.
"""

from __future__ import annotations

import contextlib
import fnmatch
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from opentelemetry import trace

from otel_resinstr import _exit, _flush, _fork
from otel_resinstr._events import Events
from otel_resinstr._instruments import Instruments
from otel_resinstr._patch import ImportHook, Patch, Replacement
from otel_resinstr._ticker import Ticker
from otel_resinstr.semconv import ERROR_TYPE, RESINSTR_PROBE, RESINSTR_PROBE_DISABLED, SCHEMA_URL, SCOPE
from otel_resinstr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AnyValue

    from otel_resinstr._instruments import Read, Recorder
    from otel_resinstr._patch import Make, Wrapper
    from otel_resinstr.semconv import Event, Metric

_T = TypeVar("_T")

_ticker = Ticker()
_fork.add_at_last(_ticker.renew)


class Probe(Protocol):
    """One thing that is watched. Its constructor only takes its sources; all else happens in `start`."""

    name: str

    def start(self, lease: Lease) -> None:
        """Begin to watch; everything that is needed for it comes from *lease*."""


class Telemetry:
    """Where a set of probes sends what it finds; each provider is the global one unless it is given."""

    def __init__(  # noqa: PLR0913  where each signal goes, and the sources; the rest is in keywords
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        *,
        metric_attributes: Sequence[str] = (),
        ticker: Ticker = _ticker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.providers = (meter_provider, tracer_provider, logger_provider)
        self.instruments = Instruments(meter_provider, metric_attributes)
        self.tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA_URL)
        self.events = Events(logger_provider, clock)
        self.ticker = ticker


class Lease:
    """What one running probe has taken from the process, and the guard around what it does with it."""

    def __init__(self, probe: str, telemetry: Telemetry) -> None:
        self.probe = probe
        self.tracer = telemetry.tracer
        self._telemetry = telemetry
        self._undo: list[Callable[[], None]] = []
        self.ended = False
        self.broken = False
        """It ended because the probe raised, wherever that was: what is said at an end may have no place there."""

    def guard(self, function: Callable[..., _T], *args: Any) -> _T | None:
        """Call *function*; None if it raises, which ends the lease, and None once the lease has ended.

        What the application's own signal handler raises meanwhile is the application's, and goes on to whoever called
        us. That is the application, or a library which swallows what a listener raises, as pymongo does.
        """
        if self.ended:
            return None
        try:
            return function(*args)
        except Exception as error:  # the boundary: a broken probe must not harm the application
            if _is_a_handlers(error):
                raise
            self._broke(error)
            return None

    def _broke(self, error: Exception) -> None:
        if not self.ended:
            self.ended = self.broken = True
            self._report(error)  # before a step back that breaks too, and is the same cause
            self.end()

    def _report(self, error: Exception) -> None:
        # A filter or handler of the application's that raises, or no stack left: then nothing can be said.
        with contextlib.suppress(Exception):
            self._say(error)

    def _say(self, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        # Not the error's text: it may hold what belongs to the application, such as a URI with a password.
        self._telemetry.events.say(
            RESINSTR_PROBE_DISABLED,
            f"the probe {self.probe} broke and was stopped; the application and the other probes are not "
            f"affected. Please report: {type(error).__qualname__} in {place.name}, {place.filename}:{place.lineno}",
            cause=self.probe,
            attributes={RESINSTR_PROBE: self.probe, ERROR_TYPE: type(error).__qualname__},
        )
        self._telemetry.events.explain(f"how the probe {self.probe} broke", error)

    def observe(self, metric: Metric, read: Read) -> None:
        """Report what *read* returns at each collection: a number, observations, or None for unknown."""

        def whole() -> Any:
            reading = read()
            # To the end before anything is handed on: a point is not exported if a later one raises.
            return reading if reading is None or isinstance(reading, (int, float)) else list(reading)

        self.at_end(self._telemetry.instruments.observe(metric, lambda: self.guard(whole)))

    def histogram(self, metric: Metric) -> Recorder:
        """Make the histogram of *metric*. Recording is for code inside the guard."""
        return self._telemetry.instruments.histogram(metric)

    def event(
        self,
        event: Event,
        message: str,
        cause: Hashable,
        attributes: Mapping[str, AnyValue],
        context: Context | None = None,
    ) -> bool:
        """Report *event*, at most once an interval for one *cause*; returns whether it was reported.

        It belongs to the trace of *context*, by default to the current one.
        """
        return self._telemetry.events.say(event, message, cause, attributes, context)

    def every(self, seconds: float, call: Callable[[], object]) -> None:
        """Call *call* every *seconds* on the package's one thread, or in the seconds that it returns (a float).

        It must be quick.
        """
        self.at_end(self._telemetry.ticker.every(seconds, lambda: self.guard(call)))

    def after_fork(self, call: Callable[[], None]) -> None:
        """Call *call* in each forked child."""

        def guarded() -> None:
            self.guard(call)

        _fork.add(guarded)
        self.at_end(lambda: _fork.remove(guarded))

    def at_exit(self, call: Callable[[], None], *, last: bool = False) -> None:
        """Call *call* when the interpreter ends, before the SDK's providers shut down; *last*: after the others."""

        def guarded() -> None:
            self.guard(call)

        _exit.add(guarded, last=last)
        self.at_end(lambda: _exit.remove(guarded))

    def at_flush(self, call: Callable[[], None]) -> None:
        """Call *call* at each `otel_resinstr.flush`, in a thread of its own: what is noted is to be told."""

        def guarded() -> None:
            self.guard(call)

        _flush.add(guarded)
        self.at_end(lambda: _flush.remove(guarded))

    def patch(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Wrap the function *name* of *owner*.

        *wrapper* is not guarded, since it makes the application's own call; what it does of its own goes
        through `guard`.
        """
        self.at_end(Patch(owner, name, wrapper).undo)

    def replace(self, owner: Any, name: str, make: Make) -> None:
        """Put what *make* makes of the function *name* of *owner* in its place: for what is called very often.

        As with `patch`, the application's own call is not guarded, and the rest goes through `guard`.
        """
        self.at_end(Replacement(owner, name, make).undo)

    def when_imported(self, module: str, found: Callable[[Any], None]) -> None:
        """Call *found* with *module* once the application has imported it; now, if it has."""

        def guarded(imported: Any) -> None:
            self.guard(found, imported)

        self.at_end(ImportHook(module, guarded).undo)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call *call* when the probe stops, for what the lease does not know how to give back.

        What is taken after the end, by a `start` that goes on or in another thread, is given back at once.
        """
        self._undo.append(call)
        if self.ended:
            self.end()

    def end(self) -> None:
        """Give everything back, the last taken first. A step that raises does not keep the others from running."""
        self.ended = True
        while True:
            try:
                undo = self._undo.pop()
            except IndexError:  # not asked before: another thread may take the last one
                return
            try:
                undo()
            except Exception as error:  # noqa: BLE001  the boundary: the rest must be given back too
                self._report(error)


class Running:
    """A set of probes that has been started."""

    def __init__(
        self,
        probes: Iterable[Probe],
        telemetry: Telemetry,
        disabled: Collection[str] = (),
        subject: str = "unnamed",
    ) -> None:
        """Start each of *probes*, but for those whose name matches one of the patterns in *disabled*."""
        self._telemetry = telemetry
        self._leases: list[Lease] = []
        _fork.add(telemetry.events.renew)
        _flush.use(telemetry.providers)
        # Making the probes may break as well: then those that were made run.
        making = Lease(subject, telemetry)
        remaining = iter(probes)
        while (probe := making.guard(next, remaining, None)) is not None:
            if not any(fnmatch.fnmatchcase(probe.name, pattern) for pattern in disabled):
                lease = Lease(probe.name, telemetry)
                self._leases.append(lease)
                lease.guard(probe.start, lease)

    def stop(self) -> None:
        """End all leases: nothing is reported, patched or running any more."""
        for lease in reversed(self._leases):
            lease.end()
        _fork.remove(self._telemetry.events.renew)
        _flush.let_go(self._telemetry.providers)
        self._telemetry.events.close()
        self._telemetry.ticker.settle()


def _is_a_handlers(error: Exception) -> bool:
    """Whether a signal handler raised *error*, as those do that limit the time of a task, in the middle of our code."""
    found = False
    with contextlib.suppress(RecursionError):  # then it is ours too
        handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
        found = any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__))
    return found


def _code(handler: Any) -> Any:
    """The code of a function, of what a partial one calls, or of an object that can be called."""
    handler = getattr(handler, "func", handler)
    return getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
