# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import sys
import threading

import beanie
import flask
import flask_pymongo
import mongoengine
import motor.motor_asyncio
import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from mongo import driver_threads
from otel_resinstr import _events, semconv
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr._site import Site
from otel_resinstr.mongodb import ledger as module
from otel_resinstr.mongodb.clients import Client, Clients
from otel_resinstr.mongodb.ledger import Ledger
from support import TickerByHand

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
def ticker():
    return TickerByHand()


@pytest.fixture
def ledger(sink, clock, ticker):
    """A ledger that reports three clients within ten seconds."""
    clients = Clients()
    ledger = Ledger(clients, churn_count=3, churn_window=10.0, clock=clock)
    running = Running([clients, ledger], Telemetry(**sink.providers, ticker=ticker, clock=clock))
    yield ledger
    running.stop()


@pytest.fixture
def wait(ticker, clock):
    """Let so many seconds pass, with a beat in each."""

    def wait(seconds):
        for _ in range(seconds):
            clock.now += 1
            ticker.beat()

    return wait


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


def test_a_client_without_a_line_of_the_application(sink, ledger, wait):
    """Constructed by a library's own code alone: `_other`, and the warning says so."""
    namespace = {"pymongo": pymongo, "__name__": "uvicorn.server"}
    source = (
        "def serve(wait):\n for _ in range(3):\n  pymongo.MongoClient('db.example', connect=False)\n  wait(1)"
    )
    exec(compile(source, "server.py", "exec"), namespace)
    thread = threading.Thread(target=namespace["serve"], args=(wait,))
    thread.start()
    thread.join()

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


def test_churn_is_one_event_and_one_line_that_names_the_line_of_code(sink, ledger, wait, caplog):
    """Three clients within ten seconds: who, how many, how they ended, what they cost, what to do."""
    kept = construct()
    wait(2)
    construct().close()
    wait(2)
    construct()
    wait(2)
    kept.close()

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
        "mongodb.client.churn.dropped": 1,
        "mongodb.client.churn.duration": 5.0,
        "mongodb.client.churn.threads": threads,
        "mongodb.client.churn.sockets": 0,
    } == dict(event.attributes)
    assert (
        f"3 clients constructed in 5.0 s by {SITE} ({__file__}:{LINE}): 1 closed, 1 dropped, 1 of this line still "
        f"there; pymongo has {threads} threads and 0 sockets in this process now. Construct one client, keep it, "
        "and share it"
    ) == event.body
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ("otel_resinstr", f"mongodb.client.churn: {event.body}") == (line.name, line.getMessage())


def test_churn_is_told_in_the_trace_of_the_latest_construction(sink, ledger, wait):
    """Not by the application's thread, but with a way to the request that is to be looked at."""
    for _ in range(3):
        construct().close()
        wait(1)

    (event,) = sink.events()
    latest = sink.spans()[-1].get_span_context()
    assert (latest.trace_id, latest.span_id) == (event.trace_id, event.span_id)


def test_churn_that_goes_on_is_reported_again_after_a_while(sink, ledger, wait):
    """At most once a minute for one line; the next report tells of all that came in between."""
    for _ in range(8):
        construct().close()
        wait(1)
    assert 1 == len(sink.events())

    for _ in range(60):
        construct().close()
        wait(1)

    first, second = (event.attributes for event in sink.events())
    assert (3, 3.0) == (first["mongodb.client.churn.created"], first["mongodb.client.churn.duration"])
    assert (60, 60) == (second["mongodb.client.churn.created"], second["mongodb.client.churn.closed"])
    assert 60.0 == second["mongodb.client.churn.duration"]


def test_a_few_clients_over_a_long_time_are_no_churn(sink, ledger, wait):
    """Fewer than three within ten seconds, again and again."""
    for _ in range(20):
        construct().close()
        construct().close()
        wait(11)

    assert [] == sink.events()


def test_an_application_that_starts_does_not_churn(sink, ledger, wait):
    """However many clients one line constructs at once: one for each tenant, or one for each module of tests."""
    kept = [construct() for _ in range(20)]
    for _ in range(20):
        construct().close()
    wait(90)

    assert [] == sink.events()
    for client in kept:
        client.close()


def test_clients_that_are_kept_do_not_churn(sink, ledger, wait):
    """They come and do not go."""
    kept = []
    for _ in range(9):
        kept.append(construct())
        wait(1)

    assert [] == sink.events()
    for client in kept:
        client.close()


def test_clients_that_keep_growing_in_number_are_a_leak(sink, ledger, wait, caplog):
    """Who, how many now and a minute ago, what they cost, what to do; and a minute later again."""
    kept = []
    for _ in range(20):
        kept.append(construct())
        wait(4)

    (event,) = sink.events()
    threads = len(driver_threads())
    assert "mongodb.client.leak" == event.event_name
    assert {
        "mongodb.client.site": SITE,
        "code.file.path": __file__,
        "code.line.number": LINE,
        "code.function.name": "construct",
        "mongodb.client.leak.active": 16,
        "mongodb.client.leak.before": 1,
        "mongodb.client.leak.duration": 60.0,
        "mongodb.client.leak.threads": threads,
        "mongodb.client.leak.sockets": 0,
    } == dict(event.attributes)
    assert (
        f"the clients that {SITE} ({__file__}:{LINE}) constructs keep growing in number: 16 now, 1 a minute ago; "
        f"pymongo has {threads} threads and 0 sockets in this process now. Construct one client and share it, or "
        "close each that is not needed any more"
    ) == event.body
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ("otel_resinstr", f"mongodb.client.leak: {event.body}") == (line.name, line.getMessage())

    for _ in range(20):
        kept.append(construct())
        wait(4)
    assert [16, 31] == [event.attributes["mongodb.client.leak.active"] for event in sink.events()]
    for client in kept:
        client.close()


def test_a_slow_leak_takes_an_hour_to_be_told(sink, ledger, wait):
    """A client that is left behind every few minutes: ten of them are worth a word."""
    kept = []
    for _ in range(13):
        kept.append(construct())
        wait(300)

    (event,) = sink.events()
    assert (13, 1, 3600.0) == tuple(
        event.attributes[f"mongodb.client.leak.{figure}"] for figure in ("active", "before", "duration")
    )
    assert "13 now, 1 an hour ago" in event.body
    for client in kept:
        client.close()


def test_a_service_that_makes_its_clients_at_its_start_does_not_leak(sink, ledger, wait):
    """Five at once, and twenty more in half a minute: then they stay as many."""
    kept = [construct() for _ in range(5)]
    for _ in range(20):
        wait(2)
        kept.append(construct())
    wait(200)

    assert [] == sink.events()
    for client in kept:
        client.close()


def test_clients_that_come_and_go_do_not_leak(sink, ledger, wait):
    """A job has twelve at a time, and again: their number does not rise from one time to the next."""
    for _ in range(30):
        wait(3)
        jobs = [construct() for _ in range(12)]
        wait(6)
        for client in jobs:
            client.close()

    assert [] == sink.events("mongodb.client.leak")


def test_nine_clients_are_no_leak(sink, ledger, wait):
    """However they have come: few services notice 27 threads."""
    kept = []
    for _ in range(9):
        kept.append(construct())
        wait(9)

    assert [] == sink.events()
    for client in kept:
        client.close()


def test_without_a_client_there_is_nothing_to_beat_for(ledger, ticker):
    """The thread is for processes that construct clients."""
    assert [] == ticker.calls
    construct().close()
    construct().close()
    assert 1 == len(ticker.calls)


def test_lines_beyond_those_that_are_watched_are_watched_together(sink, ledger, monkeypatch):
    """Code that is generated at run time must not fill the memory."""
    monkeypatch.setattr(module, "_SITES_WATCHED", 1)
    construct().close()
    for _ in range(2):
        pymongo.MongoClient("db.example", connect=False).close()

    assert {SITE, "_other"} == set(ledger._lines)


def test_a_report_that_is_held_back_is_made_up_for(sink, ledger, wait):
    """Events have a limit of their own: the figures are kept until they can be said."""
    for number in range(_events.BURST):
        ledger._lease.event(semconv.MONGODB_CLIENT_CHURN, "noise", number, {})
    for _ in range(62):
        construct().close()
        wait(1)
    assert _events.BURST == len(sink.events())
    construct().close()
    wait(1)

    assert _events.BURST + 1 == len(sink.events())
    assert 63 == sink.events()[-1].attributes["mongodb.client.churn.created"]
    assert 1 == sink.events()[-1].attributes["resinstr.event.repeated"]


def test_after_it_was_stopped_clients_are_not_asked_about(sink, start):
    """The ledger leaves the clients probe as it was."""
    clients = Clients()
    running = start(clients, Ledger(clients, 3, 10.0))
    running.stop()

    assert clients.life is None
    construct().close()
    assert [] == sink.spans()


# The line to blame, whatever stands between it and the driver. Each application returns its clients.


async def with_motor(server):
    client = motor.motor_asyncio.AsyncIOMotorClient(server.uri)
    await client.admin.command("ping")
    return client.close


async def with_beanie(server):
    class Order(beanie.Document):
        number: int

    await beanie.init_beanie(connection_string=f"{server.uri}/shop", document_models=[Order])
    return Order.get_pymongo_collection().database.client.close


async def with_mongoengine(server):
    mongoengine.connect("shop", host=server.uri, alias="default", uuidRepresentation="standard")
    return mongoengine.disconnect


async def with_mongoengine_at_first_use(server):
    class Order(mongoengine.Document):
        number = mongoengine.IntField()

    mongoengine.register_connection("default", host=server.uri, name="shop", uuidRepresentation="standard")
    Order.objects.first()
    return mongoengine.disconnect


async def with_flask_pymongo(server):
    application = flask.Flask(__name__)
    database = flask_pymongo.PyMongo(application, uri=f"{server.uri}/shop")
    return database.cx.close


async def in_a_view_of_flask(server):
    application, clients = flask.Flask(__name__), []

    @application.get("/")
    def view():
        clients.append(pymongo.MongoClient(server.uri))
        return "done"

    application.test_client().get("/")
    return clients.pop().close


LINES = {
    with_motor: (1, "with_motor"),
    with_beanie: (4, "with_beanie"),
    with_mongoengine: (1, "with_mongoengine"),
    with_mongoengine_at_first_use: (5, "with_mongoengine_at_first_use"),
    with_flask_pymongo: (2, "with_flask_pymongo"),
    in_a_view_of_flask: (5, "view"),
}


@pytest.mark.parametrize("application", LINES, ids=lambda application: application.__name__)
def test_the_line_is_the_applications_whatever_stands_between(server, sink, probes, application):
    """Not motor's, beanie's, mongoengine's, flask-pymongo's or flask's; one client, one line."""

    async def main():
        close = await application(server)
        sites = [site for site, _, _ in sink.collect().points(CREATED)]
        closing = close()
        if inspect.isawaitable(closing):
            await closing
        return sites

    (site,) = asyncio.run(main())

    offset, function = LINES[application]
    place, _, name = site.partition(" ")
    assert f"test_ledger.py:{application.__code__.co_firstlineno + offset}" == place
    assert function == name.rpartition(".")[2]


class Instance:
    """What stands for a client of the driver's: the ledger and the list of clients look at nothing of it."""


def test_c_28_one_hundred_thousand_clients_of_ten_thousand_lines_fill_nothing(sink, ledger, ticker):
    """Clients that are gone leave numbers only, and lines that are too many share theirs: memory has a limit."""
    clients = ledger._clients
    blocks = []
    with suppress_instrumentation():
        for number in range(100_000):
            site = Site(f"/srv/application/module{number % 10_000}.py", 1, "f")
            client = Client("sync", f"tenant{number % 50}.example", site, internal=False)
            instance = Instance()
            clients._constructed(client, instance, None)
            del client, instance
            if number % 20_000 == 19_999:
                ticker.beat()
                gc.collect()
                blocks.append(sys.getallocatedblocks())
    collected = sink.collect()

    assert 100_000 == sum(collected.points(CREATED).values())
    assert 33 == len({site for site, _, _ in collected.points(CREATED)})
    assert 50 == len(collected.points(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT))
    assert 0 == sum(collected.points(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT).values())
    assert 1001 == len(ledger._lines)
    assert ([], []) == (clients.live(), list(clients._lingering))
    # What 80,000 more clients have left behind: less than a block of memory for each sixteen of them.
    assert max(blocks) - blocks[0] < 5000
