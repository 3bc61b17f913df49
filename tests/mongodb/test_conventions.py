# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from otel_resinstr import semconv
from otel_resinstr.mongodb import _conventions
from otel_resinstr.mongodb._conventions import Operations, azure_reads_old_names, collection_of

ADDRESS = ("db.example", 27017)


@pytest.mark.parametrize(
    ("command", "collection"),
    [
        ({"find": "things"}, "things"),
        ({"getMore": 7, "collection": "things"}, "things"),
        ({"getMore": 7, "collection": "$cmd.listCollections"}, None),
        ({"getMore": 7}, None),
        ({"killCursors": "$cmd.aggregate"}, None),
        ({"aggregate": 1}, None),
        ({"find": ""}, None),
        ({"find": b"things"}, None),
        ({"explain": {"find": "things"}}, "things"),
        ({"explain": {"getMore": 7, "collection": "things"}}, "things"),
        ({"explain": {"explain": {"find": "things"}}}, None),
        ({"explain": {}}, None),
        ({"explain": 1}, None),
        ({"dropUser": "alice"}, None),
        ({"renameCollection": "shop.things"}, None),
        ({"getParameter": "*"}, None),
    ],
)
def test_only_what_is_a_collections_name_is_one(command, collection):
    """Read from where each command has it, for the commands that have one."""
    assert collection == collection_of(next(iter(command)), command)


def test_c_28_later_combinations_share_a_series_on_the_metric_but_not_on_the_span(monkeypatch):
    """A tenant may have a database, a day a collection: the first ones keep their series, memory has a limit."""
    monkeypatch.setattr(_conventions, "_SERIES", 3)
    operations = Operations()
    made = [operations.of(ADDRESS, f"tenant{number}", "find", f"day{number}") for number in range(5)]
    again = operations.of(ADDRESS, "tenant0", "find", "day0")
    no_collection = operations.of(ADDRESS, "tenant9", "ping", None)

    assert again is made[0]
    assert ["tenant0", "tenant1", "tenant2", "_other", "_other"] == [
        of.metric[semconv.DB_NAMESPACE] for of in made
    ]
    assert "day4" == made[4].span[semconv.DB_COLLECTION_NAME]
    assert "find day4" == made[4].span_name
    assert {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.namespace": "_other",
        "db.collection.name": "_other",
        "server.address": "db.example",
        "server.port": 27017,
    } == made[4].metric
    assert semconv.DB_COLLECTION_NAME not in no_collection.metric
    assert 3 == len(operations._made)


def test_c_28_so_do_servers_and_commands_beyond_a_hundred(monkeypatch):
    """Also names of commands can be made up."""
    monkeypatch.setattr(_conventions, "_SERIES", 0)
    operations = Operations()
    made = [operations.of((f"db{number}", 1), "shop", f"command{number}", None) for number in range(101)]

    assert ("db99", 1, "command99") == (
        made[99].metric[semconv.SERVER_ADDRESS],
        made[99].metric[semconv.SERVER_PORT],
        made[99].metric[semconv.DB_OPERATION_NAME],
    )
    assert {
        "db.system.name": "mongodb",
        "db.operation.name": "_other",
        "db.namespace": "_other",
        "server.address": "_other",
    } == made[100].metric


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("db.example", 27017), {}),
        (("192.0.2.7", 27017), {"network.peer.address": "192.0.2.7", "network.peer.port": 27017}),
        (("::1", 27018), {"network.peer.address": "::1", "network.peer.port": 27018}),
        (
            ("/run/mongodb.sock", None),
            {"network.peer.address": "/run/mongodb.sock", "network.transport": "unix"},
        ),
    ],
)
def test_the_peer_is_said_where_the_address_says_it(address, peer):
    """A name is not looked up."""
    span = Operations().of(address, "shop", "find", "things").span

    assert peer == {key: value for key, value in span.items() if key.startswith("network.")}


def test_a_command_without_a_database_is_named_by_itself():
    """The driver says so where it does not know."""
    made = Operations(old_names=True).of(ADDRESS, "", "ping", None)

    assert ("ping", None, None) == (made.span_name, made.span.get("db.namespace"), made.span.get("db.name"))


def test_a_batch_is_a_list():
    """What else an application may have put there has no size."""
    insert = Operations().of(ADDRESS, "shop", "insert", "things")

    assert [3, 1, 1] == [
        insert.batch_size(command) for command in ({"documents": [{}, {}, {}]}, {"documents": 7}, {})
    ]
    assert 1 == Operations().of(ADDRESS, "shop", "find", "things").batch_size({"documents": [{}, {}]})


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("1.0.0b57", True),
        ("1.0.0b9", True),
        ("1.0.0b58", False),
        ("1.0.0b100", False),
        ("1.0.0", False),
        (None, False),
    ],
)
def test_which_exporters_for_azure_read_old_names(version, old, tmp_path, monkeypatch):
    """Told by the version that is installed, if any."""
    if version is not None:
        installed = tmp_path / f"azure_monitor_opentelemetry_exporter-{version}.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text(
            f"Name: azure-monitor-opentelemetry-exporter\nVersion: {version}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)

    assert old is azure_reads_old_names()
