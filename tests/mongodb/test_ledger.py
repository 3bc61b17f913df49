# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from mongo import driver_threads
from otel_resinstr import _events, semconv
from otel_resinstr.mongodb import ledger as module
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger

CREATED = semconv.MONGODB_CLIENT_CREATED
CLOSED = semconv.MONGODB_CLIENT_CLOSED

pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")


class FakeClock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def construct():
    """A client that connects to nothing."""
    return pymongo.MongoClient("mongodb://user:secret@db.example:1", connect=False)


LINE = construct.__code__.co_firstlineno + 2
SITE = f"test_ledger.py:{LINE} construct"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def ledger(start, clock):
    """A ledger that reports the third client within ten seconds."""
    clients = Clients()
    ledger = Ledger(clients, churn_count=3, churn_window=10.0, clock=clock)
    start(clients, ledger, clock=clock)
    return ledger


def test_clients_are_counted_by_the_line_that_constructs_them_and_by_how_they_end(sink, ledger):
    """Created by line; closed, or dropped without having been closed."""
    kept = construct()
    construct().close()
    construct()
    collected = sink.collect()

    assert {(SITE, "sync", "db.example"): 3} == collected.points(CREATED)
    assert {("closed", "db.example"): 1, ("dropped", "db.example"): 1} == collected.points(CLOSED)

    kept.close()
    del kept

    assert {("closed", "db.example"): 2, ("dropped", "db.example"): 1} == sink.collect().points(CLOSED)


def test_lines_that_are_too_many_share_a_series(sink, ledger):
    """The first 32 lines have series of their own, the others are `_other`."""
    for number in range(34):
        namespace = {"pymongo": pymongo, "__name__": "application"}
        source = f"def make{number}(): return pymongo.MongoClient('db.example', connect=False)"
        exec(compile(source, f"module{number}.py", "exec"), namespace)
        namespace[f"make{number}"]().close()
    points = sink.collect().points(CREATED)

    assert 33 == len(points)
    assert 2 == points["_other", "sync", "db.example"]
    assert 1 == points["module7.py:1 make7", "sync", "db.example"]


def test_a_client_without_a_line_of_the_application(sink, ledger):
    """Constructed by a library's own code alone: `_other`, and the warning says so."""
    from otel_resinstr.mongodb.clients import Client

    nobodys = Client("sync", "db.example", None, internal=False)
    for _ in range(3):
        ledger.constructing(nobodys)
        ledger.constructed(nobodys, None)

    assert {("_other", "sync", "db.example"): 3} == sink.collect().points(CREATED)
    (event,) = sink.events()
    assert "by _other (no line of the application)" in event.body


def test_a_construction_is_a_span(sink, ledger):
    """INTERNAL, in the request's trace, with the line and how many clients the line has already."""
    kept = construct()
    with sink.tracer_provider.get_tracer("test").start_as_current_span("request") as request:
        construct().close()
    kept.close()

    span = sink.spans("mongodb.client.create")[1]
    assert (SpanKind.INTERNAL, StatusCode.UNSET) == (span.kind, span.status.status_code)
    assert request.get_span_context().span_id == span.parent.span_id
    assert {
        "db.system.name": "mongodb",
        "server.address": "db.example",
        "mongodb.client.type": "sync",
        "mongodb.client.site": SITE,
        "mongodb.client.site.active_instance.count": 1,
        "code.file.path": __file__,
        "code.line.number": LINE,
        "code.function.name": "construct",
    } == dict(span.attributes)


def test_a_constructor_that_raises_is_a_span_with_the_errors_class(sink, ledger):
    """Its class alone: the driver's message may hold the URI."""
    with pytest.raises(pymongo.errors.InvalidURI):
        pymongo.MongoClient("http://user:secret@nonsense")

    (span,) = sink.spans()
    assert (StatusCode.ERROR, None) == (span.status.status_code, span.status.description)
    assert "InvalidURI" == span.attributes["error.type"]
    assert "secret" not in span.to_json()
    assert {} == sink.collect().points(CREATED)


def test_suppressed_instrumentation_makes_no_span(sink, ledger):
    """The client is counted all the same."""
    with suppress_instrumentation():
        construct().close()

    assert [] == sink.spans()
    assert {(SITE, "sync", "db.example"): 1} == sink.collect().points(CREATED)


def test_churn_is_one_event_and_one_line_that_names_the_line_of_code(sink, ledger, clock, caplog):
    """Three clients within ten seconds: who, how many, how they ended, what they cost, what to do."""
    kept = [construct()]
    clock.now += 2
    construct().close()
    clock.now += 2
    construct()
    clock.now += 2
    kept.append(construct())

    (event,) = sink.events()
    threads = len(driver_threads())
    assert "mongodb.client.churn" == event.event_name
    assert {
        "mongodb.client.site": SITE,
        "code.file.path": __file__,
        "code.line.number": LINE,
        "code.function.name": "construct",
        "mongodb.client.churn.created": 3,
        "mongodb.client.churn.closed": 1,
        "mongodb.client.churn.dropped": 0,
        "mongodb.client.churn.duration": 4.0,
        "mongodb.client.churn.threads": threads,
        "mongodb.client.churn.sockets": 0,
    } == dict(event.attributes)
    assert (
        f"3 clients constructed in 4.0 s by {SITE} ({__file__}:{LINE}): 1 closed, 0 dropped, 2 of this line still "
        f"there; pymongo has {threads} threads and 0 sockets in this process now. Construct one client, keep it, "
        "and share it"
    ) == event.body
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ("otel_resinstr", f"mongodb.client.churn: {event.body}") == (line.name, line.getMessage())
    for client in kept:
        client.close()


def test_churn_that_goes_on_is_reported_again_after_a_while(sink, ledger, clock):
    """At most once a minute for one line; the next report tells of all that came in between."""
    for _ in range(8):
        construct().close()
        clock.now += 1
    assert 1 == len(sink.events())

    for _ in range(60):
        construct().close()
        clock.now += 1

    first, second = (event.attributes for event in sink.events())
    assert (3, 2.0) == (first["mongodb.client.churn.created"], first["mongodb.client.churn.duration"])
    assert (60, 60) == (second["mongodb.client.churn.created"], second["mongodb.client.churn.closed"])
    assert 60.0 == second["mongodb.client.churn.duration"]


def test_a_few_clients_over_a_long_time_are_no_churn(sink, ledger, clock):
    """Fewer than three within ten seconds, again and again."""
    for _ in range(20):
        construct().close()
        construct().close()
        clock.now += 11

    assert [] == sink.events()


def test_lines_beyond_those_that_are_watched_are_watched_together(sink, ledger, monkeypatch):
    """Code that is generated at run time must not fill the memory."""
    monkeypatch.setattr(module, "_SITES_WATCHED", 1)
    construct().close()
    for _ in range(2):
        pymongo.MongoClient("db.example", connect=False).close()

    assert {SITE, "_other"} == set(ledger._lines)


def test_a_report_that_is_held_back_is_made_up_for(sink, start, clock):
    """Events have a limit of their own: the figures are kept until they can be said."""
    clients = Clients()
    ledger = Ledger(clients, churn_count=3, churn_window=10.0, clock=clock)
    start(clients, ledger, clock=clock)
    for number in range(_events.BURST):
        ledger._lease.event(semconv.MONGODB_CLIENT_CHURN, "noise", number, {})
    for _ in range(4):
        construct().close()
    assert _events.BURST == len(sink.events())
    clock.now += 9
    construct().close()
    clock.now += _events.INTERVAL - 9
    for _ in range(3):
        construct().close()

    assert _events.BURST + 1 == len(sink.events())
    assert 3 == sink.events()[-1].attributes["mongodb.client.churn.created"]


def test_after_it_was_stopped_clients_are_not_asked_about(sink, start):
    """The ledger leaves the clients probe as it was."""
    clients = Clients()
    running = start(clients, Ledger(clients, 3, 10.0))
    running.stop()

    assert clients.life is None
    construct().close()
    assert [] == sink.spans()
