# SPDX-License-Identifier: Apache-2.0
"""Instruments are made from records, and observables can be let go and taken up again, on any provider."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_resinstr import _instruments
from otel_resinstr._instruments import Instruments
from otel_resinstr.semconv import SCHEMA_URL, SCOPE, Kind, Metric, Origin
from otel_resinstr.version import __version__
from support import Collected, Sink, run_python


def metric(kind, name="test.metric", **more):
    return Metric(
        probe="test", name=name, kind=kind, unit="{test}", description="A test.", origin=Origin.OURS, **more
    )


GAUGE = metric(Kind.OBSERVABLE_GAUGE)
OBSERVABLE = [Kind.OBSERVABLE_COUNTER, Kind.OBSERVABLE_GAUGE, Kind.OBSERVABLE_UP_DOWN_COUNTER]


def description(metric):
    """What the SDK says of a collected metric, but for its points."""
    data = metric.data
    return (
        metric.name,
        metric.unit,
        metric.description,
        type(data).__name__,
        getattr(data, "is_monotonic", None),
    )


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (Kind.OBSERVABLE_COUNTER, ("Sum", True)),
        (Kind.OBSERVABLE_GAUGE, ("Gauge", None)),
        (Kind.OBSERVABLE_UP_DOWN_COUNTER, ("Sum", False)),
    ],
)
def test_an_observable_is_what_its_record_says(sink, kind, shape):
    """Name, unit, description, the kind of data, and our scope."""
    let_go = Instruments(sink.meter_provider).observe(metric(kind), lambda: 7)
    data = sink.reader.get_metrics_data()
    (scope,) = data.resource_metrics[0].scope_metrics

    assert (SCOPE, __version__, SCHEMA_URL) == (scope.scope.name, scope.scope.version, scope.scope.schema_url)
    assert [("test.metric", "{test}", "A test.", *shape)] == [description(metric) for metric in scope.metrics]
    assert {"test.metric": {(): 7}} == Collected(data).as_dict()
    let_go()


def test_a_histogram_has_the_boundaries_of_its_record(sink):
    """As the convention of its name advises."""
    Instruments(sink.meter_provider).histogram(metric(Kind.HISTOGRAM, boundaries=(0.1, 1.0))).record(0.5)
    (collected,) = sink.collect().metrics

    assert ("test.metric", "{test}", "A test.", "Histogram", None) == description(collected)
    assert ((0.1, 1.0), (0, 1, 0)) == tuple(
        tuple(values)
        for point in collected.data.data_points
        for values in (point.explicit_bounds, point.bucket_counts)
    )


@pytest.mark.parametrize(
    ("reading", "points"),
    [
        (0, {(): 0}),
        (1.5, {(): 1.5}),
        (None, {}),
        ([], {}),
        ([Observation(1, {"a": "x"}), Observation(2, {"a": "y"})], {("x",): 1, ("y",): 2}),
        ((Observation(value, {}) for value in (3,)), {(): 3}),
    ],
)
def test_unknown_is_absent_and_zero_is_zero(sink, reading, points):
    """A number, observations, or nothing at all."""
    let_go = Instruments(sink.meter_provider).observe(GAUGE, lambda: reading)

    assert points == sink.collect().points(GAUGE)
    let_go()


def test_two_readers_of_one_provider_see_the_same():
    """Nothing is reset by being read."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    let_go = Instruments(provider).observe(GAUGE, lambda: 7)

    assert [7, 7] == [Collected(reader.get_metrics_data()).value(GAUGE) for reader in readers]
    let_go()
    provider.shutdown()


@pytest.mark.parametrize("kind", OBSERVABLE)
def test_what_is_let_go_is_not_reported(sink, kind):
    """Nor kept; to let go twice is harmless."""
    let_go = Instruments(sink.meter_provider).observe(metric(kind), lambda: 7)
    assert ["test.metric"] == sink.collect().names()
    let_go()
    let_go()

    assert [] == sink.collect().names()
    assert {} == _instruments._live


@pytest.mark.parametrize("kind", OBSERVABLE)
def test_taken_up_again_on_one_provider_the_new_one_reports_once(sink, kind):
    """The SDK drops the callback of the second instrument without a word."""
    for value in (1, 2, 3):
        let_go = Instruments(sink.meter_provider).observe(metric(kind), lambda value=value: value)
        assert {"test.metric": {(): value}} == sink.collect().as_dict()
        let_go()
        assert {} == sink.collect().as_dict()


def test_of_two_at_once_the_later_reports(sink):
    """One metric has one reader; to let go the earlier one does not take the later one away."""
    instruments = Instruments(sink.meter_provider)
    first = instruments.observe(GAUGE, lambda: 1)
    second = instruments.observe(GAUGE, lambda: 2)
    assert 2 == sink.collect().value(GAUGE)
    first()
    assert 2 == sink.collect().value(GAUGE)
    second()

    assert [] == sink.collect().names()


def test_on_two_providers_one_after_the_other_the_present_one_reports(sink):
    """Both go on being collected; each is silent while the other is used, and may be used again."""
    other = Sink()
    for _ in range(2):
        for present, past in ((sink, other), (other, sink)):
            let_go = Instruments(present.meter_provider).observe(GAUGE, lambda: 7)
            assert ([GAUGE.name], []) == (present.collect().names(), past.collect().names())
            let_go()
            assert ([], []) == (present.collect().names(), past.collect().names())
    other.shutdown()


def test_an_instrument_that_cannot_be_made_leaves_nothing_behind():
    """A provider that raises breaks the probe; the table does not know of it."""

    class Broken(MeterProvider):
        def get_meter(self, *args, **kwargs):
            return self

        def create_observable_counter(self, *args):
            raise InterruptedError

        create_observable_gauge = create_observable_up_down_counter = create_observable_counter

    broken = Broken(shutdown_on_exit=False)
    with pytest.raises(InterruptedError):
        Instruments(broken).observe(metric(Kind.OBSERVABLE_COUNTER), lambda: 7)

    assert {} == _instruments._live


# The global provider can be set only once in a process: each of these has a process of its own.
GLOBAL = """
from opentelemetry import metrics
from support import Sink
from otel_resinstr._instruments import Instruments
from otel_resinstr.semconv import PROCESS_UPTIME, PROCESS_THREAD_COUNT

sink, other = Sink(), Sink()

def observe(value, provider=None):
    instruments = Instruments(provider)
    lets_go = [instruments.observe(metric, lambda: value) for metric in (PROCESS_UPTIME, PROCESS_THREAD_COUNT)]
    return lambda: [let_go() for let_go in lets_go]

def expect(value, of=sink):
    points = {} if value is None else {"process.uptime": {(): value}, "process.thread.count": {(): value}}
    assert points == of.collect().as_dict(), of.collect().as_dict()
"""


def test_before_the_sdk_is_set_it_waits_for_it():
    """As `opentelemetry-instrument` may load us before a configurator of the application's."""
    run_python(
        GLOBAL
        + """
let_go = observe(1)
metrics.set_meter_provider(sink.meter_provider)
expect(1)
let_go()
expect(None)
observe(2)
expect(2)
"""
    )


def test_taken_up_again_before_the_sdk_is_set_the_new_one_reports_once():
    """Each time before, the API hands out a new stand-in of the meter; all of them become the same one."""
    run_python(
        GLOBAL
        + """
observe(1)()
observe(2)()
let_go = observe(3)
metrics.set_meter_provider(sink.meter_provider)
expect(3)
let_go()
expect(None)
"""
    )


def test_let_go_before_the_sdk_is_set_nothing_reports():
    """Uninstrumented is uninstrumented, also for a provider that comes later."""
    run_python(
        GLOBAL
        + """
observe(1)()
metrics.set_meter_provider(sink.meter_provider)
expect(None)
"""
    )


def test_a_provider_that_was_given_and_becomes_the_global_one_later_reports_once():
    """By then its meter knows us by two ways: the given one and the stand-in's."""
    run_python(
        GLOBAL
        + """
observe(1)()
let_go = observe(2, sink.meter_provider)
expect(2)
metrics.set_meter_provider(sink.meter_provider)
expect(2)
let_go()
expect(None)
let_go = observe(3)
expect(3)
let_go()
let_go = observe(4, sink.meter_provider)
expect(4)
let_go()
expect(None)
"""
    )


def test_a_given_provider_is_not_the_global_one():
    """What goes to one of them does not go to the other."""
    run_python(
        GLOBAL
        + """
metrics.set_meter_provider(sink.meter_provider)
let_go = observe(1)
expect(1); expect(None, other)
let_go()
let_go = observe(2, other.meter_provider)
expect(None); expect(2, other)
let_go()
let_go = observe(3)
expect(3); expect(None, other)
let_go()
expect(None); expect(None, other)
"""
    )


def test_without_an_sdk_nothing_happens():
    """An application without OpenTelemetry pays for nothing and sees nothing."""
    run_python(
        GLOBAL
        + """
instruments = Instruments()
let_go = observe(1)
instruments.histogram(PROCESS_UPTIME).record(1)
let_go()
"""
    )


class Interrupted:
    """A histogram of the SDK's in whose middle a signal handler records; its lock cannot be taken twice."""

    def __init__(self):
        self.lock = threading.Lock()
        self.recorded = []

    def record(self, value, attributes):
        assert self.lock.acquire(blocking=False)
        if value == 1:
            self.handler()
        self.recorded.append((value, attributes))
        self.lock.release()


def test_a_record_in_the_middle_of_another_waits_for_it():
    """Of the same thread only: in the SDK it would wait for itself, and the application for ever."""
    histogram = Interrupted()
    recorder = _instruments.Recorder(histogram)
    histogram.handler = lambda: recorder.record(2, {"in": "handler"})

    recorder.record(1, {"in": "thread"})
    recorder.record(3, {})

    assert [(1, {"in": "thread"}), (2, {"in": "handler"}), (3, {})] == histogram.recorded
    assert not _instruments._recording


class Struck(set):
    """A signal handler raises as soon as something has been added."""

    def add(self, item):
        super().add(item)
        raise TimeoutError


def test_a_handler_that_raises_before_a_record_leaves_no_thread_behind(monkeypatch):
    """Else nothing that this thread records later would be recorded."""
    monkeypatch.setattr(_instruments, "_recording", recording := Struck())

    with pytest.raises(TimeoutError):
        _instruments.Recorder(Interrupted()).record(1, {})

    assert not recording


def test_what_was_interrupted_may_be_recorded_by_another_thread(monkeypatch):
    """Two threads may both have seen that there is one: the second finds nothing."""

    class Taken(list):
        def popleft(self):
            self.clear()
            raise IndexError

    monkeypatch.setattr(_instruments, "_interrupted", Taken([None]))
    histogram = Interrupted()
    _instruments.Recorder(histogram).record(4, {})

    assert [(4, {})] == histogram.recorded
