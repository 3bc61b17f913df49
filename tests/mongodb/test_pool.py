# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pymongo
import pytest
from opentelemetry import context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from mongo import Relay, Server, connection_in_use, eventually, sockets_to
from otel_resinstr import semconv
from otel_resinstr.mongodb import pool as module
from otel_resinstr.mongodb._connections import PoolState
from support import run_python

COUNT = semconv.DB_CLIENT_CONNECTION_COUNT

pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")


def hold(server, seconds):
    """A fail point: the server takes that long to answer each ping."""
    return {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn" if seconds else "off",
        "data": {"failCommands": ["ping"], "blockConnection": True, "blockTimeMS": int(seconds * 1000)},
    }


@pytest.fixture
def slow(server):
    """Let each ping take so many seconds."""
    with pymongo.MongoClient(server.uri) as admin:
        yield lambda seconds: admin.admin.command(hold(server, seconds))
        admin.admin.command(hold(server, 0))


def test_a_used_and_idle_connection_and_its_times(server, sink, probes):
    """All of the subject's output for one client that ran one command."""
    with pymongo.MongoClient(server.uri, maxPoolSize=7, minPoolSize=0) as client:
        client.admin.command("ping")
        with client.start_session() as session, session.start_transaction():
            list(client.test.things.find(session=session))
            during = sink.collect().points(COUNT)
        collected = sink.collect()
    name = server.pool_name

    assert {(name, "idle"): 1, (name, "used"): 0} == during == collected.points(COUNT)
    assert {(name,): 7} == collected.points(semconv.DB_CLIENT_CONNECTION_MAX)
    assert {(name,): 0} == collected.points(semconv.DB_CLIENT_CONNECTION_IDLE_MIN)
    assert {(name,): 0} == collected.points(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS)
    assert {(name,): 1} == collected.points(semconv.MONGODB_CONNECTION_CREATED)
    assert {} == collected.points(semconv.MONGODB_CONNECTION_CLOSED)
    for metric, count in (
        (semconv.DB_CLIENT_CONNECTION_CREATE_TIME, 1),
        (semconv.DB_CLIENT_CONNECTION_WAIT_TIME, 3),
        (semconv.DB_CLIENT_CONNECTION_USE_TIME, 3),
    ):
        ((key, (recorded, seconds)),) = collected.points(metric).items()
        assert ((name,), True) == (key, recorded >= count - 1)
        assert 0 < seconds < 5

    after = sink.collect()
    assert {(name, "pool_closed"): 1} == after.points(semconv.MONGODB_CONNECTION_CLOSED)
    assert {(name, "idle"): 0, (name, "used"): 0} == after.points(COUNT)
    assert {} == after.points(semconv.DB_CLIENT_CONNECTION_MAX)


def test_waiting_requests_are_pending_and_their_wait_is_measured(server, slow, sink, probes):
    """One connection, three commands of a second at once: two wait, one of them for all of another's second."""
    slow(1)
    with pymongo.MongoClient(server.uri, maxPoolSize=1) as client:
        client.admin.command("buildInfo")  # the connection is open
        begun = time.monotonic()
        threads = [threading.Thread(target=client.admin.command, args=("ping",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        eventually(
            lambda: (
                {(server.pool_name,): 2}
                == sink.collect().points(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS)
            )
        )
        assert 1 == sink.collect().points(COUNT)[server.pool_name, "used"]
        for thread in threads:
            thread.join()
        took = time.monotonic() - begun
        collected = sink.collect()

    (waits,) = collected.points(semconv.DB_CLIENT_CONNECTION_WAIT_TIME).values()
    (uses,) = collected.points(semconv.DB_CLIENT_CONNECTION_USE_TIME).values()
    assert (4, 4) == (waits[0], uses[0])
    assert 1.0 <= waits[1] <= 2 * took
    assert 3.0 <= uses[1] <= took + 0.5


def test_a_wait_that_runs_out_is_a_timeout(server, sink, probes):
    """Only waits that ran out count, and the driver's exception is unchanged."""
    with (
        pymongo.MongoClient(server.uri, maxPoolSize=1, waitQueueTimeoutMS=50) as client,
        connection_in_use(client),
        pytest.raises(pymongo.errors.WaitQueueTimeoutError),
    ):
        client.admin.command("ping")

    assert {(server.pool_name,): 1} == sink.collect().points(semconv.DB_CLIENT_CONNECTION_TIMEOUTS)


@pytest.mark.skipif(
    pymongo.version_tuple < (4, 13),
    reason="the beta of the asynchronous driver waits on when it is cancelled",
)
def test_a_cancelled_wait_is_no_longer_pending(server, slow, sink, probes):
    """The driver has no event for it: a count of events would drift."""
    slow(3)

    def used():
        return sink.collect().points(COUNT).get((server.pool_name, "used"))

    async def main():
        client = pymongo.AsyncMongoClient(server.uri, maxPoolSize=1)
        await client.admin.command("buildInfo")  # the connection is open
        first = asyncio.create_task(client.admin.command("ping"))
        await asyncio.to_thread(eventually, used)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.admin.command("ping"), 0.1)
        during = sink.collect()
        await first
        await client.close()
        return during

    during = asyncio.run(main())

    assert {(server.pool_name,): 0} == during.points(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS)
    assert {(server.pool_name, "idle"): 0, (server.pool_name, "used"): 1} == during.points(COUNT)


def test_pools_of_several_clients_add_up(server, sink, probes):
    """One series a server; without a limit as soon as one of them has none."""
    one = pymongo.MongoClient(server.uri, maxPoolSize=3, minPoolSize=1)
    two = pymongo.MongoClient(server.uri)
    for client in (one, two):
        client.admin.command("ping")
    collected = sink.collect()
    name = server.pool_name

    assert {(name,): 103} == collected.points(semconv.DB_CLIENT_CONNECTION_MAX)
    assert {(name,): 1} == collected.points(semconv.DB_CLIENT_CONNECTION_IDLE_MIN)

    three = pymongo.MongoClient(server.uri, maxPoolSize=0)
    three.admin.command("ping")

    assert {} == sink.collect().points(semconv.DB_CLIENT_CONNECTION_MAX)

    for client in (one, two, three):
        client.close()


def test_a_closed_pool_has_no_size_while_its_last_connection_is_used(server, slow, sink, probes):
    """A client that is closed in the middle of a command: the connection is there until the command is done."""
    slow(2)
    client = pymongo.MongoClient(server.uri)
    client.admin.command("buildInfo")  # a connection that is still being opened would count as used as well
    thread = threading.Thread(target=client.admin.command, args=("ping",))
    thread.start()
    eventually(lambda: sink.collect().points(COUNT).get((server.pool_name, "used")))
    client.close()
    collected = sink.collect()

    assert ({}, 1) == (
        collected.points(semconv.DB_CLIENT_CONNECTION_MAX),
        collected.points(COUNT)[server.pool_name, "used"],
    )
    thread.join()
    assert 0 == sum(sink.collect().points(COUNT).values())


def test_the_connections_of_a_dropped_client_are_closed_as_dropped(server, sink, probes):
    """The driver has no event for that; the application's mistake is in the numbers all the same."""
    for _ in range(3):
        pymongo.MongoClient(server.uri).admin.command("ping")
    gc.collect()
    collected = sink.collect()

    assert {(server.pool_name,): 3} == collected.points(semconv.MONGODB_CONNECTION_CREATED)
    assert {(server.pool_name, "dropped"): 3} == collected.points(semconv.MONGODB_CONNECTION_CLOSED)
    assert 0 == sum(collected.points(COUNT).values())


def test_opening_a_connection_is_a_span_of_the_request_that_did_it(server, sink, probes):
    """CLIENT, child of the current span, with the server's address."""
    tracer = sink.tracer_provider.get_tracer("test")
    with pymongo.MongoClient(server.uri) as client, tracer.start_as_current_span("request") as request:
        client.admin.command("ping")
        client.admin.command("ping")

    (span,) = sink.spans("mongodb.connection.create")
    assert (SpanKind.CLIENT, StatusCode.UNSET) == (span.kind, span.status.status_code)
    assert request.get_span_context().span_id == span.parent.span_id
    assert {
        "db.system.name": "mongodb",
        "db.client.connection.pool.name": server.pool_name,
        "server.address": "127.0.0.1",
        "server.port": server.port,
    } == dict(span.attributes)


def test_a_connection_that_cannot_be_opened_is_a_span_with_the_errors_class(server, sink, probes):
    """The server knows no such user."""
    uri = server.uri.replace("//", "//user:secret@")
    with pymongo.MongoClient(uri) as client, pytest.raises(pymongo.errors.OperationFailure):
        client.admin.command("ping")

    span = sink.spans("mongodb.connection.create")[0]
    assert StatusCode.ERROR is span.status.status_code
    assert "OperationFailure" == span.attributes["error.type"]
    assert "secret" not in span.to_json()
    collected = sink.collect()
    assert {} == collected.points(semconv.DB_CLIENT_CONNECTION_CREATE_TIME)
    created = collected.points(semconv.MONGODB_CONNECTION_CREATED)[server.pool_name,]
    assert {(server.pool_name, "error"): created} == collected.points(semconv.MONGODB_CONNECTION_CLOSED)


def test_a_failure_that_nobody_is_handling_has_no_class(sink, probes):
    """A driver that makes the event outside of its handler."""
    pool = PoolState(("/tmp/mongodb.sock", None))
    probes.pool.opened(pool, probes.pool.opening(pool), 0.1, failed=True)

    (span,) = sink.spans()
    assert "_OTHER" == span.attributes["error.type"]
    assert ("/tmp/mongodb.sock", None) == (
        span.attributes["server.address"],
        span.attributes.get("server.port"),
    )


def test_suppressed_instrumentation_makes_no_span(server, sink, probes):
    """Exporters suppress instrumentation; the numbers are still right."""
    with pymongo.MongoClient(server.uri) as client, suppress_instrumentation():
        client.admin.command("ping")
        assert context.get_current()

    assert [] == sink.spans("mongodb.connection.create")
    assert {(server.pool_name,): 1} == sink.collect().points(semconv.MONGODB_CONNECTION_CREATED)


def test_a_driver_that_hides_its_queue_has_no_pending_requests(server, sink, probes, monkeypatch):
    """The private attributes are gone: the point is absent, not zero."""
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")
        monkeypatch.setattr(module._driver, "pending", lambda _client: None)

        assert {} == sink.collect().points(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS)


def test_after_it_was_stopped_clients_go_on_without_it(server, sink, probes):
    """The client's listener stays, and does nothing."""
    with pymongo.MongoClient(server.uri) as client:
        probes.running.stop()
        client.admin.command("ping")

    assert [] == sink.spans("mongodb.connection.create")
    assert probes.clients.pool is None


def test_a_failure_while_the_application_handles_another_has_the_drivers_class(server, sink, probes):
    """Not the application's; and what the server has answered to a wrong password."""
    uri = server.uri.replace("//", "//user:secret@")
    with pymongo.MongoClient(uri) as client:
        try:
            {}["the application's own"]
        except KeyError:
            with pytest.raises(pymongo.errors.OperationFailure):
                client.admin.command("ping")

    span = sink.spans("mongodb.connection.create")[0]
    assert ("OperationFailure", "18") == (
        span.attributes["error.type"],
        span.attributes["db.response.status_code"],
    )


def held(server, sink):
    """How many sockets the process has to the server, as soon as what is told and what the kernel says are the same."""

    def same():
        told = sum(sink.collect().points(semconv.MONGODB_CLIENT_SOCKET_COUNT).values())
        return (told,) if told == sockets_to(server.port) else None

    return eventually(same)[0]


def settle(server, sink, sockets):
    """Until the process has so many: the driver's monitors come and go in their own time."""
    eventually(lambda: held(server, sink) == sockets)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for this machine, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = "openssl req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*made.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True)
    return certificate, key


def test_a_pool_with_tls(certificate, sink, probes):
    """Its connections are there; where the server is not trusted none is, and nothing is left."""
    own, key = certificate
    server = Server("--tls-cert-file", own, "--tls-key-file", key)
    try:
        uri = f"{server.uri}/?tls=true"
        with pymongo.MongoClient(uri, tlsCAFile=str(own)) as client:
            client.admin.command("ping")
            settle(server, sink, 3)
            assert {(server.pool_name, "idle"): 1, (server.pool_name, "used"): 0} == sink.collect().points(
                COUNT
            )
        settle(server, sink, 0)
        with (
            pymongo.MongoClient(uri, serverSelectionTimeoutMS=300) as client,
            pytest.raises(pymongo.errors.ServerSelectionTimeoutError, match="certificate verify failed"),
        ):
            client.admin.command("ping")
        settle(server, sink, 0)
    finally:
        server.stop()
    collected = sink.collect()

    assert {(server.pool_name, "idle"): 0, (server.pool_name, "used"): 0} == collected.points(COUNT)
    assert {(server.pool_name, "pool_closed"): 1} == collected.points(semconv.MONGODB_CONNECTION_CLOSED)


def test_a_pool_with_authentication(server, sink, probes):
    """Connections of a user who may are idle; of one who may not each is closed with an error."""
    with pymongo.MongoClient(server.uri) as admin:
        admin.admin.command("createUser", "ann", pwd="secret", roles=["root"])
        try:
            right, wrong = (
                server.uri.replace("//", f"//ann:{password}@") for password in ("secret", "wrong")
            )
            with pymongo.MongoClient(right) as client:
                client.test.things.find_one()
                settle(server, sink, 6)
                with pymongo.MongoClient(wrong) as other, pytest.raises(pymongo.errors.OperationFailure):
                    other.test.things.find_one()
                settle(server, sink, 6)
                collected = sink.collect()
        finally:
            admin.admin.command("dropUser", "ann")

    assert {(server.pool_name, "idle"): 2, (server.pool_name, "used"): 0} == collected.points(COUNT)
    errors = [span for span in sink.spans("mongodb.connection.create") if "error.type" in span.attributes]
    assert len(errors) == collected.points(semconv.MONGODB_CONNECTION_CLOSED)[server.pool_name, "error"]
    assert {("OperationFailure", "18")} == {
        (span.attributes["error.type"], span.attributes["db.response.status_code"]) for span in errors
    }
    assert "secret" not in "".join(span.to_json() for span in sink.spans())


def test_a_seed_that_its_replica_set_knows_by_another_name(server, sink, probes):
    """The pool is that of the member; the seed's is gone, but for a socket that some drivers forget to close."""
    with pymongo.MongoClient(f"mongodb://localhost:{server.port}/?replicaSet=secantus") as client:
        client.admin.command("ping")
        eventually(lambda: held(server, sink) in (3, 4))
        collected = sink.collect()

    assert {(server.pool_name, "idle"): 1, (server.pool_name, "used"): 0} == collected.points(COUNT)
    assert {(server.pool_name,): 100} == collected.points(semconv.DB_CLIENT_CONNECTION_MAX)
    assert {(server.pool_name,): 0} == collected.points(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS)
    del client
    gc.collect()
    settle(server, sink, 0)


def test_a_pool_at_a_unix_socket(server, sink, probes):
    """Named by its path, and without a port."""
    relay = Relay(server)
    try:
        uri = f"mongodb://{str(relay.path).replace('/', '%2F')}/?directConnection=true"
        with pymongo.MongoClient(uri) as client:
            client.admin.command("ping")
            sockets = {("monitor", str(relay.path)): 2, ("pool", str(relay.path)): 1}
            eventually(lambda: sockets == sink.collect().points(semconv.MONGODB_CLIENT_SOCKET_COUNT))
            collected = sink.collect()
    finally:
        relay.close()

    assert {(str(relay.path), "idle"): 1, (str(relay.path), "used"): 0} == collected.points(COUNT)
    (span,) = sink.spans("mongodb.connection.create")
    assert {
        "db.system.name": "mongodb",
        "db.client.connection.pool.name": str(relay.path),
        "server.address": str(relay.path),
    } == dict(span.attributes)


def test_c_14_the_count_is_that_of_the_kernel_whatever_happens(server, sink, probes):
    """Sessions, cursors, threads, pools of their own: connections are counted, not what is done with them."""
    clients = [pymongo.MongoClient(server.uri, maxPoolSize=size) for size in (1, 3, 10)]

    def work(client):
        with client.start_session() as session:
            client.test.things.insert_many([{} for _ in range(5)], session=session)
            cursor = client.test.things.find(batch_size=2, session=session)
            next(cursor)
            cursor.close()

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(client,)) for client in clients for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: held(server, sink) - sum(sink.collect().points(COUNT).values()) == 6)
        points = sink.collect().points(COUNT)
        assert 0 == points[server.pool_name, "used"]
        assert 3 <= points[server.pool_name, "idle"] <= 1 + 3 + 4
    for client in clients:
        client.close()
    eventually(lambda: 0 == sockets_to(server.port))
    assert 0 == sum(sink.collect().points(COUNT).values())


def test_c_15_dropped_clients_are_not_counted_and_their_series_stay_few(server, sink, probes):
    """A subtraction of events would count each for ever; a tag for each client would make as many series."""
    before = None
    for _ in range(3):
        for _ in range(3):  # fewer than are told of as churn
            pymongo.MongoClient(server.uri).admin.command("ping")
        gc.collect()
        eventually(lambda: 0 == sockets_to(server.port))
        collected = sink.collect()
        assert 0 == sum(collected.points(COUNT).values())
        points = {name: set(values) for name, values in collected.as_dict().items()}
        assert before in (None, points)
        before = points


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_holds_what_another_thread_used(server):
    """The thread that would close it is not there: the kernel has the socket, and so has the count."""
    told = run_python(f"""
        import gc, json, os, threading, warnings
        warnings.simplefilter("ignore")
        import pymongo
        from mongo import eventually, sockets_to
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.mongodb.clients import Clients
        from otel_resinstr.mongodb.pool import Pool

        sink, clients = Sink(), Clients()
        running = Running([clients, Pool(clients)], Telemetry(**sink.providers))
        client = pymongo.MongoClient({server.uri!r})
        client.admin.command("ping")
        fail = lambda mode, **data: client.admin.command(
            {{"configureFailPoint": "failCommand", "mode": mode, "data": data}}
        )
        fail("alwaysOn", failCommands=["ping"], blockConnection=True, blockTimeMS=3000)

        def used():
            return sum(
                count for (_, state), count in sink.collect().points("db.client.connection.count").items()
                if state == "used"
            )

        thread = threading.Thread(target=client.admin.command, args=("ping",))
        thread.start()
        eventually(used)
        child = os.fork()
        if not child:
            gc.collect()  # the driver leaves the parent's pool to the collector

            def agreed():
                told = sum(sink.collect().points("mongodb.client.socket.count").values())
                return told == sockets_to({server.port})

            before = used(), bool(eventually(agreed))
            fail("off")  # a connection of its own
            print(json.dumps([before, used(), bool(eventually(agreed))]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        thread.join()
        client.close()
        print(used())
    """)
    child, parent = map(json.loads, told.splitlines())

    assert [[1, True], 1, True] == child
    assert 0 == parent


def test_c_10_after_it_was_stopped_commands_cost_nothing(server, sink, probes):
    """No line of ours runs; counted in calls, since time depends on the machine."""

    def calls_of_ours(client):
        calls = []

        def watch(frame, event, _argument):
            if event == "call" and "otel_resinstr" in frame.f_code.co_filename:
                calls.append(frame.f_code.co_name)

        sys.setprofile(watch)
        try:
            client.admin.command("ping")
        finally:
            sys.setprofile(None)
        return calls

    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")
        assert "connection_checked_out" in calls_of_ours(client)
        probes.running.stop()

        assert [] == calls_of_ours(client)


def test_c_25_a_collection_reads_no_more_than_there_is(server, sink, probes):
    """No scan of the system, no command to the server: what is collected of 200 clients is read from memory."""
    clients = [pymongo.MongoClient(server.uri, connect=False) for _ in range(200)]
    collected = sink.collect()
    begun = time.process_time()
    for _ in range(5):
        sink.collect()
    took = (time.process_time() - begun) / 5

    assert {("sync", "127.0.0.1"): 200} == collected.points(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT)
    # The SDK holds its lock for as long: 5 ms is the aim, on a machine that is ten times slower.
    assert took < 0.05
    for client in clients:
        client.close()
