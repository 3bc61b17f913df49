# SPDX-License-Identifier: Apache-2.0
"""A probe that breaks harms neither the application nor the other probes, and nothing of it is left."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
import threading
import types
import warnings

import pytest
from opentelemetry.metrics import Observation

from otel_resinstr import _fork
from otel_resinstr._probe import Lease, Running, Telemetry
from otel_resinstr.semconv import (
    DB_CLIENT_CONNECTION_WAIT_TIME,
    PROCESS_MEMORY_USAGE,
    PROCESS_THREAD_COUNT,
    PROCESS_UPTIME,
    Event,
)
from support import Sink, own_threads

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from opentelemetry.sdk._logs import LoggingHandler

SOON = 0.001
PATIENCE = 10
SECRET = "mongodb://user:secret@host"
breaks = pytest.mark.breaks


class Broken(Exception):  # noqa: N818  a name to be found in the line
    """What a broken probe raises; its text holds what must not leave the process."""

    def __init__(self):
        super().__init__(SECRET)


@pytest.fixture
def library():
    """Somebody else's module, with a function that the probes wrap."""
    library = types.ModuleType("library")
    library.work = lambda value: value + 1
    return library


class Healthy:
    """A probe that does all that a probe can do, and works."""

    name = "test.healthy"

    def __init__(self, library):
        self.library = library
        self.noticed = 0

    def start(self, lease):
        self.lease = lease
        lease.observe(PROCESS_UPTIME, lambda: 7)
        lease.patch(self.library, "work", self._work)
        lease.every(SOON, lambda: None)
        lease.after_fork(lambda: None)
        lease.when_imported("not_yet_imported", lambda _module: None)

    def _work(self, wrapped, _instance, args, kwargs):
        result = wrapped(*args, **kwargs)
        self.lease.guard(self._notice)
        return result

    def _notice(self):
        self.noticed += 1


class Breaking(Healthy):
    """A probe that takes all that a probe can take, and breaks at one *place*."""

    name = "test.breaking"

    def __init__(self, library, place):
        super().__init__(library)
        self.place = place
        self.gone = threading.Event()

    def break_at(self, place, then=None):
        if place == self.place:
            raise Broken
        return then

    def start(self, lease):
        self.lease = lease
        lease.at_end(self.gone.set)  # the first taken is the last that is given back
        lease.observe(PROCESS_THREAD_COUNT, self._two_points)
        lease.observe(PROCESS_MEMORY_USAGE, lambda: self.break_at("number", 5))
        lease.patch(self.library, "work", self._work)
        lease.every(SOON, lambda: self.break_at("tick"))
        lease.after_fork(lambda: self.break_at("fork"))
        lease.when_imported("json", lambda _module: self.break_at("import"))
        lease.at_end(lambda: self.break_at("end"))
        self.break_at("start")
        lease.at_end(lambda: self.break_at("end"))

    def _two_points(self):
        yield Observation(1, {"a": 1})
        self.break_at("points")
        yield Observation(2, {"a": 2})

    def _notice(self):
        self.break_at("call")
        super()._notice()


def as_in_a_child():
    """Call what a forked child calls, but for what starts threads that are here already."""
    for callback in _fork._callbacks:
        callback()


HOW = {
    "start": lambda library, sink, probe, running: None,
    "import": lambda library, sink, probe, running: None,
    "points": lambda library, sink, probe, running: sink.collect(),
    "number": lambda library, sink, probe, running: sink.collect(),
    "call": lambda library, sink, probe, running: library.work(1),
    "tick": lambda library, sink, probe, running: probe.gone.wait(PATIENCE),
    "fork": lambda library, sink, probe, running: as_in_a_child(),
    "end": lambda library, sink, probe, running: probe.lease.end(),
}


def lines(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@breaks
@pytest.mark.parametrize("place", HOW)
def test_a_probe_breaks_alone(place, library, sink, start, caplog):
    """Wherever it raises: the result is the same, one line says so, others go on, and nothing of it is left."""
    original = library.work
    at_fork = _fork._callbacks
    breaking, healthy = Breaking(library, place), Healthy(types.ModuleType("other"))
    healthy.library.work = library.work
    running = start(breaking, healthy)
    assert 2 == library.work(1)
    HOW[place](library, sink, breaking, running)

    # The application goes on as if nothing had happened.
    assert 2 == library.work(1)
    # So do the other probes.
    for _ in range(2):
        assert {PROCESS_UPTIME.name: {(): 7}} == sink.collect().as_dict()
    assert 2 == healthy.library.work(1)
    assert 1 == healthy.noticed
    # One line, one record.
    (line,) = lines(caplog)
    (record,) = sink.events()
    assert line.startswith(
        "resinstr.probe.disabled: the probe test.breaking broke and was stopped; the application and the other "
        "probes are not affected. Please report: Broken in break_at, "
    )
    assert f"{__file__}:" in line
    assert "resinstr.probe.disabled" == record.event_name
    assert {"resinstr.probe": "test.breaking", "error.type": "Broken"} == dict(record.attributes)
    # Nothing of it is left, even before the others are stopped.
    assert library.work is original
    running._telemetry.ticker.settle()
    assert 1 == len(own_threads())
    running.stop()
    assert at_fork == _fork._callbacks
    assert [] == own_threads()
    assert [line] == lines(caplog)


@breaks
@pytest.mark.parametrize("place", HOW)
def test_what_an_error_says_does_not_leave_the_process(place, library, sink, start, caplog):
    """A password in the message: neither at WARNING nor in OTLP, even if all of DEBUG is sent there."""
    root = logging.getLogger()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(logger_provider=sink.logger_provider)
    root.addHandler(handler)
    caplog.set_level(logging.DEBUG)
    breaking = Breaking(library, place)
    running = start(breaking)
    library.work(1)
    HOW[place](library, sink, breaking, running)
    running.stop()
    root.removeHandler(handler)

    assert ["resinstr.probe.disabled"] == [record.event_name for record in sink.events()]
    assert "secret" not in "".join(map(repr, [*sink._logs.get_finished_logs(), *sink.spans()]))
    assert "secret" not in "".join(lines(caplog))
    assert [] == [record for record in caplog.records if record.levelno > logging.DEBUG and record.exc_info]
    # Whoever asks for it is told all.
    assert SECRET in caplog.text


@breaks
def test_points_that_came_before_the_error_are_not_reported(library, sink, start):
    """Half of a state is no state."""
    start(Breaking(library, "points"))

    assert {} == sink.collect().as_dict()


@breaks
def test_a_probe_that_cannot_be_made_leaves_those_that_could(library, sink, caplog):
    """The subject's list of probes may break as well: then the name of the subject is told."""

    def probes():
        yield Healthy(library)
        raise Broken

    telemetry = Telemetry(sink.meter_provider, sink.tracer_provider, sink.logger_provider)
    running = Running(probes(), telemetry, subject="test")

    assert {PROCESS_UPTIME.name: {(): 7}} == sink.collect().as_dict()
    assert {"resinstr.probe": "test", "error.type": "Broken"} == dict(sink.events()[0].attributes)
    running.stop()
    assert 1 == len(lines(caplog))


@breaks
def test_what_a_probe_takes_after_it_broke_is_given_back_at_once(library, sink, start, caplog):
    """Its `start` may go on when something in the middle of it broke, behind a guard of its own."""

    class GoesOn(Breaking):
        def start(self, lease):
            lease.when_imported("json", lambda _module: self.break_at("import"))
            super().start(lease)

    original = library.work
    at_fork = _fork._callbacks
    start(GoesOn(library, "import"))

    assert library.work is original
    assert {} == sink.collect().as_dict()
    assert len(at_fork) + 1 == len(_fork._callbacks)  # that of the set of probes
    assert 1 == len(lines(caplog))


@breaks
def test_two_threads_may_break_a_probe_at_once(library, sink, start, caplog):
    """Each step back is made once, the line comes once."""
    together = threading.Barrier(8)
    steps = []

    class Fragile(Healthy):
        def start(self, lease):
            super().start(lease)
            for step in range(1000):
                lease.at_end(lambda step=step: steps.append(step))

        def _notice(self):
            together.wait(PATIENCE)
            raise Broken

    start(Fragile(library))
    results = []
    threads = [threading.Thread(target=lambda: results.append(library.work(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [2] * 8 == results
    assert [*range(1000)] == sorted(steps)
    assert 1 == len(lines(caplog))


class Impolite(logging.Filter):
    """An application's filter that raises."""

    def filter(self, record):
        raise Broken


@breaks
def test_an_application_whose_logging_breaks_is_not_harmed_by_our_line(library, sink, start, caplog):
    """Nothing can be said then, and the call goes on."""
    original = library.work
    breaking = Breaking(library, "call")
    start(breaking)
    logger = logging.getLogger("otel_resinstr")
    impolite = Impolite()
    logger.addFilter(impolite)
    assert 2 == library.work(1)
    logger.removeFilter(impolite)

    assert library.work is original
    assert [] == lines(caplog)


@breaks
def test_an_application_at_the_end_of_its_stack_is_not_harmed(library, start):
    """What ours has no room for breaks ours; the application's own call had room."""
    start(Breaking(library, "nowhere"))

    def deep(level):
        try:
            return deep(level + 1)
        except RecursionError:
            return library.work(level)

    assert deep(0) > 100


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_is_to_end_the_application_passes(error, library, sink, start, caplog):
    """The guard holds back errors, not what stops a task or the process; the probe is not to blame for it."""

    class Interrupted(Healthy):
        def _notice(self):
            raise error

    start(Interrupted(library))

    with pytest.raises(error):
        library.work(1)
    assert {PROCESS_UPTIME.name: {(): 7}} == sink.collect().as_dict()
    assert [] == lines(caplog)


def out_of_time(_number, _frame):
    raise TimeoutError


class OutOfTime:
    """A handler that is no function."""

    __call__ = staticmethod(out_of_time)


class OutOfTimeToo:
    """And one with a method of its own."""

    def __call__(self, number, frame):
        raise TimeoutError


@pytest.mark.skipif(sys.platform == "win32", reason="no alarm there")
@pytest.mark.parametrize(
    "handler", [out_of_time, functools.partial(out_of_time), OutOfTime(), OutOfTimeToo()]
)
def test_what_a_signal_handler_raises_goes_on_to_the_application(start, library, handler):
    """A limit on the time of a task may run out in the middle of our code: that ends the task, and not the probe."""

    class Watching(Healthy):
        def work(self, wrapped, instance, args, kwargs):
            self.lease.guard(signal.raise_signal, signal.SIGALRM)
            return wrapped(*args)

        def start(self, lease):
            self.lease = lease
            lease.patch(library, "work", self.work)

    probe = Watching(library)
    start(probe)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(TimeoutError):
            library.work(1)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert not probe.lease.ended


def test_the_guard_hands_on_arguments_and_result(sink, start, library):
    """And nothing is called any more once the probe was stopped."""
    probe = Healthy(library)
    running = start(probe)
    assert 5 == probe.lease.guard(max, 3, 5)
    running.stop()

    assert probe.lease.guard(max, 3, 5) is None


def test_stopped_probes_leave_nothing(sink, start, library, caplog):
    """No point, no patch, no thread, no place in the list for forks; what was taken last is given back first."""
    original = library.work
    at_fork = _fork._callbacks
    order = []

    class Ordered(Healthy):
        def start(self, lease):
            lease.at_end(lambda: order.append((self.name, 1, library.work is original)))
            super().start(lease)
            lease.at_end(lambda: order.append((self.name, 2, library.work is original)))

    first, second = Ordered(library), Healthy(types.ModuleType("other"))
    second.library.work = original
    second.name = "test.second"
    running = start(first, second)
    assert library.work is not original
    assert 1 == len(own_threads())
    running.stop()
    running.stop()

    assert [("test.healthy", 2, False), ("test.healthy", 1, True)] == order
    assert {} == sink.collect().as_dict()
    assert at_fork == _fork._callbacks
    assert [] == own_threads()
    assert ([], []) == (lines(caplog), sink.events())


def test_what_is_recorded_goes_to_the_same_provider(sink, start):
    """Histograms, spans and events, for what happens."""

    class Recording:
        name = "test.recording"

        def start(self, lease):
            lease.histogram(DB_CLIENT_CONNECTION_WAIT_TIME).record(0.5)
            with lease.tracer.start_as_current_span("test.span"):
                event = Event(probe=self.name, name="test.event", description="It has happened.")
                assert lease.event(event, "It has happened", "a", {"b": 1})
                assert not lease.event(event, "It has happened", "a", {"b": 1})

    start(Recording())

    assert {DB_CLIENT_CONNECTION_WAIT_TIME.name: {(): (1, 0.5)}} == sink.collect().as_dict()
    assert ["test.span"] == [span.name for span in sink.spans()]
    assert [("test.event", "It has happened", {"b": 1})] == [
        (event.event_name, event.body, dict(event.attributes)) for event in sink.events()
    ]


@pytest.mark.parametrize(
    ("disabled", "names"),
    [
        ((), ["a.one", "a.two", "b.one"]),
        (("a.one",), ["a.two", "b.one"]),
        (("a.*",), ["b.one"]),
        (("?.one", "c"), ["a.two"]),
        (("A.ONE",), ["a.one", "a.two", "b.one"]),
        (("*",), []),
    ],
)
def test_probes_are_disabled_by_name_or_pattern(sink, disabled, names):
    """What is disabled is not started."""
    started = []

    class Named:
        def __init__(self, name):
            self.name = name

        def start(self, lease):
            started.append((self.name, lease.probe))

    telemetry = Telemetry(sink.meter_provider, sink.tracer_provider, sink.logger_provider)
    Running(map(Named, ["a.one", "a.two", "b.one"]), telemetry, disabled).stop()

    assert [(name, name) for name in names] == started


def test_in_a_forked_child_what_was_asked_for_is_called(start, library):
    """In the order in which it was asked for, and no more once the probe was stopped."""
    called = []

    class Forking(Healthy):
        def start(self, lease):
            self.lease = lease
            lease.after_fork(lambda: called.append(1))
            lease.after_fork(lambda: called.append(2))

    running = start(Forking(library))
    as_in_a_child()
    running.stop()
    as_in_a_child()

    assert [1, 2] == called


def test_a_module_that_is_imported_later_is_watched(start, tmp_path, monkeypatch):
    """The patch comes with the import and goes with the probe."""
    (tmp_path / "resinstr_late.py").write_text("def work(value):\n    return value + 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    class Late(Healthy):
        def start(self, lease):
            self.lease = lease
            lease.when_imported("resinstr_late", self._found)

        def _found(self, module):
            self.lease.patch(module, "work", self._work)

    probe = Late(None)
    running = start(probe)
    import resinstr_late

    assert (2, 1) == (resinstr_late.work(1), probe.noticed)
    running.stop()
    assert (2, 1) == (resinstr_late.work(1), probe.noticed)
    assert resinstr_late.work.__class__ is types.FunctionType
    del sys.modules["resinstr_late"]


def test_two_sets_of_probes_stand_beside_each_other(start, library, sink):
    """As the four subjects do: one that stops takes nothing away from the others, the thread included."""
    other = Sink()
    start(Healthy(library))
    second = Breaking(types.ModuleType("other"), "nowhere")
    second.library.work = library.work
    running = Running([second], Telemetry(sink.meter_provider, other.tracer_provider, other.logger_provider))
    assert 1 == len(own_threads())
    running.stop()
    assert 1 == len(own_threads())

    assert {PROCESS_UPTIME.name: {(): 7}} == sink.collect().as_dict()
    other.shutdown()


def test_a_lease_by_itself_can_be_ended_more_than_once(sink):
    """And holds nothing then."""
    lease = Lease("test", Telemetry(sink.meter_provider, sink.tracer_provider, sink.logger_provider))
    steps = []
    lease.at_end(lambda: steps.append(1))
    lease.end()
    lease.end()
    lease.at_end(lambda: steps.append(2))

    assert ([1, 2], []) == (steps, lease._undo)
