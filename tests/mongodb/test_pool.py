# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import threading

import pymongo
import pytest
from opentelemetry import context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from mongo import eventually
from otel_resinstr import semconv
from otel_resinstr.mongodb import pool as module
from otel_resinstr.mongodb._connections import PoolState

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
    """Each ping takes half a second."""
    with pymongo.MongoClient(server.uri) as admin:
        admin.admin.command(hold(server, 0.5))
        yield
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
    """One connection, three commands of half a second at once: two wait, for 0.5 and 1 s."""
    with pymongo.MongoClient(server.uri, maxPoolSize=1) as client:
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
        collected = sink.collect()

    (waits,) = collected.points(semconv.DB_CLIENT_CONNECTION_WAIT_TIME).values()
    (uses,) = collected.points(semconv.DB_CLIENT_CONNECTION_USE_TIME).values()
    assert (3, 3) == (waits[0], uses[0])
    assert waits[1] == pytest.approx(1.5, abs=0.4)
    assert uses[1] == pytest.approx(1.5, abs=0.4)


def test_a_wait_that_runs_out_is_a_timeout(server, slow, sink, probes):
    """Only waits that ran out count, and the driver's exception is unchanged."""
    with pymongo.MongoClient(server.uri, maxPoolSize=1, waitQueueTimeoutMS=50) as client:
        thread = threading.Thread(target=client.admin.command, args=("ping",))
        thread.start()
        eventually(lambda: sink.collect().points(COUNT).get((server.pool_name, "used")))
        with pytest.raises(pymongo.errors.WaitQueueTimeoutError):
            client.admin.command("ping")
        thread.join()

    assert {(server.pool_name,): 1} == sink.collect().points(semconv.DB_CLIENT_CONNECTION_TIMEOUTS)


@pytest.mark.skipif(
    pymongo.version_tuple < (4, 13),
    reason="the beta of the asynchronous driver waits on when it is cancelled",
)
def test_a_cancelled_wait_is_no_longer_pending(server, slow, sink, probes):
    """The driver has no event for it: a count of events would drift."""

    async def main():
        client = pymongo.AsyncMongoClient(server.uri, maxPoolSize=1)
        first = asyncio.create_task(client.admin.command("ping"))
        await asyncio.sleep(0.1)
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
