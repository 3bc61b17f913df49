# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import pymongo
import pytest
from pymongo.monitoring import CommandListener

from mongo import driver_threads, eventually, sockets_to
from otel_resinstr import semconv
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool
from otel_resinstr.mongodb.server import Server
from support import TickerByHand, own_threads, run_python

COUNT = semconv.MONGODB_SERVER_CONNECTION_COUNT
CREATED = semconv.MONGODB_SERVER_CONNECTION_CREATED
HERE = "127.0.0.1"


class Asked(CommandListener):
    """What an application's own listener sees of it, and where."""

    def __init__(self):
        self.threads = []
        self.failures = []

    def started(self, event):
        if event.command_name == "serverStatus":
            self.threads.append(threading.current_thread())

    def succeeded(self, event):
        pass

    def failed(self, event):
        self.failures.append(event.command_name)


class Watch:
    """The probe, which asks when the test says so."""

    def __init__(self, sink, **options):
        self.ticker = TickerByHand()
        self.clients = Clients()
        self.probe = Server(self.clients, **{"interval": 60.0, "timeout": 20.0, **options})
        probes = [self.clients, Pool(self.clients), Ledger(self.clients, 10, 60.0), self.probe]
        self.running = Running(probes, Telemetry(**sink.providers, ticker=self.ticker))

    def begin(self):
        self.probe._begin()
        return self.probe._question

    def ask(self):
        question = self.begin()
        if question is not None:
            question.join(30)
            assert not question.is_alive()


@pytest.fixture
def watch(sink):
    watch = Watch(sink)
    yield watch
    watch.running.stop()


@contextmanager
def client_of(server, **options):
    """A client that has an idle connection."""
    with pymongo.MongoClient(server.uri, **options) as client:
        client.admin.command("ping")
        yield client


@contextmanager
def failing(server, **data):
    """The server lets serverStatus fail."""
    with pymongo.MongoClient(server.uri) as client:
        point = {"configureFailPoint": "failCommand"}
        client.admin.command(
            {**point, "mode": "alwaysOn", "data": {"failCommands": ["serverStatus"], **data}}
        )
        try:
            yield
        finally:
            client.admin.command({**point, "mode": "off"})


def test_it_says_what_the_server_says(server, sink, watch):
    """As many connections as the kernel has sockets, and as many accepted as were opened meanwhile."""
    eventually(lambda: not driver_threads())
    with client_of(server) as client:

        def agreed(sockets):
            watch.ask()
            said = sink.collect().points(COUNT).get(("current", HERE))
            return said == sockets_to(server.port) == sockets

        eventually(lambda: agreed(3))
        accepted, told = status(client)["totalCreated"], sink.collect().points(CREATED)[HERE,]
        with client_of(server), client_of(server):
            eventually(lambda: agreed(9))
            more = status(client)["totalCreated"] - accepted

            assert more == sink.collect().points(CREATED)[HERE,] - told == 6
            expected = {
                state: count for state, count in status(client).items() if state in {"current", "available"}
            }
            assert {(state, HERE): count for state, count in expected.items()} == sink.collect().points(COUNT)


def status(client):
    return client.admin.command("serverStatus")["connections"]


def test_there_is_no_telemetry_about_itself(server, sink, watch):
    """No span, no duration, no use of a connection; nor does it open one."""
    with client_of(server) as client:
        before = sink.collect().as_dict()
        spans = len(sink.spans())
        watch.ask()
        after = sink.collect().as_dict()
        asked = {name: after.pop(name) for name in (COUNT.name, CREATED.name)}
        for settled in (before, after):
            del settled["mongodb.client.socket.count"]  # monitors may still be connecting

        assert before == after
        assert spans == len(sink.spans())
        assert {(HERE,): 0} == asked[CREATED.name]
        client.admin.command("ping")


def test_it_is_asked_by_a_thread_that_ends_with_the_answer(server, watch):
    """Not by the application's threads, nor by the one that watches the event loops."""
    asked = Asked()
    with client_of(server, event_listeners=[asked]):
        watch.ask()
        watch.ask()

    assert 2 == len({id(thread) for thread in asked.threads})
    assert [("resinstr", True, False)] * 2 == [
        (thread.name, thread.daemon, thread.is_alive()) for thread in asked.threads
    ]


def test_without_an_interval_nothing_is_asked(server, sink):
    """It has to be asked for."""
    watch, asked = Watch(sink, interval=None), Asked()
    with client_of(server, event_listeners=[asked]):
        assert {} == sink.collect().points(COUNT)
    watch.running.stop()

    assert ([], []) == (asked.threads, own_threads())


def test_by_itself_it_asks_once_an_interval(server, sink, start):
    """On the package's own clock."""
    clients, asked = Clients(), Asked()
    start(clients, Server(clients, interval=0.05))
    with client_of(server, event_listeners=[asked]):
        eventually(lambda: 2 <= len(asked.threads))
        eventually(lambda: sink.collect().points(COUNT))


def test_each_server_is_asked_through_one_client(server, watch):
    """However many clients there are."""
    asked = Asked()
    with client_of(server, event_listeners=[asked]), client_of(server, event_listeners=[asked]):
        watch.ask()

    assert 1 == len(asked.threads)


def test_without_the_privilege_it_says_so_once_and_stops(server, sink, watch, caplog):
    """What to grant, or what to leave unset."""
    asked = Asked()
    with client_of(server, event_listeners=[asked]), failing(server, errorCode=13):
        for _ in range(3):
            watch.ask()

        assert {} == sink.collect().points(COUNT)
    assert 1 == len(asked.threads)
    assert [
        (
            f"the server at {HERE} does not answer serverStatus to this application (error 13) and is not asked again; "
            "mongodb.server.connection.count is absent. Grant its user the role clusterMonitor, or leave "
            "OTEL_RESINSTR_MONGODB_SERVER_INTERVAL unset"
        )
    ] == caplog.messages


def test_an_error_that_may_pass_is_no_reason_to_stop(server, sink, watch, caplog):
    """Meanwhile the count is absent, not what it was."""
    with client_of(server):
        watch.ask()
        with failing(server, errorCode=262):  # ExceededTimeLimit
            watch.ask()
            assert {} == sink.collect().points(COUNT)
        watch.ask()

        assert ("current", HERE) in sink.collect().points(COUNT)
    assert [] == caplog.messages


def test_a_server_that_does_not_answer_is_not_waited_for(server, sink):
    """The question has a time; a second one is not put beside it, and the application goes on."""
    watch, asked = Watch(sink, timeout=0.3), Asked()
    with (
        client_of(server, event_listeners=[asked]) as client,
        failing(server, blockConnection=True, blockTimeMS=3000),
    ):
        question = watch.begin()
        assert question is watch.begin()
        client.admin.command("ping")
        question.join(20)

        assert {} == sink.collect().points(COUNT)
        assert ["serverStatus"] == asked.failures
    watch.running.stop()


def test_a_client_that_is_not_used_is_not_asked_through(server, sink, watch):
    """It would begin to watch its servers; nor is one whose connections are all used, or one that was closed."""
    asked = Asked()
    lazy = pymongo.MongoClient(server.uri, connect=False, event_listeners=[asked])
    with client_of(server, event_listeners=[asked]) as closed:
        pass
    with client_of(server, maxPoolSize=1, event_listeners=[asked]) as busy:
        busy.shop.numbers.insert_many([{} for _ in range(3)])
        with busy.shop.numbers.find(batch_size=1, cursor_type=pymongo.CursorType.EXHAUST) as cursor:
            next(cursor)
            watch.ask()
        busy.shop.drop_collection("numbers")
    del closed

    assert [] == asked.threads
    assert {} == sink.collect().points(COUNT)
    lazy.close()


def test_a_client_that_is_gone_before_it_is_asked(server, watch):
    """Its last reference went in between: nothing is kept for the question."""
    with client_of(server) as client:
        chosen = watch.probe._choose()[HERE]
    chosen.ref = lambda: None

    assert watch.probe._answer(HERE, chosen) is None
    del client


def test_asynchronous_clients_are_not_asked_through_and_it_is_said_once(server, sink, watch, caplog):
    """They belong to the application's event loop."""

    async def main():
        async with pymongo.AsyncMongoClient(server.uri) as client:
            await client.admin.command("ping")
            watch.ask()
            watch.ask()

    asyncio.run(main())

    assert [
        (
            f"the server at {HERE} cannot be asked for serverStatus: all clients of it are "
            "asynchronous ones, which can be used in their own event loop only; mongodb.server.connection.count is "
            "absent until there is a synchronous one"
        )
    ] == caplog.messages
    assert {} == sink.collect().points(COUNT)


def test_a_server_that_restarts_or_changes_does_not_make_the_counter_go_down(sink, watch):
    """Another process counts from another beginning; what it has accepted before is not known."""
    from otel_resinstr.mongodb.server import _Answer

    for process, created in (("a", 100), ("a", 107), ("b", 3), ("b", 5), ("b", 4), ("c", None)):
        connections = {} if created is None else {"totalCreated": created}
        watch.probe._count_created("db.example", _Answer(process, connections))

    assert {("db.example",): 9} == sink.collect().points(CREATED)


def test_where_no_thread_is_to_be_had_the_count_is_absent(server, sink, watch, monkeypatch):
    """And it is tried again."""

    def no_thread(_self):
        raise RuntimeError("can't start new thread")

    with client_of(server):
        watch.ask()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            watch.ask()
        assert {} == sink.collect().points(COUNT)
        watch.ask()
        assert sink.collect().points(COUNT)


def test_after_it_was_stopped_nothing_is_asked(server, sink, watch):
    """Its thread has ended, and so has its call."""
    asked = Asked()
    with client_of(server, event_listeners=[asked]):
        watch.begin()
        watch.running.stop()
        asked_until_then = len(asked.threads)

        assert [] == own_threads()
        assert {} == sink.collect().points(COUNT)
        watch.ticker.beat()
    assert asked_until_then == len(asked.threads)


FORK = """
import json, os, warnings
import pymongo
from mongo import eventually
from support import Sink
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.server import Server

warnings.simplefilter("ignore")
sink, clients = Sink(), Clients()
running = Running([clients, Server(clients, interval=0.05)], Telemetry(**sink.providers))
uri = os.environ["URI"]

def state():
    collected = sink.collect()
    names = "mongodb.server.connection.count", "mongodb.server.connection.created"
    counts, created = map(collected.points, names)
    return sorted(counts), created

client = pymongo.MongoClient(uri)
client.admin.command("ping")
eventually(lambda: state()[0])
with pymongo.MongoClient(uri) as other:
    other.admin.command("ping")
    eventually(lambda: state()[1]["127.0.0.1",] >= 1)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    at_first = state()[0]
    client.admin.command("ping")
    eventually(lambda: state()[0])
    os.write(writer, json.dumps([at_first, state()[0]]).encode())
    running.stop()
    os._exit(0)
os.close(writer)
print(os.fdopen(reader).read())
os.waitpid(child, 0)
eventually(lambda: state()[0])
running.stop()
client.close()
"""


@pytest.mark.filterwarnings("ignore")
def test_a_forked_child_asks_for_itself(server):
    """Its parent's answers are not its own, and it has none before it uses a client of its own."""
    states = [["available", HERE], ["current", HERE]]

    assert [[], states] == json.loads(run_python(FORK, URI=server.uri))
