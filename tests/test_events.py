# SPDX-License-Identifier: Apache-2.0
"""An event is one line for a person and one record in OTLP, and no flood of either."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider

from otel_resinstr import _events
from otel_resinstr._events import BURST, INTERVAL, Events
from otel_resinstr.semconv import RESINSTR_EVENT_REPEATED, SCHEMA_URL, SCOPE, Event
from otel_resinstr.version import __version__

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from opentelemetry.sdk._logs import LoggingHandler

STALLED = Event(probe="test", name="test.stalled", description="It stands still.")
STUCK = Event(probe="test", name="test.stuck", description="It does not come off.")


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def events(sink, clock):
    """Events that go to the sink."""
    events = Events(sink.logger_provider, clock)
    yield events
    events.close()


@pytest.fixture
def root_handler(sink):
    """The SDK's handler on the root logger, as the SDK's automatic configuration and Azure's put it there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(logger_provider=sink.logger_provider)
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def bodies(sink):
    return [record.body for record in sink.events()]


def test_an_event_is_one_line_and_one_record(events, sink, caplog):
    """The line begins with the name that one greps for; the record has name, attributes and severity."""
    assert events.say(STALLED, "It stands still", "a", {"reason": "tired", "seconds": 1.5})

    assert [("otel_resinstr", logging.WARNING, "test.stalled: It stands still")] == caplog.record_tuples
    (record,) = sink.events()
    assert ("test.stalled", "It stands still", {"reason": "tired", "seconds": 1.5}) == (
        record.event_name,
        record.body,
        dict(record.attributes),
    )
    assert (SeverityNumber.WARN, "WARN") == (record.severity_number, record.severity_text)
    assert record.timestamp > 1e18


@pytest.mark.parametrize("installed", [True, False])
def test_for_azure_the_record_is_a_custom_event(sink, clock, tmp_path, monkeypatch, installed):
    """Its exporter knows one by an attribute, and drops the body; who does not have it is not burdened."""
    if installed:
        folder = tmp_path / "azure_monitor_opentelemetry_exporter-1.0.0b58.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Name: azure-monitor-opentelemetry-exporter\nVersion: 1.0.0b58\n")
    monkeypatch.syspath_prepend(tmp_path)
    events = Events(sink.logger_provider, clock)
    events.say(STALLED, "It stands still", "a", {"reason": "tired"})
    events.say(STALLED, "It stands still", "a", {"reason": "tired"})
    clock.now += INTERVAL
    events.say(STALLED, "It stands still", "a", {"reason": "tired"})
    more = [
        {"microsoft.custom_event.name": "test.stalled", "resinstr.event.message": message}
        if installed
        else {}
        for message in ("It stands still", "It stands still (1 more since the last report)")
    ]

    assert [
        {"reason": "tired", **more[0]},
        {"reason": "tired", RESINSTR_EVENT_REPEATED: 1, **more[1]},
    ] == [dict(record.attributes) for record in sink.events()]


def test_the_record_is_in_our_scope(sink, clock):
    """By which a back end finds all that comes from the package."""
    Events(sink.logger_provider, clock).say(STALLED, "It stands still", "a", {})
    (data,) = sink._logs.get_finished_logs()
    scope = data.instrumentation_scope

    assert (SCOPE, __version__, SCHEMA_URL) == (scope.name, scope.version, scope.schema_url)


def test_the_record_belongs_to_the_trace_in_which_it_happened(events, sink):
    """The way from the event to the request that was stalled."""
    with sink.tracer_provider.get_tracer("test").start_as_current_span("request") as span:
        events.say(STALLED, "It stands still", "a", {})
    (record,) = sink.events()

    assert span.get_span_context().trace_id == record.trace_id
    assert span.get_span_context().span_id == record.span_id


def test_without_a_provider_the_line_is_there_all_the_same(caplog):
    """An application without OpenTelemetry's logs still has its own."""
    assert Events().say(STALLED, "It stands still", "a", {})
    assert ["test.stalled: It stands still"] == caplog.messages


def test_one_cause_is_reported_once_an_interval(events, sink, clock, caplog):
    """What was held back is counted into the next report."""
    said = []
    for now in (0.0, 1.0, INTERVAL - 0.1, INTERVAL, INTERVAL + 1, 2 * INTERVAL, 9 * INTERVAL):
        clock.now = 1000.0 + now
        said.append(events.say(STALLED, "It stands still", "a", {"now": now}))

    assert [True, False, False, True, False, True, True] == said
    assert [
        {"now": 0.0},
        {"now": INTERVAL, RESINSTR_EVENT_REPEATED: 2},
        {"now": 2 * INTERVAL, RESINSTR_EVENT_REPEATED: 1},
        {"now": 9 * INTERVAL},
    ] == [dict(record.attributes) for record in sink.events()]
    assert [
        "test.stalled: It stands still",
        "test.stalled: It stands still (2 more since the last report)",
        "test.stalled: It stands still (1 more since the last report)",
        "test.stalled: It stands still",
    ] == caplog.messages


def test_two_causes_do_not_hold_each_other_back(events, sink):
    """Nor do two events of one cause."""
    assert [True, True, True, False] == [
        events.say(STALLED, "1", "a", {}),
        events.say(STALLED, "2", "b", {}),
        events.say(STUCK, "3", "a", {}),
        events.say(STUCK, "4", "a", {}),
    ]
    assert ["1", "2", "3"] == bodies(sink)


def test_the_attributes_that_were_given_are_not_changed(events, clock):
    """They are the caller's."""
    attributes = {"a": 1}
    for _ in range(3):
        events.say(STALLED, "1", "a", attributes)
        clock.now += INTERVAL / 2

    assert {"a": 1} == attributes


def test_all_causes_together_are_reported_so_many_times(events, sink, clock):
    """A thousand causes are a flood as well; each is reported as soon as there is room, with its count."""
    said = [events.say(STALLED, str(cause), cause, {}) for cause in range(BURST + 5)]
    assert [True] * BURST + [False] * 5 == said

    events.say(STALLED, "again", BURST, {})
    clock.now += INTERVAL
    assert events.say(STALLED, "later", BURST, {})
    assert {RESINSTR_EVENT_REPEATED: 2} == dict(sink.events()[-1].attributes)
    assert BURST + 1 == len(sink.events())


def test_the_memory_of_causes_is_bounded(events, clock):
    """The one that was reported longest ago is forgotten first."""
    for cause in range(3 * _events._CAUSES):
        clock.now += INTERVAL / BURST
        events.say(STALLED, "1", cause, {})
        events.say(STALLED, "1", cause, {})

    assert _events._CAUSES == len(events._reported)
    assert _events._CAUSES == len(events._held_back)
    assert (STALLED.name, 3 * _events._CAUSES - 1) in events._reported


def test_a_cause_that_is_held_back_before_it_was_ever_reported_is_counted_within_bounds(events, clock):
    """More causes than are remembered are not counted; nothing else happens to them."""
    for cause in range(BURST + _events._CAUSES + 10):
        events.say(STALLED, "1", cause, {})

    assert _events._CAUSES == len(events._held_back)


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from("abc")), max_size=60))
def test_at_any_times_nothing_is_lost_and_nothing_comes_too_often(happened):
    """What was reported, what was counted into a report and what is still held back add up."""
    clock = Clock()
    events = Events(LoggerProvider(shutdown_on_exit=False), clock)
    reported = {}
    counted = 0
    for step, cause in happened:
        clock.now += step
        repeated = events._admit(("test", cause))
        if repeated is not None:
            assert clock.now - reported.get(cause, -INTERVAL) >= INTERVAL
            reported[cause] = clock.now
            counted += 1 + repeated

    assert len(happened) == counted + sum(events._held_back.values())


def test_an_event_does_not_arrive_twice(events, sink, root_handler, caplog):
    """The SDK's handler on the root logger leaves our line out, since the event is there; other lines it takes."""
    events.say(STALLED, "It stands still", "a", {})
    logging.getLogger("otel_resinstr").warning("a line that is no event")
    logging.getLogger("shop").warning("a line of the application")

    assert ["It stands still", "a line that is no event", "a line of the application"] == bodies(sink)
    assert 3 == len(caplog.messages)


def test_a_handler_of_a_class_derived_from_it_is_found(events, sink):
    """As distributions of OpenTelemetry have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = type("TheirHandler", (LoggingHandler,), {})(logger_provider=sink.logger_provider)
    logging.getLogger("otel_resinstr").addHandler(handler)
    events.say(STALLED, "It stands still", "a", {})
    logging.getLogger("otel_resinstr").removeHandler(handler)

    assert ["It stands still"] == bodies(sink)


def test_a_handler_beyond_a_logger_that_does_not_propagate_is_left_alone(
    events, sink, root_handler, monkeypatch
):
    """Only those that would get the line are given a filter."""
    monkeypatch.setattr(logging.getLogger("otel_resinstr"), "propagate", False)
    events.say(STALLED, "It stands still", "a", {})

    assert ["It stands still"] == bodies(sink)
    assert [] == root_handler.filters


def test_what_was_filtered_is_given_back(sink, root_handler, clock):
    """One that closes does not take away the filter of another that goes on."""
    first, second = Events(sink.logger_provider, clock), Events(sink.logger_provider, clock)
    for events in (first, second):
        for cause in range(2):
            events.say(STALLED, "1", cause, {})
    first.close()
    second.say(STALLED, "2", "b", {})
    assert ["1", "1", "1", "1", "2"] == bodies(sink)
    second.close()

    assert [] == root_handler.filters


def test_where_the_line_is_switched_off_the_record_is_there_all_the_same(events, sink, caplog, root_handler):
    """The level of our logger is the application's to choose."""
    caplog.set_level(logging.ERROR, "otel_resinstr")

    assert events.say(STALLED, "It stands still", "a", {})
    assert [] == caplog.records
    assert ["It stands still"] == bodies(sink)
    assert [] == root_handler.filters


def test_how_it_came_to_an_error_is_in_the_log_only(events, sink, root_handler, caplog):
    """Where somebody asks for it (DEBUG): the text of an error may hold what is not to leave the process."""
    caplog.set_level(logging.DEBUG)
    events.explain("how it came", ValueError("mongodb://user:secret@host"))

    assert [] == sink.events()
    (record,) = caplog.records
    assert (logging.DEBUG, "how it came", True) == (
        record.levelno,
        record.getMessage(),
        "secret" in caplog.text,
    )


def test_in_a_forked_child_it_begins_anew(events, sink):
    """What the parent reported, the child has not; and the lock is its own."""
    for cause in range(BURST + 1):
        events.say(STALLED, "parent", cause, {})
    events._lock.acquire()  # by a thread that the child does not have
    events.renew()
    said = []
    speaker = threading.Thread(
        target=lambda: said.extend(events.say(STALLED, "child", cause, {"a": 1}) for cause in range(BURST))
    )
    speaker.start()
    speaker.join(10)

    assert [True] * BURST == said
    assert [{"a": 1}] * BURST == [dict(record.attributes) for record in sink.events()[BURST:]]


def test_a_finaliser_may_report_while_a_report_is_made(events, sink):
    """Garbage is collected at any moment, also while the lock is held."""
    with events._lock:
        assert events.say(STALLED, "It stands still", "a", {})

    assert ["It stands still"] == bodies(sink)


def test_a_listener_that_raises_takes_nothing_from_the_others(events, sink, caplog):
    """The record and the line are out before anybody listens, and all who do hear of it."""
    heard = []

    def raises(record):
        heard.append((len(sink.events()), len(caplog.record_tuples)))
        raise RuntimeError(record.event_name)

    def hears(record):
        heard.append(record.event_name)

    _events.listen(raises)
    _events.listen(hears)
    try:
        assert events.say(STALLED, "It stands still", "a", {})
    finally:
        _events.ignore(raises)
        _events.ignore(hears)

    assert [(1, 1), "test.stalled"] == heard
