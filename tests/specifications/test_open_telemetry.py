# SPDX-License-Identifier: Apache-2.0
"""The cases of the drivers' OpenTelemetry specification, as far as they are about the spans of commands.

https://github.com/mongodb/specifications/tree/master/source/open-telemetry, its unified tests of August 2026. The
specification is for drivers that make spans by themselves: a span for what the application called (operation,
transaction) and in it one for each command. We make the latter, with the names of OpenTelemetry's own conventions.

What a case expects of a command's span, and what is expected here:

=================================  ==================================================================================
of the specification               here
=================================  ==================================================================================
name ``find``                      ``find test``, or ``ping admin`` without a collection: OpenTelemetry's conventions
kind, ``db.system.name``           the same
``db.namespace``                   the same
``db.collection.name``             the same, also for a collection of ``admin``
``db.command.name``                ``db.operation.name``, which OpenTelemetry's conventions have for it
``db.query.summary``               the span's name says it
``db.query.text``                  the same keys, with ``?`` for each value
``db.response.status_code``        the same; and ``error.type``, which OpenTelemetry's conventions want
``exception.*``                    left out: the message may hold values of documents
``server.address``, ``.port``      the same
``network.transport``              for Unix sockets only: where it is left out, it is TCP
``db.mongodb.cursor_id``, others   left out: ids of cursors, sessions and connections
=================================  ==================================================================================

And its cases:

=================================  ==================================================================================
operation/*.yml but for the next   apply: `CASES`
operation/atlas_search             applies, with the error of a server that has no such indexes
operation/find, retries            apply: an attempt that fails and one that does not
operation/find_without_query_text  applies
transaction/*.yml                  the commands in them apply; no span for the transaction
spans of operations                do not apply: we make none, the application's own span is the parent
prose test 1 (switching it on)     does not apply: it is a setting of the driver; OTEL_RESINSTR_DISABLED_PROBES is ours
prose test 2 (query text)          applies, with a setting of ours
=================================  ==================================================================================
"""

from __future__ import annotations

import contextlib
import json

import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.operations import SearchIndexModel

from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.commands import Commands

DATABASE = "specification"


@pytest.fixture
def client(start, server):
    """A client that is watched, with the text of queries; the collection is there, and empty."""
    clients = Clients()
    start(clients, Commands(clients, query_text_length=10_000))
    with pymongo.MongoClient(server.uri) as client:
        with suppress_instrumentation():
            client.drop_database(DATABASE)
            client[DATABASE].create_collection("test")
        yield client
        with suppress_instrumentation():
            client.close()


def bulk_write(client):
    client.bulk_write(
        [
            InsertOne(namespace=f"{DATABASE}.test", document={"_id": 8, "x": 88}),
            UpdateOne(namespace=f"{DATABASE}.test", filter={"_id": 1}, update={"$inc": {"x": 1}}),
            UpdateMany(namespace=f"{DATABASE}.more", filter={"_id": 1}, update={"$inc": {"x": 1}}),
            ReplaceOne(namespace=f"{DATABASE}.more", filter={"_id": 4}, replacement={"x": 44}, upsert=True),
            DeleteOne(namespace=f"{DATABASE}.test", filter={"_id": 5}),
            DeleteMany(namespace=f"{DATABASE}.more", filter={"_id": 6}),
        ]
    )


def search_indexes(client):
    for call in (
        lambda: collection(client).create_search_index(SearchIndexModel({"mappings": {}}, "test index")),
        lambda: collection(client).update_search_index("test index", {}),
        lambda: collection(client).drop_search_index("test index"),
    ):
        with contextlib.suppress(pymongo.errors.OperationFailure):
            call()


def commit(client):
    with client.start_session() as session, session.start_transaction():
        collection(client).insert_one({"_id": 1}, session=session)
    collection(client).find_one({"x": 1})


def abort(client):
    with client.start_session() as session:
        session.start_transaction()
        collection(client).insert_one({"_id": 1}, session=session)
        session.abort_transaction()


def with_transaction(client):
    with client.start_session() as session:
        session.with_transaction(lambda session: collection(client).insert_one({"_id": 1}, session=session))
    collection(client).find_one({"x": 1})


def map_reduce(client):
    client[DATABASE].command(
        "mapReduce", "test", map="function() {}", reduce="function() {}", out={"inline": 1}
    )


def create_and_drop_collection(client):
    client[DATABASE].drop_collection("made")
    client[DATABASE].command("create", "made")


def collection(client):
    return client[DATABASE].test


# What a command of an operation is called, in which namespace, on which collection.
CASES = {
    "aggregate": (
        lambda client: list(collection(client).aggregate([{"$match": {"_id": 1}}])),
        [("aggregate", DATABASE, "test")],
    ),
    "atlas_search": (
        search_indexes,
        [
            ("createSearchIndexes", DATABASE, "test"),
            ("updateSearchIndex", DATABASE, "test"),
            ("dropSearchIndex", DATABASE, "test"),
        ],
    ),
    "bulk_write": (bulk_write, [("bulkWrite", "admin", None)]),
    "count": (lambda client: collection(client).estimated_document_count(), [("count", DATABASE, "test")]),
    "create_collection": (
        create_and_drop_collection,
        [("drop", DATABASE, "made"), ("create", DATABASE, "made")],
    ),
    "create_indexes": (
        lambda client: collection(client).create_index("x"),
        [("createIndexes", DATABASE, "test")],
    ),
    "delete": (
        lambda client: collection(client).delete_many({"_id": {"$gt": 1}}),
        [("delete", DATABASE, "test")],
    ),
    "distinct": (lambda client: collection(client).distinct("x", {}), [("distinct", DATABASE, "test")]),
    "drop_collection": (lambda client: collection(client).drop(), [("drop", DATABASE, "test")]),
    "drop_indexes": (lambda client: collection(client).drop_indexes(), [("dropIndexes", DATABASE, "test")]),
    "find": (lambda client: list(collection(client).find({"x": 1})), [("find", DATABASE, "test")]),
    "find_and_modify": (
        lambda client: collection(client).find_one_and_update({"_id": 1}, {"$inc": {"x": 1}}),
        [("findAndModify", DATABASE, "test")],
    ),
    "insert": (lambda client: collection(client).insert_one({"_id": 1}), [("insert", DATABASE, "test")]),
    "list_collections": (
        lambda client: list(client[DATABASE].list_collections()),
        [("listCollections", DATABASE, None)],
    ),
    "list_databases": (lambda client: list(client.list_databases()), [("listDatabases", "admin", None)]),
    "list_indexes": (
        lambda client: list(collection(client).list_indexes()),
        [("listIndexes", DATABASE, "test")],
    ),
    "map_reduce": (map_reduce, [("mapReduce", DATABASE, "test")]),
    "update": (
        lambda client: collection(client).update_one({"_id": 1}, {"$inc": {"x": 1}}),
        [("update", DATABASE, "test")],
    ),
    "transaction/core_api, commit": (
        commit,
        [("insert", DATABASE, "test"), ("commitTransaction", "admin", None), ("find", DATABASE, "test")],
    ),
    "transaction/core_api, abort": (
        abort,
        [("insert", DATABASE, "test"), ("abortTransaction", "admin", None)],
    ),
    "transaction/convenient": (
        with_transaction,
        [("insert", DATABASE, "test"), ("commitTransaction", "admin", None), ("find", DATABASE, "test")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operation_makes_a_span_for_each_command(case, client, server, sink):
    """In order, within the application's span, and with the attributes of the table above."""
    operation, commands = CASES[case]
    tracer = sink.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("request") as request:
        operation(client)
    *spans, _request = sink.spans()

    assert [
        (f"{name} {target or namespace}", name, namespace, target) for name, namespace, target in commands
    ] == [
        (
            span.name,
            *map(span.attributes.get, ("db.operation.name", "db.namespace", "db.collection.name")),
        )
        for span in spans
    ]
    for span in spans:
        assert (SpanKind.CLIENT, "mongodb", "127.0.0.1", server.port) == (
            span.kind,
            *map(span.attributes.get, ("db.system.name", "server.address", "server.port")),
        )
        assert request.get_span_context().span_id == span.parent.span_id
        assert () == span.events
        assert not {key for key in span.attributes if key.startswith(("exception.", "db.mongodb."))}
        failed = case == "atlas_search"
        assert (failed, failed) == (
            "db.response.status_code" in span.attributes,
            span.status.status_code is StatusCode.ERROR,
        )


@pytest.mark.parametrize("case", ["find", "retries"])
def test_each_attempt_is_a_span(case, client, server, sink):
    """The first has the code of the error, as a string; the second has none."""
    with suppress_instrumentation():
        client.admin.command(
            {
                "configureFailPoint": "failCommand",
                "mode": {"times": 1},
                "data": {"failCommands": ["find"], "errorCode": 89, "errorLabels": ["RetryableWriteError"]},
            }
        )
    list(collection(client).find({"x": 1}))

    assert [("find test", "89", "89"), ("find test", None, None)] == [
        (span.name, *map(span.attributes.get, ("db.response.status_code", "error.type")))
        for span in sink.spans()
    ]


def test_the_text_of_a_command_is_the_command_with_its_values_left_out(client, sink):
    """Prose test 2 and `db.query.text` of the cases: what the driver adds is not in it."""
    list(collection(client).find({"x": 1}))
    text = json.loads(sink.spans()[0].attributes["db.query.text"])

    assert {"find": "test", "filter": {"x": "?"}} == text


def test_by_default_there_is_no_text(start, server, sink):
    """`find_without_query_text`, and prose test 2."""
    clients = Clients()
    start(clients, Commands(clients))
    with pymongo.MongoClient(server.uri) as client:
        list(collection(client).find({"x": 1}))

    assert {None} == {span.attributes.get("db.query.text") for span in sink.spans()}
