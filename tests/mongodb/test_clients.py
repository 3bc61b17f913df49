# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import random
import subprocess
import sys
import threading
import time
import weakref
from collections import UserList
from concurrent.futures import ThreadPoolExecutor

import motor.motor_asyncio
import pymongo
import pytest
from pymongo import monitoring, network_layer
from pymongo.event_loggers import ServerLogger
from pymongo.monitoring import ConnectionPoolListener

from mongo import clients_of, driver_threads, eventually, sockets_to
from otel_resinstr import semconv
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb import clients as module
from otel_resinstr.mongodb._listener import CommandsListener, PoolListener
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.commands import Commands
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool

ACTIVE = semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT
SOCKETS = semconv.MONGODB_CLIENT_SOCKET_COUNT

HERE = "127.0.0.1"

# Dropping clients is what these tests do; the driver warns of each.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")


def use(client):
    client.admin.command("ping")
    return client


def truth(server):
    """What the process really holds: clients and sockets."""
    gc.collect()
    return len(clients_of(pymongo.MongoClient)), sockets_to(server.port)


def told(sink):
    """What the probe says of it."""
    collected = sink.collect()
    return collected.points(ACTIVE).get(("sync", HERE), 0), sum(collected.points(SOCKETS).values())


def agree(sink, server, *expected):
    """The driver ends its monitors within half a second or so: until then there is nothing to compare."""
    eventually(lambda: told(sink) == truth(server) == expected)
    return True


def test_after_any_mix_of_lives_the_gauges_are_what_the_process_holds(server, sink, probes):
    """Clients used, unused, closed, dropped and kept: the kernel and the collector agree with the gauges."""
    before = truth(server)[0]
    kept = []
    lives = ["used", "unused", "closed", "dropped", "kept", "lazy", "cycle"] * 3
    random.Random(7).shuffle(lives)
    for life in lives:
        client = pymongo.MongoClient(server.uri, connect=life != "lazy")
        if life not in ("unused", "lazy"):
            use(client)
        if life in ("closed", "unused"):
            client.close()
        elif life == "kept":
            kept.append(client)
        elif life == "cycle":
            client.__dict__["myself"] = client
    del client

    assert 0 == before
    assert agree(sink, server, 3, 9)

    for client in kept:
        client.close()
    kept.clear()
    del client

    assert agree(sink, server, 0, 0)
    assert {("sync", HERE): 0} == sink.collect().points(ACTIVE)


def test_a_client_that_was_closed_is_not_active_though_it_is_still_there(server, sink, probes):
    """Closed, but referenced: the collector still has it, and it holds nothing."""
    client = use(pymongo.MongoClient(server.uri))
    client.close()

    assert {("sync", HERE): 0} == sink.collect().points(ACTIVE)
    client.close()  # twice is allowed
    assert {("sync", HERE): 0} == sink.collect().points(ACTIVE)


def test_a_dropped_client_is_freed_as_without_us(server, start):
    """By its last reference, where the driver has it so: some leave a cycle behind a client that was used."""

    def is_freed(*, used):
        client = pymongo.MongoClient(server.uri)
        if used:
            use(client)
        gone = weakref.ref(client)
        del client
        for _ in range(200):  # a thread of the driver's may have it in its hands at this moment
            if gone() is None:
                return True
            time.sleep(0.01)
        return False

    gc.collect()
    gc.disable()
    try:
        without = is_freed(used=False), is_freed(used=True)
        clients = Clients()
        start(clients, Pool(clients), Ledger(clients, churn_count=10, churn_window=60.0))

        assert without == (is_freed(used=False), is_freed(used=True))
        assert without[0]
    finally:
        gc.enable()


def test_a_client_has_as_many_threads_as_without_us(server, start):
    """No thread is added for a client."""

    def threads():
        with pymongo.MongoClient(server.uri) as client:
            use(client)
            return eventually(lambda: len(driver_threads()) == 3 and driver_threads())

    eventually(lambda: not driver_threads())
    without = threads()
    eventually(lambda: not driver_threads())
    clients = Clients()
    start(clients)

    assert without == threads()


def test_a_constructor_that_raises_leaves_no_client(sink, probes):
    """The exception is the driver's own, and nothing is counted."""
    with pytest.raises(pymongo.errors.InvalidURI, match="Invalid URI scheme"):
        pymongo.MongoClient("http://nonsense")
    with pytest.raises(TypeError, match="event_listeners must be a list or tuple"):
        pymongo.MongoClient(event_listeners=7)

    assert {} == sink.collect().points(ACTIVE)


def test_a_constructor_that_raises_late_leaves_no_sockets(server, sink, probes):
    """A subclass may fail after the driver has opened connections."""

    class Fussy(pymongo.MongoClient):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            use(self)
            raise RuntimeError("fussy")

    with pytest.raises(RuntimeError, match="fussy"):
        Fussy(server.uri)

    assert agree(sink, server, 0, 0)


def test_the_applications_own_listeners_keep_working(server, sink, probes):
    """Listeners that the application passes get every event, in any sequence and any case of the option's name."""

    class Own(ConnectionPoolListener):
        def __init__(self):
            self.seen = []

        def __getattribute__(self, name):
            if name.startswith(("pool_", "connection_")):
                return lambda _event: self.seen.append(name)
            return super().__getattribute__(name)

    for option, sequence in (
        ("event_listeners", tuple),
        ("EVENT_LISTENERS", list),
        ("event_listeners", UserList),
    ):
        own = Own()
        with pymongo.MongoClient(server.uri, **{option: sequence([own])}) as client:
            use(client)

            assert {("sync", HERE): 1} == sink.collect().points(ACTIVE)
        assert "pool_created" == own.seen[0]
        assert {"connection_ready", "connection_checked_in", "pool_closed"} <= set(own.seen)


def shown(client):
    """What an application can see of a client's listeners."""
    return (
        client.options.event_listeners,
        repr(client),
        copy.deepcopy(client._event_listeners).event_listeners(),
    )


@pytest.mark.parametrize("given", [{}, {"event_listeners": []}, {"event_listeners": [ServerLogger()]}])
def test_what_the_application_sees_of_its_clients_listeners_is_what_it_gave(server, start, given):
    """Neither its options nor its `repr`, which people evaluate, tell of ours."""
    with pymongo.MongoClient(server.uri, **given) as client:
        bare = shown(client)[:2]
    clients = Clients()
    running = start(clients, Commands(clients))
    with pymongo.MongoClient(server.uri, **given) as client:
        assert bare == shown(client)[:2]
        assert len(bare[0]) == len(shown(client)[2])
        with client._duplicate() as duplicate:
            assert bare[0] == duplicate.options.event_listeners
        running.stop()
        assert bare == shown(client)[:2]


def test_ours_stay_visible_in_a_driver_that_hides_them_elsewhere(server, start, monkeypatch):
    """They work all the same, and copy."""
    original = monitoring._EventListeners
    with monkeypatch.context() as patched:
        patched.setattr(monitoring, "_EventListeners", None)
        clients = Clients()
        start(clients, Commands(clients))
    assert original is monitoring._EventListeners

    with pymongo.MongoClient(server.uri) as client:
        listeners = client.options.event_listeners
        assert [CommandsListener, PoolListener] == [type(listener) for listener in listeners]
        assert listeners == copy.deepcopy(listeners)


def test_a_client_that_the_driver_duplicates_is_not_the_applications(server, sink, probes):
    """The driver makes clients of its own for encryption; their sockets are real."""
    client = use(pymongo.MongoClient(server.uri))
    duplicate = use(client._duplicate())
    eventually(lambda: sum(sink.collect().points(SOCKETS).values()) == sockets_to(server.port) == 6)

    assert {("sync", HERE): 1} == sink.collect().points(ACTIVE)
    assert 1 == sum(sink.collect().points(semconv.MONGODB_CLIENT_CREATED).values())

    duplicate.close()
    client.close()

    assert {("closed", HERE): 1, ("dropped", HERE): 0} == sink.collect().points(semconv.MONGODB_CLIENT_CLOSED)


def test_a_duplicate_that_is_dropped_is_not_counted_either(server, sink, probes):
    """The application did not drop it."""
    client = pymongo.MongoClient(server.uri, connect=False)
    client._duplicate()
    client.close()

    assert {("closed", HERE): 1, ("dropped", HERE): 0} == sink.collect().points(semconv.MONGODB_CLIENT_CLOSED)


@pytest.mark.parametrize("end", ["close", "aclose", "__aexit__"])
def test_async_clients_are_found(server, sink, probes, end):
    """AsyncMongoClient: the same, with tasks for threads."""

    async def main():
        client = pymongo.AsyncMongoClient(server.uri)
        await client.admin.command("ping")

        async def agreed():
            points = sink.collect().points(SOCKETS)
            return sum(points.values()) == sockets_to(server.port) == 3

        for _ in range(500):
            if await agreed():
                break
            await asyncio.sleep(0.02)
        seen = sink.collect()
        await getattr(client, end)(*[None] * (3 if end == "__aexit__" else 0))
        return seen

    seen = asyncio.run(main())

    assert {("async", HERE): 1} == seen.points(ACTIVE)
    assert {("monitor", HERE): 2, ("pool", HERE): 1} == seen.points(SOCKETS)
    assert {("async", HERE): 0} == sink.collect().points(ACTIVE)
    eventually(lambda: 0 == sum(sink.collect().points(SOCKETS).values()) == sockets_to(server.port))


def test_an_async_client_that_is_dropped_counts_until_it_is_collected(server, sink, probes):
    """Its socket stays open until then: that is what a dashboard has to show. An old driver's closes by itself."""

    def agreed():
        points = sink.collect().points(SOCKETS)
        # Where a used client leaves a cycle behind, its monitors stay as well.
        return (points["pool", HERE],) if sum(points.values()) == sockets_to(server.port) else None

    async def main():
        await pymongo.AsyncMongoClient(server.uri).admin.command("ping")
        (held,) = await asyncio.to_thread(eventually, agreed)
        gc.collect()
        return held

    gc.collect()
    gc.disable()
    try:
        held = asyncio.run(main())
    finally:
        gc.enable()

    # Of a driver that has this one, the transport and its protocol refer to each other.
    assert int(hasattr(network_layer, "PyMongoProtocol")) == held
    eventually(lambda: told(sink)[1] == truth(server)[1] == 0)
    assert {("closed", HERE): 0, ("dropped", HERE): 1} == sink.collect().points(semconv.MONGODB_CLIENT_CLOSED)


def test_async_clients_that_were_dropped_and_collected_count_no_longer(server, sink, probes):
    """What else remembers a client, such as its monitors' tasks, holds no socket; and it has no pool any more."""

    async def main():
        for _ in range(5):
            await pymongo.AsyncMongoClient(server.uri).admin.command("ping")
        for _ in range(500):
            gc.collect()
            collected = sink.collect()
            if collected.points(SOCKETS).get(("pool", HERE)) == 0:
                break
            await asyncio.sleep(0.02)
        return collected

    collected = asyncio.run(main())

    assert 0 == collected.points(SOCKETS)["pool", HERE]
    assert {} == collected.points(semconv.DB_CLIENT_CONNECTION_MAX)


def test_coroutine_functions_stay_coroutine_functions(probes):
    """Frameworks ask before they await."""
    assert inspect.iscoroutinefunction(pymongo.AsyncMongoClient.close)
    assert not inspect.iscoroutinefunction(pymongo.MongoClient.close)


def test_motors_clients_are_found(server, sink, probes):
    """Motor constructs a client of the driver's, and the line is the application's, not motor's."""

    async def main():
        client = motor.motor_asyncio.AsyncIOMotorClient(server.uri)
        await client.admin.command("ping")
        created = sink.collect().points(semconv.MONGODB_CLIENT_CREATED)
        client.close()
        return created

    ((site, kind, address),) = asyncio.run(main())

    assert ("sync", HERE) == (kind, address)
    assert site.startswith("test_clients.py:")
    assert site.endswith("main")
    assert {("sync", HERE): 0} == sink.collect().points(ACTIVE)


def test_everything_is_put_back(server, probes, sink):
    """Patch present, then absent: the attributes are the objects that they were, and old clients go on."""
    classes = (pymongo.MongoClient, pymongo.AsyncMongoClient)
    patched = [(owner, name, vars(owner)[name]) for owner in classes for name in ("__init__", "close")]
    patched.append(
        (monitoring._EventListeners, "event_listeners", monitoring._EventListeners.event_listeners)
    )
    client = use(pymongo.MongoClient(server.uri))
    recorded = use(client).nodes and sink.collect().as_dict()
    probes.running.stop()

    assert all(patch.__wrapped__ is vars(owner)[name] for owner, name, patch in patched)
    assert "__wrapped__" not in vars(pymongo.AsyncMongoClient.aclose)
    use(client).close()
    use(pymongo.MongoClient(server.uri)).close()

    # The SDK goes on exporting what was recorded into histograms: the API knows no way to take one back.
    moments = [f"db.client.connection.{moment}_time" for moment in ("create", "wait", "use")]
    assert {name: recorded[name] for name in moments} == sink.collect().as_dict()


def test_clients_from_before_are_counted_and_named_as_unmonitored(server, sink, start, caplog):
    """They hold sockets like all others; one line says what is not seen of them, and what to do about it."""
    clients = [use(pymongo.MongoClient(server.uri)) for _ in range(2)]
    use(pymongo.MongoClient(server.uri)).close()
    subject = Clients()
    start(subject, Pool(subject), Ledger(subject, churn_count=10, churn_window=60.0))

    assert agree(sink, server, 2, 6)
    assert [
        (
            "MongoDB clients that were there before otel_resinstr: 2. They are counted "
            "(mongodb.client.active_instance.count, mongodb.client.socket.count), but their pools, commands and lines "
            "of code are not seen. Call otel_resinstr.instrument() before the first client is constructed, or run the "
            "application under opentelemetry-instrument"
        )
    ] == [record.getMessage() for record in caplog.records if record.name == "otel_resinstr"]

    clients.pop().close()
    assert agree(sink, server, 1, 3)
    clients.clear()
    assert agree(sink, server, 0, 0)
    assert {} == sink.collect().points(semconv.MONGODB_CLIENT_CREATED)
    assert {} == sink.collect().points(semconv.MONGODB_CLIENT_CLOSED)


def test_an_asynchronous_client_from_before_is_counted(server, sink, start):
    """In the same way."""

    async def main():
        client = pymongo.AsyncMongoClient(server.uri)
        await client.admin.command("ping")
        start(Clients())
        points = sink.collect().points(ACTIVE)
        await client.close()
        return points

    assert {("async", HERE): 1} == asyncio.run(main())
    assert {("async", HERE): 0} == sink.collect().points(ACTIVE)


def test_a_driver_that_does_not_list_its_clients_has_none_from_before(
    server, sink, start, caplog, monkeypatch
):
    """The private attribute is gone: these clients are not counted, all else works, and nothing is claimed."""
    monkeypatch.setattr(module._driver, "existing", lambda _kind: [])
    before = pymongo.MongoClient(server.uri, connect=False)
    start(Clients())
    with pymongo.MongoClient(server.uri, connect=False):
        assert {("sync", HERE): 1} == sink.collect().points(ACTIVE)

    before.close()
    assert {("sync", HERE): 0} == sink.collect().points(ACTIVE)
    assert [] == caplog.messages


def test_a_client_that_is_found_twice_is_counted_once(server, sink, start, monkeypatch):
    """As one that another thread constructs while we start: the driver lists it, and we have it already."""
    with pymongo.MongoClient(server.uri, connect=False) as before:
        found = {pymongo.MongoClient: [before, before]}
        monkeypatch.setattr(module._driver, "existing", lambda kind: found.get(kind, []))
        start(Clients())

        assert {("sync", HERE): 1} == sink.collect().points(ACTIVE)


def test_a_driver_that_hides_its_pools_has_no_sockets_of_clients_from_before(
    server, sink, start, monkeypatch
):
    """The private attributes are gone: that series is absent, not too low."""
    with pymongo.MongoClient(server.uri) as client:
        use(client)
        start(Clients())
        monkeypatch.setattr(module._driver, "pool_sockets", lambda _client: None)

        assert {("monitor", HERE)} == set(sink.collect().points(SOCKETS))


@pytest.mark.breaks
def test_a_probe_that_breaks_in_the_constructor_leaves_the_client_as_it_is(server, sink, probes):
    """The application's client is constructed, and works; one event says what happened."""
    probes.clients.life = object()
    with pymongo.MongoClient(server.uri) as client:
        use(client)

    assert ["mongodb.clients"] == [event.attributes["resinstr.probe"] for event in sink.events()]
    assert not hasattr(pymongo.MongoClient.close, "__wrapped__")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "localhost"),
        (7, "localhost"),
        ("", "localhost"),
        ([], "localhost"),
        ("db.example", "db.example"),
        ("db.example:27018", "db.example"),
        (["one:1", "two:2"], "one"),
        ("[::1]:27017", "::1"),
        ("/tmp/mongodb.sock", "/tmp/mongodb.sock"),
        ("mongodb://user:p%40ss@db.example:1,other:2/app?authSource=admin", "db.example"),
        ("mongodb://user:p@ss@db.example/app", "db.example"),
        ("mongodb://user:pa/ss@db.example/app", "localhost"),
        ("mongodb://user:pa?ss@db.example/app", "localhost"),
        ("user:secret@db.example", "localhost"),
        ("mongodb://db.example?tlsCertificateKeyFilePassword=se@cret&appName=me", "db.example"),
        ("mongodb://db.example/?appName=orders@team", "db.example"),
        ("mongodb://[fe80::1]:27017/", "fe80::1"),
        ("mongodb://%2Ftmp%2Fmongodb.sock/app", "/tmp/mongodb.sock"),
        ("mongodb+srv://user:secret@cluster.example/?tls=true", "cluster.example"),
    ],
)
def test_the_server_address_is_the_first_seeds_and_nothing_else(host, address):
    """Never a password, whatever the application passes."""
    assert address == module._first_host(host, "localhost")


def test_a_client_made_of_anothers_options_is_the_applications_own(sink, probes):
    """The options hold our listener of the first client; only what the driver itself duplicates is internal."""
    first = pymongo.MongoClient(connect=False)
    second = pymongo.MongoClient(connect=False, event_listeners=first.options.event_listeners)

    assert {("sync", "localhost"): 2} == sink.collect().points(ACTIVE)
    first.close()
    second.close()


def test_readers_do_not_mind_clients_of_new_servers(sink, probes):
    """Two readers collect while clients of ever new servers are constructed: no probe breaks, and none is missed."""
    done = threading.Event()

    def read():
        while not done.is_set():
            sink.collect()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    clients = [pymongo.MongoClient(f"db{number}.example", connect=False) for number in range(150)]
    done.set()
    for reader in readers:
        reader.join()

    assert 150 == sum(sink.collect().points(ACTIVE).values())
    for client in clients:
        client.close()


def test_a_driver_that_hides_its_monitors_has_no_monitor_sockets(server, sink, probes, monkeypatch):
    """The private attributes are gone: that series is absent, the others stay."""
    with pymongo.MongoClient(server.uri) as client:
        use(client)
        monkeypatch.setattr(module._driver, "sockets", lambda _pool: None)

        assert {("pool", HERE): 1} == sink.collect().points(SOCKETS)


FORK = """
import gc, json, os, sys, time
sys.path.insert(0, sys.argv[2])
import pymongo
from mongo import sockets_to
from support import Sink
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool

port, sink, clients = int(sys.argv[1]), Sink(), Clients()
running = Running(
    [clients, Pool(clients), Ledger(clients, 10, 60.0)],
    Telemetry(**sink.providers),
)

def state():
    collected = sink.collect()
    return {
        "active": sum(collected.points("mongodb.client.active_instance.count").values()),
        "created": sum(collected.points("mongodb.client.created").values()),
        "closed": sum(collected.points("mongodb.client.closed").values()),
        "opened": sum(collected.points("mongodb.connection.created").values()),
        "sockets": sum(collected.points("mongodb.client.socket.count").values()),
        "kernel": sockets_to(port),
    }

def settled(clients, sockets):
    # Of the sockets only those that the process has not inherited.
    for _ in range(500):
        now = state()
        if now["active"] == clients and now["sockets"] == now["kernel"] == inherited + sockets:
            break
        time.sleep(0.02)
    return now | {"sockets": now["sockets"] - inherited, "kernel": now["kernel"] - inherited}

inherited, uri = 0, f"mongodb://127.0.0.1:{port}"
kept, closed = pymongo.MongoClient(uri), pymongo.MongoClient(uri)
kept.admin.command("ping")
closed.admin.command("ping")
closed.close()
out = {"before": settled(1, 3)}
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    gc.collect()  # some drivers leave a cycle to the collector, with the parent's pool in it
    child_out = {"inherited": state()}
    inherited = child_out["inherited"]["kernel"]
    kept.admin.command("ping")
    child_out["used"] = settled(1, 3)
    kept.close()
    child_out["closed"] = settled(0, 0)
    os.write(writer, json.dumps(child_out).encode())
    os._exit(0)
os.close(writer)
out["child"] = json.loads(os.fdopen(reader).read())
os.waitpid(child, 0)
out["after"] = settled(1, 3)
kept.close()
print(json.dumps(out))
"""


@pytest.mark.filterwarnings("ignore")
def test_a_forked_child_tells_of_itself(server):
    """The child has the parent's client, not its pool; it counts from 0 what is its own; the parent is unaffected."""
    tests = str(__import__("pathlib").Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(server.port), tests],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    out = json.loads(done.stdout)

    at_first = out["child"]["inherited"]
    assert {"active": 1, "created": 0, "closed": 0, "opened": 0} == dict(list(at_first.items())[:4])
    # The monitors' sockets, which nobody closes in the child: the threads that would are not there. The pool's
    # are closed by the driver.
    assert at_first["sockets"] == at_first["kernel"] <= 2
    assert {"active": 1, "created": 0, "closed": 0, "opened": 1, "sockets": 3, "kernel": 3} == out["child"][
        "used"
    ]
    assert {"active": 0, "created": 0, "closed": 0, "opened": 1, "sockets": 0, "kernel": 0} == out["child"][
        "closed"
    ]
    parent = {"active": 1, "created": 2, "closed": 1, "opened": 2, "sockets": 3, "kernel": 3}
    assert parent == out["before"] == out["after"]


def test_clients_from_many_threads_are_counted_once_each(server, sink, probes):
    """Construction and ends at the same time in several threads."""

    def work():
        for _ in range(5):
            with pymongo.MongoClient(server.uri) as client:
                use(client)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    collected = sink.collect()
    assert 30 == sum(collected.points(semconv.MONGODB_CLIENT_CREATED).values())
    assert {("closed", HERE): 30, ("dropped", HERE): 0} == collected.points(semconv.MONGODB_CLIENT_CLOSED)
    assert agree(sink, server, 0, 0)


def test_without_the_other_probes_clients_are_still_counted(server, sink, start):
    """Each probe can be switched off by itself."""
    start(Clients())
    with pymongo.MongoClient(server.uri) as client:
        use(client)
        with pytest.raises(pymongo.errors.InvalidURI):
            pymongo.MongoClient("http://nonsense")

        assert [
            "mongodb.client.active_instance.count",
            "mongodb.client.socket.count",
        ] == sink.collect().names()
    use(pymongo.MongoClient(server.uri))
    gc.collect()
    assert 0 == sink.collect().points(ACTIVE)["sync", HERE]


def test_what_is_noted_is_told_in_its_order_and_bounded(start):
    """Where the thread that tells cannot run, memory does not grow for ever."""
    clients = Clients()
    start(clients)
    told = []
    for number in range(module._NOTES + 2):
        clients.later(told.append, number)
    clients._tell()

    assert list(range(module._NOTES)) == told
    clients.later(told.append, "again")
    clients._tell()
    assert "again" == told[-1]


def test_at_last_is_told_what_can_be_told_soon(start):
    """Each note may take its exporter's time, here ten seconds of a clock; so may another thread that tells."""
    now, told = [1000.0], []
    clients = Clients(clock=lambda: now[0])
    start(clients)

    def tell(number):
        told.append(number)
        now[0] += 10.0

    for number in range(3):
        clients.later(tell, number)
    clients._tell_at_last()
    assert [0] == told

    with ThreadPoolExecutor(1) as pool, clients._telling:
        pool.submit(clients._tell, 0.01).result()
    assert [0] == told
    clients._tell()
    assert [0, 1, 2] == told


class Crowded:
    """A ticker in a process that may not have one more thread, at first."""

    def __init__(self):
        self.asked = []

    def every(self, seconds, call):
        self.asked.append(seconds)
        if len(self.asked) == 1:
            raise RuntimeError("can't start new thread")
        return lambda: None

    def settle(self):
        pass


def test_where_no_thread_is_to_be_had_the_next_client_tries_again(sink):
    """Else nothing would ever be told of any client."""
    ticker = Crowded()
    running = Running([Clients()], Telemetry(**sink.providers, ticker=ticker))
    for _ in range(3):
        pymongo.MongoClient(connect=False).close()
    running.stop()

    assert 2 == len(ticker.asked)
