# SPDX-License-Identifier: Apache-2.0
"""The demo's server, and what it sees."""

from __future__ import annotations

import pytest

pytest.importorskip("pymongo")

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from otel_resinstr.cli import _mongodb
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._mongodb import Connections, Server, connect, start_server
from otel_resinstr.cli._programs import free_ports


class FakeClient:
    """Answers serverStatus with one value after the other, and the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.admin = self

    def command(self, name):
        assert "serverStatus" == name
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def counted(*currents):
    return [{"connections": {"current": current, "totalCreated": 9}} for current in currents]


def test_the_server_that_is_started_is_asked_how_many_connections_it_sees(mongodb):
    """A client of somebody's shows in both numbers, and leaves the first one when it is closed."""
    server = connect(mongodb)
    try:
        before = server.settled()
        with MongoClient(mongodb) as client:
            client.admin.command("ping")
            during = server.connections()
        after = server.settled()
    finally:
        server.close()

    assert server.description.startswith("SecantusDB ")
    assert during.current > before.current
    assert during.accepted > before.accepted
    assert before.current == after.current


def test_our_own_connections_stay_the_same(mongodb):
    """However often it is asked: what is beyond them is the application's."""
    server = connect(mongodb)
    try:
        before = server.settled()

        assert [before] * 20 == [server.connections() for _ in range(20)]
    finally:
        server.close()


def test_mongodb_is_described_by_its_version():
    """Of SecantusDB, which says of which MongoDB it takes the place, its own is shown."""
    assert "MongoDB 8.0.1" == Server(FakeClient(), {"version": "8.0.1"}).description
    assert (
        "SecantusDB 0.7" == Server(FakeClient(), {"version": "8.2.11", "secantusVersion": "0.7"}).description
    )


@pytest.mark.parametrize("answer", [OperationFailure("not authorized on admin"), {"ok": 1.0}])
def test_a_server_that_does_not_say_is_not_a_server_without_connections(answer):
    """Unknown is not zero."""
    server = Server(FakeClient(answer), {"version": "8"})

    assert (None, None) == (server.connections(), server.settled())


def test_a_server_that_counts_only_the_current_ones():
    """How many there ever were is not known then."""
    assert (
        Connections(3, None)
        == Server(FakeClient({"connections": {"current": 3}}), {"version": "8"}).connections()
    )


def test_settled_waits_until_nothing_changes():
    """Connections of what ran before go one after the other."""
    assert Connections(2, 9) == Server(FakeClient(*counted(5, 3, 3, 3, 2)), {"version": "8"}).settled()


def test_settled_does_not_wait_for_ever():
    """On a server that others use it never stays the same."""
    assert Connections(5, 9) == Server(FakeClient(*counted(5, 4, 3)), {"version": "8"}).settled(within=0)


def test_no_secantusdb_says_how_to_do_without(programs, tmp_path, monkeypatch):
    """It has no wheel for some platforms; any MongoDB will do."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Failure) as raised:
        start_server(programs, tmp_path, beside=tmp_path)

    assert f"SecantusDB is not installed: there is no secantusd-py in {tmp_path}" in raised.value.message
    assert "pip install 'otel-resinstr[demo]'" in raised.value.message
    assert "--mongodb-uri mongodb://HOST:PORT" in raised.value.message


def test_secantusdb_that_does_not_start_says_why(fake, programs, tmp_path):
    """Its last words, and how to do without it."""
    fake("secantusd-py", "raise SystemExit('no WiredTiger here')")

    with pytest.raises(
        Failure, match=r"SecantusDB does not start:\n  \| no WiredTiger here\n.*--mongodb-uri"
    ):
        start_server(programs, tmp_path, beside=tmp_path)


def test_secantusdb_is_awaited_where_it_listens(fake, programs, tmp_path):
    """On loopback, in memory, whatever a settings file elsewhere says."""
    fake(
        "secantusd-py",
        """
        import socket, sys, time
        print(sys.argv[1:], flush=True)
        server = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
        time.sleep(600)
    """,
    )

    uri = start_server(programs, tmp_path, beside=tmp_path)

    settings = tmp_path / "secantusd.toml"
    assert "" == settings.read_text()
    port = uri.rpartition(":")[2]
    assert f"mongodb://127.0.0.1:{port}" == uri
    assert (
        str(["--config", str(settings), "--host", "127.0.0.1", "--port", port, "--storage-path", ":memory:"])
        == (tmp_path / "mongodb.log").read_text().strip()
    )


def test_a_server_that_does_not_answer_is_a_failure_without_its_password(monkeypatch):
    """The message names the address and what to do, and not what is in front of the @."""
    monkeypatch.setattr(_mongodb, "_ANSWERS_WITHIN_MS", 100)
    [port] = free_ports(1)

    with pytest.raises(Failure) as raised:
        connect(f"mongodb://ann:secret@127.0.0.1:{port}/")

    first, second = raised.value.message.splitlines()
    assert first.startswith("no MongoDB answers at the given URI: ServerSelectionTimeoutError: ")
    assert first.endswith("Connection refused")
    assert f"127.0.0.1:{port}" in first
    assert "Start it, or correct --mongodb-uri; without it the demo starts a server of its own." == second


def test_a_file_that_cannot_be_read_is_a_failure(tmp_path):
    """A certificate that the URI names, for example."""
    uri = f"mongodb://127.0.0.1/?tls=true&tlsCAFile={tmp_path / 'nowhere'}"

    with pytest.raises(Failure, match="no MongoDB answers at the given URI: FileNotFoundError: "):
        connect(uri)


def test_a_name_that_does_not_resolve_is_named(monkeypatch):
    """Without a scheme it is a host's name."""
    monkeypatch.setattr(_mongodb, "_ANSWERS_WITHIN_MS", 100)

    with pytest.raises(Failure, match=r"nonsense\.invalid:27017"):
        connect("nonsense.invalid")


@pytest.mark.parametrize("uri", ["http://x", "mongodb://ann:sec/ret@host:x", "mongodb://ann:secret@:x", ""])
def test_what_is_no_uri_is_a_failure_without_its_password(uri):
    """pymongo's own words, without what nobody should read over a shoulder."""
    with pytest.raises(Failure, match="no MongoDB answers at the given URI") as raised:
        connect(uri)

    assert [] == [word for word in ("secret", "sec/ret") if word in raised.value.message]
