# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import gc
import os
import signal
import threading

import pymongo
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind, StatusCode
from pymongo import CursorType, DeleteMany, InsertOne, UpdateOne, WriteConcern, monitoring

import otel_resinstr
from mongo import Relay, eventually
from otel_resinstr import semconv
from otel_resinstr.mongodb import commands as module
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.commands import Commands
from support import Sink, run_python

DURATION = semconv.DB_CLIENT_OPERATION_DURATION

pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")


@pytest.fixture
def watch(start):
    """Start the probe, and what finds the clients."""

    def watch(**options):
        clients = Clients()
        commands = Commands(clients, **options)
        commands.running = start(clients, commands)
        return commands

    return watch


@pytest.fixture
def commands(watch):
    """The probe as it is by default."""
    return watch()


@pytest.fixture
def client(server, commands):
    """A client that is watched."""
    with pymongo.MongoClient(server.uri) as client:
        yield client


@pytest.fixture
def things(client, sink):
    """An empty collection; its making is not in the output."""
    client.shop.things.drop()
    sink._spans.clear()
    return client.shop.things


@pytest.fixture
def fail(server):
    """Let commands fail, or take their time; the server's state is as before afterwards."""
    with pymongo.MongoClient(server.uri) as admin:

        def fail(mode="alwaysOn", **data):
            with suppress_instrumentation():
                admin.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})

        yield fail
        fail("off")


def named(sink):
    return [span.name for span in sink.spans()]


def attributes(span, *without):
    """All of *span*'s but those that *without* names."""
    return {key: value for key, value in span.attributes.items() if key not in without}


def waits(sink):
    return [span.attributes.get("mongodb.pool.wait_time") for span in sink.spans()]


# One command


def test_c_5_a_command_is_a_span_and_a_duration_with_the_names_of_the_conventions(server, sink, things):
    """The whole output for one find: kind, name, the attributes with their types, the parent, the duration."""
    tracer = sink.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("request") as request:
        list(things.find({"name": "kettle"}))
        request_context = request.get_span_context()
    span = sink.spans("find things")[0]

    common = {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.namespace": "shop",
        "db.collection.name": "things",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert common | {
        "network.peer.address": "127.0.0.1",
        "network.peer.port": server.port,
    } == attributes(span, "mongodb.pool.wait_time")
    assert 0 <= span.attributes["mongodb.pool.wait_time"] < 60
    assert (SpanKind.CLIENT, StatusCode.UNSET, (), ()) == (
        span.kind,
        span.status.status_code,
        span.events,
        span.links,
    )
    assert (request_context.trace_id, request_context.span_id) == (span.context.trace_id, span.parent.span_id)
    assert (semconv.SCOPE, semconv.SCHEMA_URL) == (
        span.instrumentation_scope.name,
        span.instrumentation_scope.schema_url,
    )

    points = sink.collect().points(DURATION)
    (count, seconds) = points[tuple(value for _, value in sorted(common.items()))]
    assert (1, True) == (count, 0 < seconds < 60)
    assert 0 < span.end_time - span.start_time < 60e9


def test_the_histogram_has_the_boundaries_of_the_convention(sink, things):
    """https://opentelemetry.io/docs/specs/semconv/database/database-metrics/"""
    things.find_one()
    (metric,) = (metric for metric in sink.collect().metrics if metric.name == DURATION.name)

    assert ("s", (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)) == (
        metric.unit,
        tuple(metric.data.data_points[0].explicit_bounds),
    )


def test_c_2_a_get_more_is_on_the_collection_of_its_cursor(sink, things):
    """What stands behind `getMore` in the command is the cursor's id."""
    things.insert_many([{"_id": number} for number in range(5)])
    list(things.find({}, batch_size=3))

    assert ["insert things", "find things", "getMore things"] == named(sink)
    assert "things" == sink.spans()[-1].attributes["db.collection.name"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ({"dropUser": "alice"}, "dropUser shop"),
        ({"usersInfo": "alice"}, "usersInfo shop"),
        ({"getParameter": "*"}, "getParameter shop"),
        ({"getLog": "global"}, "getLog shop"),
        ({"ping": 1}, "ping shop"),
    ],
)
def test_c_3_only_a_command_on_a_collection_has_one(sink, client, command, name):
    """A user's name is nobody's collection, whether the server accepts the command or not."""
    with contextlib.suppress(pymongo.errors.OperationFailure):
        client.shop.command(command)

    (span,) = sink.spans()
    assert name == span.name
    assert "db.collection.name" not in span.attributes
    assert "alice" not in str(dict(span.attributes)) + str(sink.collect().points(DURATION))


def test_a_cursor_over_a_database_has_no_collection(sink, client):
    """The driver calls it `$cmd.aggregate` or `$cmd.listCollections`."""
    client.shop.things.drop()
    list(client.shop.list_collections())
    list(client.shop.aggregate([{"$documents": [{"_id": number} for number in range(5)]}], batchSize=2))

    assert set() == {span.attributes.get("db.collection.name") for span in sink.spans()} - {None, "things"}
    assert "$cmd" not in "".join(named(sink))


# What fails


def test_c_4_an_error_of_the_server_has_its_code(sink, client):
    """As a string, in both attributes, and the server's name for it; its message may hold values and is left out."""
    with pytest.raises(pymongo.errors.OperationFailure):
        client.shop.command("noSuchCommand")

    (span,) = sink.spans()
    assert ("59", "59") == (span.attributes["error.type"], span.attributes["db.response.status_code"])
    assert (StatusCode.ERROR, "CommandNotFound", ()) == (
        span.status.status_code,
        span.status.description,
        span.events,
    )
    ((key, (count, _)),) = sink.collect().points(DURATION).items()
    assert (1, 2) == (count, key.count("59"))


def test_c_4_a_broken_connection_has_the_class_of_its_error(sink, things, fail):
    """There is no code then; the retry is a command of its own, and succeeds."""
    fail({"times": 1}, failCommands=["find"], closeConnection=True)
    things.find_one()

    broken, retried = sink.spans("find things")
    assert "AutoReconnect" == broken.attributes["error.type"]
    assert "db.response.status_code" not in broken.attributes
    assert (StatusCode.ERROR, None) == (broken.status.status_code, broken.status.description)
    assert (StatusCode.UNSET, None) == (retried.status.status_code, retried.attributes.get("error.type"))
    durations = sink.collect().points(DURATION)
    assert [1] == [count for key, (count, _) in durations.items() if "AutoReconnect" in key]


def test_an_error_that_the_driver_finds_by_itself_is_one(sink, commands, server):
    """Before a write that is not acknowledged it looks whether it may write, and reports as the server would."""
    with pymongo.MongoClient(server.uri, heartbeatFrequencyMS=500) as client:
        client.admin.command("ping")
        (pool,) = (found._pool for found in client._topology._servers.values())
        pool.conns[0].is_writable = False
        with pytest.raises(pymongo.errors.NotPrimaryError):
            client.shop.get_collection("things", write_concern=WriteConcern(w=0)).insert_many([{}])

    assert "10107" == sink.spans("insert things")[0].attributes["error.type"]


@pytest.mark.parametrize("handled", [pymongo.errors.OperationFailure("no"), None])
def test_an_error_without_code_or_class_has_what_is_being_handled(sink, commands, client, handled):
    """A server that answers with a message alone; the driver reports it while it handles its own exception."""
    address = ("db.example", 27017)
    commands.started(client_of(commands), monitoring.CommandStartedEvent({"ping": 1}, "admin", 7, address, 7))
    failed = monitoring.CommandFailedEvent(dt.timedelta(), {"ok": 0, "errmsg": "no"}, "ping", 7, address, 7)
    try:
        if handled is not None:
            raise handled
        commands.failed(failed)
    except pymongo.errors.OperationFailure:
        commands.failed(failed)

    (span,) = sink.spans()
    assert ("_OTHER" if handled is None else "OperationFailure") == span.attributes["error.type"]
    assert "network.peer.address" not in span.attributes  # nobody looked it up


def test_a_write_that_the_server_refuses_in_its_reply_is_a_command_that_succeeded(sink, things):
    """As the driver's events have it: the command was answered, the application gets the error."""
    things.insert_one({"_id": 1})
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        things.insert_one({"_id": 1})

    assert [StatusCode.UNSET] * 2 == [span.status.status_code for span in sink.spans()]


def test_retries_have_a_span_each_and_wait_each(sink, things, fail):
    """The first fails, the second does not; each had a connection of the pool for itself."""
    fail({"times": 1}, failCommands=["find"], errorCode=89, errorLabels=["RetryableWriteError"])
    things.find_one()

    assert ["89", None] == [span.attributes.get("error.type") for span in sink.spans()]
    assert [float, float] == [type(waited) for waited in waits(sink)]


# All kinds of commands


def test_bulk_writes_are_one_span_a_batch_with_its_size(sink, client, things):
    """One is no batch: the conventions want no size then. The batches share a connection: one of them waited."""
    things.bulk_write(
        [
            InsertOne({"x": 1}),
            InsertOne({"x": 2}),
            UpdateOne({"x": 1}, {"$set": {"y": 1}}),
            DeleteMany({"x": 2}),
        ]
    )
    client.bulk_write(
        [
            InsertOne(namespace="shop.things", document={"x": 3}),
            InsertOne(namespace="shop.more", document={"x": 3}),
        ]
    )

    assert [
        ("insert things", 2),
        ("update things", None),
        ("delete things", None),
        ("bulkWrite admin", 2),
    ] == [(span.name, span.attributes.get("db.operation.batch.size")) for span in sink.spans()]
    assert [True, False, False, True] == [waited is not None for waited in waits(sink)]


def test_a_write_that_is_not_acknowledged_is_a_span(sink, commands, things):
    """It ends when it has been sent, without an error and without leaving anything behind."""
    unacknowledged = things.with_options(write_concern=WriteConcern(w=0))
    unacknowledged.insert_one({"_id": 1})
    unacknowledged.insert_many([{"_id": 2}, {"_id": 3}])
    eventually(lambda: things.count_documents({}) == 3)

    assert ["insert things", "insert things"] == named(sink)[:2]
    assert {} == commands._open


def test_an_exhaust_cursor_waits_once(sink, commands, things):
    """Its answers come without being asked for, with no request id, over one connection."""
    things.insert_many([{"_id": number} for number in range(9)])
    assert 9 == len(list(things.find({}, cursor_type=CursorType.EXHAUST, batch_size=2)))

    assert ["find things"] + ["getMore things"] * (len(named(sink)) - 2) == named(sink)[1:]
    assert len(named(sink)) > 5
    assert [True] + [False] * (len(named(sink)) - 2) == [waited is not None for waited in waits(sink)[1:]]
    assert {} == commands._open


def test_two_exhaust_cursors_at_once_are_told_apart(commands, sink, things):
    """The key of an answer that was not asked for is where it comes from."""
    things.insert_many([{"_id": number} for number in range(20)])
    cursors = [things.find({}, cursor_type=CursorType.EXHAUST, batch_size=2) for _ in range(2)]
    for cursor in cursors:
        next(cursor)
    for _ in range(19):
        for cursor in cursors:
            next(cursor)

    assert all(span.end_time and span.status.status_code is StatusCode.UNSET for span in sink.spans())
    assert {} == commands._open
    for cursor in cursors:
        cursor.close()


def test_a_tailable_cursor_waits_in_its_get_more(sink, commands, client):
    """The server holds the answer back: this is time of the command, not of the pool."""
    client.shop.log.drop()
    log = client.shop.create_collection("log", capped=True, size=4096)
    log.insert_one({"_id": 1})
    with log.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(100) as cursor:
        assert 1 == len(list(cursor))

    (waited,) = (span for span in sink.spans() if span.name == "getMore log")
    assert (waited.end_time - waited.start_time) / 1e9 > 0.09
    assert {} == commands._open


def test_the_commands_of_a_transaction_are_spans_in_the_applications_trace(sink, client, things):
    """Each in the current span; the commit is one too."""
    things.insert_one({"_id": 0})
    sink._spans.clear()
    tracer = sink.tracer_provider.get_tracer("application")
    with (
        tracer.start_as_current_span("request") as request,
        client.start_session() as session,
        session.start_transaction(),
    ):
        things.insert_one({"_id": 1}, session=session)
        things.find_one({}, session=session)
    spans = [span for span in sink.spans() if span.name != "request"]

    assert ["insert things", "find things", "commitTransaction admin"] == [span.name for span in spans]
    assert {request.get_span_context().span_id} == {span.parent.span_id for span in spans}


def test_what_the_driver_redacts_is_left_out(sink, commands, client):
    """Commands about users and authentication: neither a span nor a duration; the next one is as always."""
    client.shop.command("createUser", "alice", pwd="hunter2", roles=[])
    client.shop.command("dropUser", "alice")

    assert ["dropUser shop"] == named(sink)
    assert ["dropUser"] == [key[1] for key in sink.collect().points(DURATION)]


def test_the_commands_of_monitors_never_show(sink, server, commands):
    """They check servers all the time; no thread of the application is in it."""
    heartbeats = []

    class Heartbeats(monitoring.ServerHeartbeatListener):
        def started(self, event):
            pass

        def succeeded(self, event):
            heartbeats.append(event)

        def failed(self, event):
            pass

    with pymongo.MongoClient(server.uri, event_listeners=[Heartbeats()], heartbeatFrequencyMS=500):
        eventually(lambda: len(heartbeats) >= 3)

    assert [] == [name for name in named(sink) if not name.startswith("endSessions")]


# How long a command waited for its connection


def test_c_9_a_command_says_what_it_waited_for_its_connection(sink, server, watch, fail):
    """One connection, three commands of half a second at once: they wait 0, 0.5 and 1 s, and take half a second."""
    watch()
    with pymongo.MongoClient(server.uri, maxPoolSize=1) as client:
        client.admin.command("hello")
        fail(failCommands=["ping"], blockConnection=True, blockTimeMS=500)
        threads = [threading.Thread(target=client.admin.command, args=("ping",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans = sorted(sink.spans("ping admin"), key=lambda span: span.start_time)
    durations = [(span.end_time - span.start_time) / 1e9 for span in spans]
    waited = [span.attributes["mongodb.pool.wait_time"] for span in spans]

    assert [True] * 3 == [seconds >= 0.49 for seconds in durations]
    # As long as those before it took, less the moment by which its thread started later.
    assert waited[1] == pytest.approx(durations[0], abs=0.45)
    assert waited[2] == pytest.approx(durations[0] + durations[1], abs=0.45)
    assert waited[0] < 0.45


def test_c_9_of_tasks_too(sink, server, watch, fail):
    """The check-out and the command are in one task, and others run in between."""
    watch()

    async def main():
        async with pymongo.AsyncMongoClient(server.uri, maxPoolSize=1) as client:
            await client.admin.command("hello")
            await asyncio.gather(*(client.admin.command("ping") for _ in range(3)))

    fail(failCommands=["ping"], blockConnection=True, blockTimeMS=300)
    asyncio.run(main())
    spans = sorted(sink.spans("ping admin"), key=lambda span: span.start_time)
    waited = [span.attributes["mongodb.pool.wait_time"] for span in spans]

    assert [True, True] == [waited[1] >= 0.25, waited[2] >= 0.55]
    assert waited[0] < waited[1] < waited[2]


def test_a_wait_that_no_command_followed_is_not_the_next_ones():
    """A check-out may end in an error before the command: what it waited is forgotten when it comes back."""
    seen = []

    def check_out_in_vain():
        commands = Commands(Clients())
        commands.lease = Unguarded()
        commands.checked_out(7.5)
        commands.checked_in()
        seen.append(module._here.get())

    contextvars.copy_context().run(check_out_in_vain)

    assert [None] == seen


class Unguarded:
    """A lease that only calls."""

    ended = False

    def guard(self, function, *args):
        return function(*args)


# Other kinds of clients


def test_async_commands_are_in_the_trace_of_their_task(sink, server, commands):
    """Each task has its own current span."""
    tracer = sink.tracer_provider.get_tracer("application")

    async def request(client, number):
        with tracer.start_as_current_span(f"request {number}"):
            await client.shop.things.find_one({"_id": number})

    async def main():
        async with pymongo.AsyncMongoClient(server.uri) as client:
            await asyncio.gather(*(request(client, number) for number in range(4)))

    asyncio.run(main())
    requests = {span.context.span_id for span in sink.spans() if span.name.startswith("request")}

    assert requests == {span.parent.span_id for span in sink.spans("find things")}
    assert 4 == len(sink.spans("find things"))


def test_motor_commands_are_in_the_trace_of_their_task(sink, server, commands):
    """Motor runs the synchronous driver in threads, with the task's context."""
    tracer = sink.tracer_provider.get_tracer("application")

    async def main():
        client = AsyncIOMotorClient(server.uri)
        with tracer.start_as_current_span("request"):
            await client.shop.things.find_one({})
        client.close()

    asyncio.run(main())
    (request,) = sink.spans("request")
    (find,) = sink.spans("find things")

    assert request.context.span_id == find.parent.span_id
    assert isinstance(find.attributes["mongodb.pool.wait_time"], float)


def test_c_11_over_a_unix_socket_there_is_a_path_and_no_port(sink, commands, server):
    """The path is the server's address and the peer's; the transport is said, since it is not the usual one."""
    with contextlib.closing(Relay(server)) as relay:
        path = str(relay.path)
        with pymongo.MongoClient(f"mongodb://{path.replace('/', '%2F')}/?directConnection=true") as client:
            client.shop.things.find_one()

    (span,) = sink.spans("find things")
    assert {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.namespace": "shop",
        "db.collection.name": "things",
        "server.address": path,
        "network.peer.address": path,
        "network.transport": "unix",
    } == attributes(span, "mongodb.pool.wait_time")
    assert ("things", "shop", "find", "mongodb", path) in sink.collect().points(DURATION)


# The text of a query


def test_c_8_without_the_setting_there_is_no_text_of_a_query(sink, things):
    """Nothing of a document or filter is looked at."""
    things.find_one({"name": "kettle"})

    assert [] == [key for key in sink.spans()[0].attributes if "text" in key or "statement" in key]


def test_c_8_with_the_setting_the_text_is_the_shape_and_bounded(sink, server, watch):
    """16 MB of documents are as long as the setting says, and no value of them is in it."""
    watch(query_text_length=200)
    with pymongo.MongoClient(server.uri) as client:
        client.shop.things.drop()
        client.shop.things.insert_many([{"blob": "secret" * 200_000} for _ in range(13)])
        client.shop.things.find_one({"name": "secret", "price": {"$gt": 30, "$in": [1, 2, 3]}})
    texts = [span.attributes["db.query.text"] for span in sink.spans()]

    assert '{"drop": "things"}' == texts[0]
    assert 200 == len(texts[1])
    assert texts[1].startswith('{"insert": "things", "ordered": "?", ')
    assert texts[2].startswith(
        '{"find": "things", "filter": {"name": "?", "price": {"$gt": "?", "$in": ["?"]}}, "limit": "?", '
    )
    assert "secret" not in "".join(texts)


class Counted(dict):
    """A document that counts how often something is read of it."""

    reads = 0

    def __getitem__(self, key):
        type(self).reads += 1
        return super().__getitem__(key)

    def __iter__(self):
        type(self).reads += 1
        return super().__iter__()

    def get(self, key, default=None):
        type(self).reads += 1
        return super().get(key, default)

    def items(self):
        type(self).reads += 1
        return super().items()


def test_c_27_what_a_command_costs_does_not_depend_on_its_documents(commands, sink, server, client):
    """With 10 documents as many reads of the command as with 10,000, and none of any document."""

    def reads(size):
        documents = [Counted(number=number) for number in range(size)]
        command = Counted(insert="things", ordered=True, documents=documents)
        event = monitoring.CommandStartedEvent(command, "shop", size, ("127.0.0.1", server.port), 1)
        Counted.reads = 0
        commands.started(client_of(commands), event)
        commands.succeeded(
            monitoring.CommandSucceededEvent(
                dt.timedelta(milliseconds=1), {"ok": 1}, "insert", size, ("127.0.0.1", server.port), 1
            )
        )
        return Counted.reads

    assert reads(10) == reads(10_000) <= 3
    assert [10, 10_000] == [
        span.attributes["db.operation.batch.size"] for span in sink.spans("insert things")
    ]


def client_of(commands):
    """The record of the client that is watched."""
    (client,) = commands._clients.live()
    return client


# Old names


OLD = {
    "db.system": "mongodb",
    "db.name": "shop",
    "db.operation": "find",
    "db.mongodb.collection": "things",
    "net.peer.name": "127.0.0.1",
}


def test_old_names_stand_beside_the_new_ones_where_they_are_asked_for(sink, server, watch):
    """On the span only: the histogram never had others."""
    watch(old_names=True, query_text_length=1000)
    with pymongo.MongoClient(server.uri) as client:
        client.shop.things.find_one({"name": "kettle"})
    span = sink.spans("find things")[0]

    assert {**OLD, "net.peer.port": server.port}.items() <= span.attributes.items()
    assert span.attributes["db.query.text"] == span.attributes["db.statement"]
    assert "mongodb" == span.attributes["db.system.name"]
    points = sink.collect().points(DURATION)
    assert ("things", "shop", "find", "mongodb", "127.0.0.1", server.port) in points


def test_an_old_exporter_for_azure_gets_the_old_names_too(sink, server, watch, tmp_path, monkeypatch):
    """Before 1.0.0b58 it knows no other, and shows an unknown dependency."""
    installed = tmp_path / "azure_monitor_opentelemetry_exporter-1.0.0b57.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: azure-monitor-opentelemetry-exporter\nVersion: 1.0.0b57\n")
    monkeypatch.syspath_prepend(tmp_path)
    watch()
    with pymongo.MongoClient(server.uri) as client:
        client.shop.things.find_one()

    assert OLD.items() <= sink.spans("find things")[0].attributes.items()


# Beside other tracers


@pytest.fixture
def contrib(sink):
    """Contrib's instrumentation, which reports to the same place."""
    contrib = PymongoInstrumentor()
    before = list(monitoring._LISTENERS.command_listeners)
    yield lambda: contrib.instrument(tracer_provider=sink.tracer_provider)
    if contrib.is_instrumented_by_opentelemetry:
        contrib.uninstrument()
    # It knows no way back: its listener stays registered, with its first provider.
    monitoring._LISTENERS.command_listeners[:] = before
    contrib._commandtracer_instance = None


def by_scope(sink):
    return [
        span.instrumentation_scope.name.removeprefix("opentelemetry.instrumentation.")
        for span in sink.spans()
    ]


def ping(client):
    client.admin.command("ping")


@pytest.mark.parametrize("first", ["contrib", "ours"])
def test_where_contrib_makes_spans_there_is_one_for_a_command(sink, server, watch, contrib, first):
    """Theirs, in either order of loading; as soon as they are switched off, ours; the durations are always there."""
    for load in (contrib, watch) if first == "contrib" else (watch, contrib):
        load()
    with pymongo.MongoClient(server.uri) as client:
        ping(client)
        PymongoInstrumentor().uninstrument()
        ping(client)
        contrib()
        ping(client)
        pings = sink.collect().points(DURATION)["admin", "ping", "mongodb", "127.0.0.1", server.port]

    assert ["pymongo", "otel_resinstr", "pymongo"] == by_scope(sink)[:3]
    assert 3 == pings[0]


def test_a_client_that_contrib_came_too_late_for_keeps_our_spans(sink, server, watch, contrib):
    """Its listener reaches only the clients that are constructed afterwards: one span for each command of either."""
    watch()
    with pymongo.MongoClient(server.uri) as before:
        contrib()
        with pymongo.MongoClient(server.uri) as after:
            ping(before)
            ping(after)
            assert ["otel_resinstr", "pymongo"] == by_scope(sink)


class Tracing(pymongo.MongoClient):
    """A client of a driver that makes spans, as the drivers' specification has it; no released one does yet."""

    @property
    def options(self):
        options = super().options
        options.tracing = {"enabled": True, "query_text_max_length": 0}
        return options


def test_where_the_driver_makes_spans_ours_stay_off(sink, server, commands):
    """Decided when a client is constructed; durations are there, also of what fails or has no end."""
    with Tracing(server.uri) as client:
        ping(client)
        with pytest.raises(pymongo.errors.OperationFailure):
            client.shop.command("noSuchCommand")
        event = monitoring.CommandStartedEvent({"ping": 1}, "admin", 7, ("127.0.0.1", server.port), 7)
        commands.started(client_of(commands), event)
        commands.running.stop()
    durations = sink.collect().points(DURATION)

    assert [1, 1] == [count for count, _ in durations.values()]
    assert [1] == [count for key, (count, _) in durations.items() if "59" in key]
    assert ([], {}) == (sink.spans(), commands._open)


def test_suppressed_commands_are_not_reported(sink, client):
    """Neither as a span nor as a duration, whether they succeed or fail."""
    with suppress_instrumentation():
        ping(client)
        with pytest.raises(pymongo.errors.OperationFailure):
            client.shop.command("noSuchCommand")

    assert ([], {}) == (sink.spans(), sink.collect().points(DURATION))


class SuppressesHalfway(monitoring.CommandListener):
    """Suppresses instrumentation while a command runs."""

    def started(self, event):
        self.suppression = suppress_instrumentation()
        self.suppression.__enter__()

    def succeeded(self, event):
        self.suppression.__exit__(None, None, None)

    failed = succeeded


def test_c_1_a_command_that_is_suppressed_in_its_middle_ends(sink, server, commands):
    """Contrib forgets to end the span of such a command."""
    with pymongo.MongoClient(server.uri, event_listeners=[SuppressesHalfway()]) as client:
        commands._clients.live()[0].other_tracers = ()
        listeners = client._event_listeners
        name = "_EventListeners__command_listeners"
        setattr(listeners, name, getattr(listeners, name)[::-1])  # ours begins before, and ends while it is
        ping(client)

    assert {} == commands._open
    assert "ping admin" in named(sink)


SENTRY = """
import sys, warnings
warnings.simplefilter("ignore")  # of what Sentry imports
import pymongo, sentry_sdk
from sentry_sdk.integrations.pymongo import PyMongoIntegration
from sentry_sdk.transport import Transport
import otel_resinstr
from support import Sink

class Kept(Transport):
    envelopes = []

    def capture_envelope(self, envelope):
        self.envelopes.append(envelope)

def sentry():
    sentry_sdk.init("http://key@127.0.0.1:1/1", transport=Kept, traces_sample_rate=1.0,
                    default_integrations=False, integrations=[PyMongoIntegration()])

def ours():
    otel_resinstr.instrument(**sink.providers)

sink, uri = Sink(), sys.argv[1]
for load in (sentry, ours) if sys.argv[2] == "sentry" else (ours, sentry):
    load()
with sentry_sdk.start_transaction(name="request"), pymongo.MongoClient(uri) as client:
    print(client.shop.things.find_one({"_id": "none"}))
(transaction,) = (envelope.items[0].payload.json for envelope in Kept.envelopes)
print(len([span for span in transaction["spans"] if span["data"].get("db.operation") == "find"]))
print(len(sink.spans("find things")), len(sink.events()))
otel_resinstr.uninstrument()
"""


@pytest.mark.parametrize("first", ["sentry", "ours"])
def test_sentry_keeps_its_spans_and_we_ours(server, first):
    """Its listener is global too; neither changes what the other sees, or what the application gets."""
    assert "None\n1\n1 0\n" == run_python(SENTRY, server.uri, first)


# The end


def test_c_1_a_command_that_runs_while_the_probe_stops_is_ended(sink, server, watch, fail):
    """One span, ended; nothing is left in the map, and the application's command goes on."""
    commands = watch()
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("hello")
        fail(failCommands=["ping"], blockConnection=True, blockTimeMS=2000)
        results = []
        thread = threading.Thread(target=lambda: results.append(client.admin.command("ping")["ok"]))
        thread.start()
        eventually(lambda: commands._open)
        commands.running.stop()

        assert {} == commands._open
        (span,) = sink.spans("ping admin")
        assert span.end_time is not None
        thread.join()
    assert ([1.0], 1) == (results, len(sink.spans("ping admin")))


def test_a_command_that_begins_while_the_probe_stops_is_ended(sink, commands, server):
    """In the moment between its look at the lease and its entry into the map."""
    with pymongo.MongoClient(server.uri) as client:
        ping(client)
        record = client_of(commands)
        commands.running.stop()
        commands.started(
            record, monitoring.CommandStartedEvent({"ping": 1}, "admin", 7, ("127.0.0.1", server.port), 7)
        )

    assert {} == commands._open
    assert 2 == len(sink.spans("ping admin"))


def test_c_1_the_map_of_commands_is_capped(sink, commands, server, client, monkeypatch):
    """The oldest of too many are ended; a driver that forgets to report the end of commands cannot fill memory."""
    monkeypatch.setattr(module, "_OPEN", 20)
    for number in range(1, 101):
        commands.started(
            client_of(commands),
            monitoring.CommandStartedEvent({"ping": 1}, "admin", number, ("127.0.0.1", server.port), number),
        )

    assert list(range(100 - len(commands._open) + 1, 101)) == list(commands._open)
    assert 18 <= len(commands._open) <= 20
    assert 100 == len(sink.spans()) + len(commands._open)
    commands._end_the_oldest(100)


def test_c_1_a_cancelled_command_is_ended_with_the_reason(sink, server, watch, fail):
    """The driver has no event for it; its span and its duration say that it was cancelled."""
    commands = watch()

    async def main():
        async with pymongo.AsyncMongoClient(server.uri) as client:
            await client.admin.command("hello")
            task = asyncio.create_task(client.admin.command("ping"))
            await asyncio.to_thread(eventually, lambda: commands._open)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    fail(failCommands=["ping"], blockConnection=True, blockTimeMS=2000)
    asyncio.run(main())

    assert {} == commands._open
    (span,) = sink.spans("ping admin")
    assert ("CancelledError", StatusCode.ERROR) == (span.attributes["error.type"], span.status.status_code)
    durations = sink.collect().points(DURATION)
    assert [1] == [count for key, (count, _) in durations.items() if "CancelledError" in key]


class Interrupted(BaseException):
    """What a signal handler raises."""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this platform cannot interrupt a thread")
def test_c_1_a_command_that_is_interrupted_after_one_within_it_is_ended(sink, server, watch, fail):
    """A watchdog's handler uses the database in the middle of a command, and gives up on it the second time."""
    commands = watch()
    opened = []

    def handler(*_signal):
        if opened:
            raise Interrupted
        under_way = len(commands._open)
        other.admin.command("hello")
        opened.extend([under_way, len(commands._open)])

    def watchdog():
        for condition in (lambda: commands._open, lambda: opened):
            eventually(condition)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    with pymongo.MongoClient(server.uri) as client, pymongo.MongoClient(server.uri) as other:
        client.admin.command("buildInfo")
        other.admin.command("buildInfo")
        fail(failCommands=["ping"], blockConnection=True, blockTimeMS=5000)
        before = signal.signal(signal.SIGUSR1, handler)
        thread = threading.Thread(target=watchdog)
        thread.start()
        try:
            with pytest.raises(Interrupted):
                client.admin.command("ping")
        finally:
            thread.join()
            signal.signal(signal.SIGUSR1, before)

    assert [1, 1] == opened
    assert {} == commands._open
    (span,), (within,) = sink.spans("ping admin"), sink.spans("hello admin")
    assert ("Interrupted", None) == (span.attributes["error.type"], within.attributes.get("error.type"))
    assert None not in (
        span.attributes.get("mongodb.pool.wait_time"),
        within.attributes.get("mongodb.pool.wait_time"),
    )


def test_a_connection_that_does_not_come_back_is_nobodys_outer_one(sink, commands, client, things):
    """Cursors that hold theirs for long: what is kept of a thread's uses does not grow with them."""
    things.insert_many([{"_id": number} for number in range(9)])
    cursors = [things.find({}, cursor_type=CursorType.EXHAUST, batch_size=2) for _ in range(5)]
    for cursor in cursors:
        next(cursor)

    assert module._here.get().outer is None
    for cursor in cursors:
        cursor.close()
    assert {} == commands._open


def test_c_6_a_second_provider_receives_the_spans(server, sink):
    """Of what is instrumented again nothing goes to the first one."""
    second = Sink()
    otel_resinstr.instrument(**sink.providers)
    with pymongo.MongoClient(server.uri) as client:
        ping(client)
    otel_resinstr.uninstrument()
    before = len(sink.spans())
    otel_resinstr.instrument(**second.providers)
    with pymongo.MongoClient(server.uri) as client:
        ping(client)
    collected = second.collect().points(DURATION)
    otel_resinstr.uninstrument()

    assert 1 == len(sink.spans("ping admin")) == len(second.spans("ping admin"))
    assert before == len(sink.spans())
    assert ("admin", "ping", "mongodb", "127.0.0.1", server.port) in collected
    second.shutdown()


@pytest.mark.breaks
def test_c_7_a_sampler_that_raises_leaves_the_application_alone(server, capfd):
    """The command succeeds, nothing is printed, and one event says what happened."""

    class Broken(Sampler):
        def should_sample(self, *args, **kwargs):
            raise RuntimeError("sampler")

        def get_description(self):
            return "broken"

    sink = Sink()
    sink.tracer_provider = TracerProvider(sampler=Broken(), shutdown_on_exit=False)
    otel_resinstr.instrument(
        otel_resinstr.Settings(disabled_probes=("mongodb.ledger", "mongodb.lifecycle", "mongodb.pool")),
        **sink.providers,
    )
    with pymongo.MongoClient(server.uri) as client:
        assert [1.0, 1.0] == [client.admin.command("ping")["ok"] for _ in range(2)]
    otel_resinstr.uninstrument()

    assert ["mongodb.commands"] == [event.attributes["resinstr.probe"] for event in sink.events()]
    assert ("", "") == capfd.readouterr()
    sink.shutdown()


def test_c_10_nothing_listens_to_commands_after_the_end(server, sink, watch):
    """The driver makes no events for a client that nobody listens to: it costs as much as before."""
    commands = watch()
    with pymongo.MongoClient(server.uri) as client:
        ping(client)
        listeners = client._event_listeners
        assert (True, True) == (listeners.enabled_for_commands, listeners.enabled_for_cmap)
        commands.running.stop()

        assert (False, False) == (listeners.enabled_for_commands, listeners.enabled_for_cmap)
        ping(client)
    assert 1 == len(sink.spans("ping admin"))


FORK = """
import os, sys, threading, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # of forking beside threads, as servers do
warnings.filterwarnings("ignore", "Unclosed|MongoClient opened before fork")
import pymongo
from mongo import eventually
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.commands import Commands
from support import Sink

sink, clients, uri = Sink(), Clients(), sys.argv[1]
commands = Commands(clients)
running = Running([clients, commands], Telemetry(**sink.providers))
client = pymongo.MongoClient(uri)
client.admin.command("ping")
client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": {
    "failCommands": ["ping"], "blockConnection": True, "blockTimeMS": 2000}})
thread = threading.Thread(target=client.admin.command, args=("ping",))
thread.start()
eventually(lambda: commands._open)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    left = len(commands._open)
    sink._spans.clear()
    client.admin.command("hello")
    os.write(writer, f"{left} {[span.name for span in sink.spans()]}".encode())
    os._exit(0)
os.close(writer)
print(os.fdopen(reader).read())
os.waitpid(child, 0)
thread.join()
print(len(sink.spans("ping admin")), len(sink.spans("hello admin")), len(commands._open))
client.close()
running.stop()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_child_reports_its_own_commands_only(server):
    """A command that runs in another thread while the process is forked is the parent's alone."""
    assert "0 ['hello admin']\n2 0 0\n" == run_python(FORK, server.uri)


def test_a_client_dies_as_it_would_without_us(server, commands):
    """Neither the listener nor the record of its last command keeps it."""
    clients = pymongo.MongoClient._clients
    before = len(clients)
    client = pymongo.MongoClient(server.uri)
    ping(client)
    client.close()
    del client
    gc.collect()

    assert before >= len(clients)
