# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from types import SimpleNamespace

import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from pymongo import monitoring

from mongo import connection_in_use, connection_of_async_in_use, eventually
from otel_resinstr import semconv
from otel_resinstr._site import Site
from otel_resinstr.mongodb._listener import PoolListener
from otel_resinstr.mongodb.clients import Client, Clients
from otel_resinstr.mongodb.pool import Pool
from otel_resinstr.mongodb.waits import STAYS, Waits
from support import run_python

FAILURES = semconv.MONGODB_CONNECTION_CHECK_OUT_FAILURES
THRESHOLD = 0.01


@pytest.fixture
def waits(start):
    """The probe, started, with the pool's histograms beside it."""
    clients = Clients()
    waits = Waits(clients, threshold=THRESHOLD)
    start(clients, Pool(clients), waits)
    return waits


def fail_point(server, **data):
    with pymongo.MongoClient(server.uri) as admin:
        mode = data.pop("mode", "alwaysOn")
        admin.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})


@pytest.fixture
def slow(server):
    """Let each ping take so many seconds."""
    point = {"configureFailPoint": "failCommand", "mode": "alwaysOn"}
    data = {"failCommands": ["ping"], "blockConnection": True}
    with pymongo.MongoClient(server.uri) as admin:
        yield lambda seconds: admin.admin.command(
            {**point, "data": {**data, "blockTimeMS": int(seconds * 1000)}}
        )
        admin.admin.command({**point, "mode": "off"})


def seconds(span):
    return (span.end_time - span.start_time) / 1e9


def told(sink, count):
    """The spans of long waits and of those in vain, as soon as there are that many.

    On a machine that is busy a thread may wait for its turn longer than the threshold.
    """

    def found():
        spans = sink.spans("mongodb.connection.wait")
        return [span for span in spans if seconds(span) > 0.3 or "error.type" in span.attributes]

    eventually(lambda: len(found()) >= count)
    assert count == len(found())
    return sorted(found(), key=seconds)


def test_c_9_what_a_request_waits_is_told_apart_from_what_it_does(server, slow, sink, waits):
    """One connection, three requests of a second at once: they wait 0, 1 and 2 s, and work 1 s each."""
    slow(1)
    tracer = sink.tracer_provider.get_tracer("test")
    requests = {}

    def request(client):
        with tracer.start_as_current_span("request") as span:
            client.admin.command("ping")
        requests[span.context.span_id] = span

    with pymongo.MongoClient(server.uri, maxPoolSize=1) as client:
        client.admin.command("hello")
        threads = [threading.Thread(target=request, args=(client,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one, two = told(sink, 2)
        (used,) = sink.collect().points(semconv.DB_CLIENT_CONNECTION_USE_TIME).values()

    assert (
        {
            "db.system.name": "mongodb",
            "db.client.connection.pool.name": server.pool_name,
            "server.address": "127.0.0.1",
            "server.port": server.port,
        }
        == dict(one.attributes)
        == dict(two.attributes)
    )
    assert (SpanKind.INTERNAL, StatusCode.UNSET) == (one.kind, one.status.status_code)
    # Each in the trace of the request that waited, and within it; what is left of the request is the work.
    work = []
    for wait in (one, two):
        whole = requests[wait.parent.span_id]
        assert whole.start_time - 1e6 <= wait.start_time <= wait.end_time <= whole.end_time + 1e6
        work.append(seconds(whole) - seconds(wait))
    assert 0.3 <= seconds(one) < seconds(two)
    assert all(0.9 <= done < seconds(two) for done in work)
    assert seconds(two) - seconds(one) >= 0.4
    assert 2.9 <= used[1]


def test_c_13_a_wait_ends_where_the_use_begins(server, slow, sink, waits):
    """The spans of the waits and the histogram of the use share no time: together they are what a request took."""
    slow(1.5)
    with pymongo.MongoClient(server.uri, maxPoolSize=1) as client:
        client.admin.command("hello")
        begun = time.monotonic()
        thread = threading.Thread(target=client.admin.command, args=("ping",))
        thread.start()
        eventually(
            lambda: 1 == sink.collect().points(semconv.DB_CLIENT_CONNECTION_COUNT)[server.pool_name, "used"]
        )
        client.admin.command("ping")
        thread.join()
        took = time.monotonic() - begun
        (wait,) = told(sink, 1)
        collected = sink.collect()

    (waited,) = collected.points(semconv.DB_CLIENT_CONNECTION_WAIT_TIME).values()
    (used,) = collected.points(semconv.DB_CLIENT_CONNECTION_USE_TIME).values()
    assert seconds(wait) <= waited[1]
    assert seconds(wait) < took - 1.5 + 0.1  # what came after it was all use
    assert 3.0 <= used[1] <= took + 0.5


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_c_9_a_wait_that_runs_out_is_told(server, sink, waits, kind):
    """A span with the class of the error in the request's trace, a point, and an event that says what to do."""
    tracer = sink.tracer_provider.get_tracer("test")
    options = {"maxPoolSize": 1, "waitQueueTimeoutMS": 50}

    def requests():
        with pymongo.MongoClient(server.uri, **options) as client, connection_in_use(client):
            with (
                tracer.start_as_current_span("request") as span,
                pytest.raises(pymongo.errors.WaitQueueTimeoutError),
            ):
                client.admin.command("ping")
            eventually(sink.events)
        return span

    async def requests_async():
        async with (
            pymongo.AsyncMongoClient(server.uri, **options) as client,
            connection_of_async_in_use(client),
        ):
            with (
                tracer.start_as_current_span("request") as span,
                pytest.raises(pymongo.errors.WaitQueueTimeoutError),
            ):
                await client.admin.command("ping")
            await asyncio.to_thread(eventually, sink.events)
        return span

    request = requests() if kind == "sync" else asyncio.run(requests_async())
    (wait,) = told(sink, 1)
    (event,) = sink.events("mongodb.pool.exhausted")

    assert request.context.span_id == wait.parent.span_id
    assert (StatusCode.ERROR, "WaitQueueTimeoutError") == (
        wait.status.status_code,
        wait.attributes["error.type"],
    )
    assert 0.045 <= seconds(wait)
    assert {(server.pool_name, "WaitQueueTimeoutError"): 1} == sink.collect().points(FAILURES)
    assert 1 == event.attributes["mongodb.pool.timeouts"]
    assert 1 == event.attributes["mongodb.pool.max"]
    assert event.attributes["mongodb.pool.wait.p99"] >= 0.045
    assert event.attributes["mongodb.client.site"].startswith("test_waits.py:")
    assert (
        f"1 request got no connection in time at {server.pool_name}, client of test_waits.py:" in event.body
    )
    # All were in use when it ran out, whatever is when it is told.
    assert 1 == event.attributes["mongodb.pool.used"]
    assert "Hold connections for less time" in event.body


def test_c_9_a_connection_that_cannot_be_opened_fails_the_check_out(server, sink, waits):
    """A span and a point with the class of the error that the application sees."""
    uri = server.uri.replace("//", "//user:secret@")
    with pymongo.MongoClient(uri) as client:
        with pytest.raises(pymongo.errors.OperationFailure):
            client.admin.command("ping")
        (wait,) = told(sink, 1)

    assert "OperationFailure" == wait.attributes["error.type"]
    assert {(server.pool_name, "OperationFailure"): 1} == sink.collect().points(FAILURES)
    assert [] == sink.events()


def test_opening_a_connection_is_no_wait(server, sink, waits):
    """A handshake of 0.2 s, longer than the threshold: `mongodb.connection.create` has that time."""
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")
        fail_point(
            server, failCommands=["hello", "ismaster", "isMaster"], blockConnection=True, blockTimeMS=200
        )
        try:
            threads = [threading.Thread(target=client.admin.command, args=("ping",)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            fail_point(server, mode="off")
        waits._look()

    opened = [span for span in sink.spans("mongodb.connection.create") if seconds(span) > 0.15]
    assert opened
    assert [] == [span for span in sink.spans("mongodb.connection.wait") if seconds(span) > 0.15]


def test_suppressed_instrumentation_makes_no_span(server, sink, waits):
    """Exporters suppress instrumentation; the numbers are still right."""
    with (
        pymongo.MongoClient(server.uri, maxPoolSize=1, waitQueueTimeoutMS=50) as client,
        connection_in_use(client),
    ):
        with suppress_instrumentation(), pytest.raises(pymongo.errors.WaitQueueTimeoutError):
            client.admin.command("ping")
        eventually(lambda: sink.events("mongodb.pool.exhausted"))

    assert [] == [span for span in sink.spans("mongodb.connection.wait") if "error.type" in span.attributes]
    assert {(server.pool_name, "WaitQueueTimeoutError"): 1} == sink.collect().points(FAILURES)


ADDRESS = ("db.example", 27017)
SITE = Site("/app/shop.py", 7, "load")


class Story:
    """A client of which the events are told here, and the looks are taken here: no clock, no thread."""

    def __init__(self, start, size=2):
        self.now = 1000.0
        self.pending = None
        self.clients = Clients(self.clock)
        self.waits = Waits(self.clients, THRESHOLD, self.clock)
        self.running = start(self.clients, self.waits)
        self.client = Client("sync", "db.example", SITE, internal=False)
        self.clients._beats = True  # no thread
        self.instance = Instance(self)
        self.clients._constructed(self.client, self.instance, None)
        self.listener = PoolListener(self.clients, self.client)
        self.listener.pool_created(monitoring.PoolCreatedEvent(ADDRESS, {"maxPoolSize": size}))

    def clock(self):
        return self.now

    def open(self, connection_id):
        self.listener.connection_created(monitoring.ConnectionCreatedEvent(ADDRESS, connection_id))
        self.listener.connection_ready(monitoring.ConnectionReadyEvent(ADDRESS, connection_id, 0.0))

    def check_out(self, connection_id, waited):
        self.listener.connection_checked_out(
            monitoring.ConnectionCheckedOutEvent(ADDRESS, connection_id, waited)
        )

    def check_in(self, connection_id):
        self.listener.connection_checked_in(monitoring.ConnectionCheckedInEvent(ADDRESS, connection_id))

    def fail(self, reason, waited=0.5):
        self.listener.connection_check_out_failed(
            monitoring.ConnectionCheckOutFailedEvent(ADDRESS, reason, waited)
        )

    def look(self):
        self.now += 1.0
        self.clients._tell()


class Instance:
    """Stands for the driver's client: what is read of its queue."""

    def __init__(self, story):
        self._story = story

    @property
    def _topology(self):
        if self._story.pending is None:
            return SimpleNamespace(_servers={1: object()})
        queue = SimpleNamespace(_waiters=[None] * self._story.pending)
        none = SimpleNamespace(_waiters=[])
        pool = SimpleNamespace(address=ADDRESS, size_cond=queue, _max_connecting_cond=none)
        return SimpleNamespace(_servers={1: SimpleNamespace(_pool=pool)})


def full(start, **options):
    """A pool of two, both used for a while."""
    story = Story(start, **options)
    for connection_id in (1, 2):
        story.open(connection_id)
        story.check_out(connection_id, 0.0)
    story.now += 10
    return story


def test_waits_that_stay_over_the_threshold_are_an_event(sink, start):
    """Five looks in a row: p99, how many wait, how many there may be, whose client it is, and what to do."""
    story = full(start)
    story.pending = 3
    for _ in range(STAYS):
        assert [] == sink.events()
        story.check_in(2)
        story.check_out(2, 0.25)
        story.look()

    (event,) = sink.events()
    assert "mongodb.pool.exhausted" == event.event_name
    p99 = event.attributes["mongodb.pool.wait.p99"]
    assert p99 == pytest.approx(0.25, rel=0.05)
    assert {
        "db.system.name": "mongodb",
        "db.client.connection.pool.name": "db.example:27017",
        "server.address": "db.example",
        "server.port": 27017,
        "mongodb.client.site": "shop.py:7 load",
        "mongodb.pool.timeouts": 0,
        "mongodb.pool.used": 2,
        "mongodb.pool.max": 2,
        "mongodb.pool.pending": 3,
        "mongodb.pool.wait.p99": p99,
    } == dict(event.attributes)
    assert (
        "requests wait longer than 0.01 s for a connection at db.example:27017, client of shop.py:7 load: "
        f"2 of at most 2 connections in use, 3 waiting now, p99 of the wait {p99:.3g} s. Hold connections for less "
        "time (slow commands, open cursors and transactions), or raise maxPoolSize if the server can take more"
    ) == event.body
    assert STAYS == len(sink.spans("mongodb.connection.wait"))


def test_requests_that_all_wait_are_an_event_though_none_has_got_through(sink, start):
    """Without waitQueueTimeoutMS the driver is silent for ever."""
    story = full(start)
    story.look()
    story.pending = 2
    for _ in range(STAYS):
        assert [] == sink.events()
        story.look()

    (event,) = sink.events()
    assert (2, 2) == (event.attributes["mongodb.pool.pending"], event.attributes["mongodb.pool.used"])


def test_a_burst_is_no_event(sink, start):
    """One look less, again and again."""
    story = full(start)
    for look in range(4 * STAYS):
        story.check_in(2)
        story.check_out(2, 0.25 if look % STAYS else 0.0)
        story.look()

    assert [] == sink.events()
    assert sink.spans("mongodb.connection.wait")


def test_a_busy_pool_in_which_nobody_waits_long_is_no_event(sink, start):
    """All in use and somebody in the queue at each look, but each request gets its connection at once."""
    story = full(start)
    story.pending = 2
    for _ in range(2 * STAYS):
        story.check_in(2)
        story.check_out(2, THRESHOLD)
        story.look()

    assert ([], []) == (sink.events(), sink.spans())


def test_waits_while_the_pool_has_room_are_no_event(sink, start):
    """The driver opens two connections at a time: whoever waits for that waits for a server that is slow."""
    story = full(start, size=9)
    for _ in range(2 * STAYS):
        story.check_in(2)
        story.check_out(2, 0.25)
        story.look()

    assert [] == sink.events()
    assert 2 * STAYS == len(sink.spans())


def test_the_time_in_which_its_connection_was_opened_is_no_wait(sink, start):
    """Only what came before it."""
    story = Story(start)
    story.listener.connection_created(monitoring.ConnectionCreatedEvent(ADDRESS, 1))
    story.now += 3
    story.listener.connection_ready(monitoring.ConnectionReadyEvent(ADDRESS, 1, 3.0))
    story.check_out(1, 3.0)
    story.look()
    assert [] == sink.spans()

    story.listener.connection_created(monitoring.ConnectionCreatedEvent(ADDRESS, 2))
    story.now += 3
    story.listener.connection_ready(monitoring.ConnectionReadyEvent(ADDRESS, 2, 3.0))
    # It has waited for 4 s before the opening began: that lies within the check-out.
    story.check_out(2, 7.0)
    story.look()

    (wait,) = sink.spans()
    assert 4.0 == pytest.approx(seconds(wait), abs=1e-6)


def test_a_connection_that_was_open_before_was_waited_for(sink, start):
    """A first check-out of a connection that somebody else has opened."""
    story = Story(start)
    story.open(1)
    story.now += 60
    story.check_out(1, 2.0)
    story.look()

    (wait,) = sink.spans()
    assert 2.0 == pytest.approx(seconds(wait), abs=1e-6)


def test_a_wait_that_ran_out_while_there_was_room_blames_the_opening(sink, start):
    """To raise maxPoolSize would not help. Events may come in the middle of a pool's life, or of an unlimited one."""
    story = Story(start, size=0)
    story.fail("timeout")
    story.look()

    (event,) = sink.events()
    assert (
        "1 request got no connection in time at db.example:27017, client of shop.py:7 load: 0 of at most any number of "
        "connections in use, p99 of the wait 0.5 s. Connections are slow to open: see the spans "
        "mongodb.connection.create, and the server"
    ) == event.body
    assert {"mongodb.pool.max", "mongodb.pool.pending"} & set(event.attributes) == set()


def test_a_driver_that_does_not_say_how_long_it_took(sink, start):
    """Unknown is no wait; the connection is used all the same."""
    story = Story(start)
    story.open(1)
    story.check_out(1, None)
    story.look()

    assert [] == sink.spans()
    assert 1 == story.client.connections.pool(ADDRESS).used


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("timeout", "WaitQueueTimeoutError"),
        ("connectionError", "AutoReconnect"),
        ("poolClosed", "_PoolClosedError"),
        ("something new", "something new"),
    ],
)
def test_the_class_of_an_error_that_the_driver_is_yet_to_raise(sink, start, reason, error):
    """Not that of an error which the application is handling while it uses the driver."""
    story = Story(start)
    try:
        {}["the application's own"]
    except KeyError:
        story.fail(reason)
    story.look()

    assert {("db.example:27017", error): 1} == sink.collect().points(FAILURES)
    (wait,) = sink.spans()
    assert error == wait.attributes["error.type"]


def test_after_it_was_stopped_nothing_is_told(sink, start):
    """Not even what was noted before."""
    story = full(start)
    story.fail("timeout")
    story.running.stop()
    story.fail("timeout")
    story.look()

    assert ([], [], {}) == (sink.spans(), sink.events(), sink.collect().as_dict())
    assert story.clients.waits is None
    assert () == story.clients._at_each_beat


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_tells_of_itself():
    """What its parent has noted and counted is its parent's."""
    told = run_python("""
        import json, logging, os
        from pymongo import monitoring
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.mongodb._listener import PoolListener
        from otel_resinstr.mongodb.clients import Client, Clients
        from otel_resinstr.mongodb.waits import Waits

        class Instance:
            pass

        logging.disable()
        sink, clients, instance = Sink(), Clients(), Instance()
        clients._beats = True  # looks are taken here
        waits = Waits(clients, 0.01)
        running = Running([clients, waits], Telemetry(**sink.providers))
        client = Client("sync", "db.example", None, internal=False)
        clients._constructed(client, instance, None)
        listener = PoolListener(clients, client)
        fail = lambda: listener.connection_check_out_failed(
            monitoring.ConnectionCheckOutFailedEvent(("db.example", 27017), "timeout", 0.5)
        )

        def state():
            clients._tell()
            counts = sink.collect().points("mongodb.connection.check_out.failures")
            ran_out = [event.attributes["mongodb.pool.timeouts"] for event in sink.events()]
            return [list(counts.values()), len(sink.spans()), ran_out]

        fail()
        fail()
        child = os.fork()
        if not child:
            before = state()
            listener.pool_created(monitoring.PoolCreatedEvent(("db.example", 27017), {}))
            fail()
            print(json.dumps([before, state()]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(json.dumps(state()))
    """)
    child, parent = map(json.loads, told.splitlines())

    assert [[[], 0, []], [[1], 1, [1]]] == child
    assert [[2], 2, [2]] == parent
