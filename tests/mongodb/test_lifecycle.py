# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind

from mongo import eventually
from otel_resinstr import semconv
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.lifecycle import Lifecycle
from otel_resinstr.mongodb.pool import Pool
from support import TickerByHand, run_python

# Dropping clients is what these tests do; the driver warns of each.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")

RATE = 50


def made(clients, rate=RATE, clock=time.monotonic):
    """The probes that a life is told with."""
    ledger = Ledger(clients, churn_count=1000, churn_window=60.0)
    return [clients, Pool(clients), ledger, Lifecycle(clients, rate=rate, clock=clock)]


@pytest.fixture
def lives(start):
    """The probes, started."""
    return start(*made(Clients()))


def use(client):
    client.admin.command("ping")
    return client


def told(sink, name, count=1):
    """The spans of that name, as soon as there are *count* of them."""
    eventually(lambda: len(sink.spans(name)) >= count)
    spans = sink.spans(name)
    assert count == len(spans)
    return spans


def test_the_life_of_a_client_and_of_its_connection(server, sink, lives):
    """Both whole: root spans from construction to end, linked to the request's spans in which they began."""
    tracer = sink.tracer_provider.get_tracer("test")
    before = time.time_ns()
    with tracer.start_as_current_span("request") as request:
        client = pymongo.MongoClient(server.uri)
        use(client)
        use(client)
        client.close()
    after = time.time_ns()
    (life,), (connection,) = told(sink, "mongodb.client"), told(sink, "mongodb.connection")
    (create,), (opening,) = sink.spans("mongodb.client.create"), sink.spans("mongodb.connection.create")

    assert (None, None) == (life.parent, connection.parent)
    assert (SpanKind.INTERNAL, SpanKind.CLIENT) == (life.kind, connection.kind)
    assert [create.context.span_id] == [link.context.span_id for link in life.links]
    assert [create.context.span_id, opening.context.span_id] == [
        link.context.span_id for link in connection.links
    ]
    # In a trace view a person sees which request opened which client.
    assert request.get_span_context().trace_id == life.links[0].context.trace_id

    site = life.attributes["mongodb.client.site"]
    assert site.startswith("test_lifecycle.py:")
    assert {
        "db.system.name": "mongodb",
        "server.address": "127.0.0.1",
        "mongodb.client.type": "sync",
        "mongodb.client.site": site,
        "code.file.path": __file__,
        "code.line.number": create.attributes["code.line.number"],
        "code.function.name": create.attributes["code.function.name"],
        "mongodb.client.close.reason": "closed",
        "mongodb.client.connections": 1,
    } == dict(life.attributes)
    use_time = connection.attributes["mongodb.connection.use_time"]
    assert {
        "db.system.name": "mongodb",
        "db.client.connection.pool.name": server.pool_name,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "mongodb.connection.close.reason": "pool_closed",
        "mongodb.connection.check_outs": connection.attributes["mongodb.connection.check_outs"],
        "mongodb.connection.use_time": use_time,
        "mongodb.client.site": site,
    } == dict(connection.attributes)
    assert connection.attributes["mongodb.connection.check_outs"] >= 2
    # Told later, at the times at which it was; to a millisecond, since two clocks are read.
    blur = 1_000_000
    assert before - blur <= life.start_time <= connection.start_time + blur
    assert connection.end_time <= life.end_time + blur <= after + 2 * blur
    assert 0 < use_time * 1e9 <= connection.end_time - connection.start_time


def test_commands_are_told_where_somebody_counts_them(server, sink, start):
    """Unknown is absent; the count is that of the life."""
    clients = Clients()
    start(*made(clients))
    client = pymongo.MongoClient(server.uri, connect=False)
    clients.live()[0].commands = 7
    client.close()

    (life,) = told(sink, "mongodb.client")
    assert 7 == life.attributes["mongodb.client.commands"]


def test_a_dropped_client_has_ended_when_it_was_dropped(server, sink, lives):
    """Nobody tells the driver, and so nobody else tells: its connections have ended at the same moment."""
    use(pymongo.MongoClient(server.uri))
    gc.collect()
    (life,), (connection,) = told(sink, "mongodb.client"), told(sink, "mongodb.connection")

    assert "dropped" == life.attributes["mongodb.client.close.reason"]
    assert "dropped" == connection.attributes["mongodb.connection.close.reason"]
    assert life.end_time == pytest.approx(connection.end_time, abs=1_000_000)


@pytest.mark.parametrize("end", ["close", "drop"])
def test_lives_of_asynchronous_clients(server, sink, lives, end):
    """The same; the connections of one that is dropped live until the garbage collector comes."""

    async def main():
        client = pymongo.AsyncMongoClient(server.uri)
        await client.admin.command("ping")
        if end == "close":
            await client.close()

    asyncio.run(main())
    gc.collect()
    (life,), (connection,) = told(sink, "mongodb.client"), told(sink, "mongodb.connection")

    reason = {"close": ("closed", "pool_closed"), "drop": ("dropped", "dropped")}[end]
    assert reason == (
        life.attributes["mongodb.client.close.reason"],
        connection.attributes["mongodb.connection.close.reason"],
    )
    assert "async" == life.attributes["mongodb.client.type"]


def test_a_connection_that_never_was_has_no_life(server, sink, lives):
    """Its span says why it could not be opened."""
    uri = server.uri.replace("//", "//user:secret@")
    with pymongo.MongoClient(uri) as client, pytest.raises(pymongo.errors.OperationFailure):
        client.admin.command("ping")

    (life,) = told(sink, "mongodb.client")
    assert 0 == life.attributes["mongodb.client.connections"]
    assert [] == sink.spans("mongodb.connection")
    assert "secret" not in "".join(span.to_json() for span in sink.spans())


def test_a_client_of_the_drivers_own_has_no_life_but_its_connections_have(server, sink, lives):
    """It is not the application's doing; its sockets are real."""
    client = pymongo.MongoClient(server.uri, connect=False)
    use(client._duplicate()).close()
    told(sink, "mongodb.connection")
    client.close()

    told(sink, "mongodb.client")


def test_what_an_exporter_does_has_no_life(server, sink, lives):
    """Instrumentation is suppressed there: its spans would be exported, and so make more."""
    with suppress_instrumentation():
        use(pymongo.MongoClient(server.uri)).close()
    pymongo.MongoClient(server.uri, connect=False).close()

    (life,) = told(sink, "mongodb.client")
    assert life.links
    assert [] == sink.spans("mongodb.connection")


def test_a_life_that_has_no_beginning_has_no_link(server, sink, start):
    """Where the ledger and the pool probe are switched off."""
    clients = Clients()
    start(clients, Lifecycle(clients, rate=RATE))
    use(pymongo.MongoClient(server.uri)).close()

    assert ((), ()) == (told(sink, "mongodb.client")[0].links, told(sink, "mongodb.connection")[0].links)


def test_at_most_so_many_a_second_and_the_rest_is_counted(server, sink, start):
    """A token bucket for the process; the count is a metric."""
    now = [1000.0]
    start(*made(Clients(), rate=3, clock=lambda: now[0]))

    def close(count):
        for _ in range(count):
            pymongo.MongoClient(server.uri, connect=False).close()

    close(5)
    told(sink, "mongodb.client", 3)
    assert {("mongodb.client",): 2} == sink.collect().points(semconv.RESINSTR_SPAN_SUPPRESSED)
    now[0] += 0.34
    close(2)
    told(sink, "mongodb.client", 4)
    now[0] += 3600
    close(4)
    told(sink, "mongodb.client", 7)
    assert {("mongodb.client",): 4} == sink.collect().points(semconv.RESINSTR_SPAN_SUPPRESSED)


def test_lives_of_connections_are_limited_too(server, sink, start):
    """The connection ends before its client, and takes the one that there is."""
    start(*made(Clients(), rate=1, clock=lambda: 1000.0))
    use(pymongo.MongoClient(server.uri)).close()
    use(pymongo.MongoClient(server.uri)).close()
    told(sink, "mongodb.connection")

    assert [] == sink.spans("mongodb.client")
    assert {("mongodb.client",): 2, ("mongodb.connection",): 1} == sink.collect().points(
        semconv.RESINSTR_SPAN_SUPPRESSED
    )


class Watch(SpanProcessor):
    """Sees where spans are made."""

    def __init__(self, clients):
        self.clients = clients
        self.seen = []

    def on_start(self, span, parent_context=None):
        if span.name in {"mongodb.client", "mongodb.connection"}:
            held = self.clients._lock._is_owned()
            self.seen.append((threading.current_thread().name, held))


def test_no_span_is_made_with_a_lock_held_or_by_a_weak_reference(server, sink, start):
    """All are made on the package's thread, whoever has ended them."""
    clients = Clients()
    watch = Watch(clients)
    sink.tracer_provider.add_span_processor(watch)
    start(*made(clients))
    use(pymongo.MongoClient(server.uri)).close()
    use(pymongo.MongoClient(server.uri))
    gc.collect()
    told(sink, "mongodb.client", 2)
    told(sink, "mongodb.connection", 2)

    assert [("resinstr", False)] * 4 == watch.seen


def test_nothing_keeps_a_client_alive(server, sink, start):
    """Unused it is freed by its last reference, though its life is still to be told."""
    gc.collect()
    gc.disable()
    try:
        start(*made(Clients()))
        client = pymongo.MongoClient(server.uri)
        gone = weakref.ref(client)
        del client

        assert gone() is None
    finally:
        gc.enable()
    told(sink, "mongodb.client")


def test_uninstrument_ends_all_lives_at_once(server, sink, start):
    """Also those that have ended a moment before; afterwards nothing is told, and another start begins anew."""
    running = start(*made(Clients()))
    closed, kept = use(pymongo.MongoClient(server.uri)), use(pymongo.MongoClient(server.uri))
    closed.close()
    running.stop()

    def reasons():
        return sorted(span.attributes["mongodb.client.close.reason"] for span in sink.spans("mongodb.client"))

    assert ["closed", "uninstrument"] == reasons()
    assert ["pool_closed", "uninstrument"] == sorted(
        span.attributes["mongodb.connection.close.reason"] for span in sink.spans("mongodb.connection")
    )
    kept.close()
    use(pymongo.MongoClient(server.uri)).close()
    assert ["closed", "uninstrument"] == reasons()

    start(*made(Clients()))
    use(pymongo.MongoClient(server.uri)).close()
    told(sink, "mongodb.client", 3)
    assert ["closed", "closed", "uninstrument"] == reasons()


@pytest.mark.breaks
def test_a_probe_that_breaks_ends_no_life(server, sink, start):
    """It may have broken with a lock held."""
    clients = Clients()
    running = start(*made(clients))
    with pymongo.MongoClient(server.uri) as client:
        use(client)
        clients.ends._suppressed = None
    running.stop()

    assert [] == sink.spans("mongodb.client")
    assert ["mongodb.lifecycle"] == [event.attributes["resinstr.probe"] for event in sink.events()]


class Receiverless(SpanProcessor):
    """A processor whose exporter tries for ten seconds of a clock with each span, as a SimpleSpanProcessor's does."""

    def __init__(self):
        self.now, self.names = 1000.0, []

    def on_end(self, span):
        """Try."""
        self.names.append(span.name)
        self.now += 10.0


def test_the_end_is_not_held_up_by_an_exporter_that_is(server, sink):
    """The span of one life may take its exporter's time, but not each of them."""
    slow = Receiverless()
    clients = Clients(clock=lambda: slow.now)
    running = Running(
        made(clients, clock=lambda: slow.now), Telemetry(**sink.providers, ticker=TickerByHand())
    )
    kept = [use(pymongo.MongoClient(server.uri)) for _ in range(3)]
    clients._tell()
    sink.tracer_provider.add_span_processor(slow)
    clients.ends._exit()
    clients._tell_at_last()

    assert ["mongodb.client"] == slow.names
    running.stop()
    for client in kept:
        client.close()


EXIT = """
import sys, threading, time
import pymongo
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
import otel_resinstr

def set_provider():
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(formatter=lambda span: " ".join(
        str(value) for key, value in [("name", span.name), *sorted(span.attributes.items())]
        if key == "name" or key.endswith("reason")
    ) + "\\n")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

uri = {uri!r}
{program}
"""


def is_life(line):
    """Whether the span is one of those that are told here."""
    return line.startswith(("mongodb.client ", "mongodb.connection "))


def at_exit(server, program):
    """The lives that a process tells when it ends."""
    lines = run_python(EXIT.format(uri=server.uri, program=program)).splitlines()
    return sorted(filter(is_life, lines))


ENDS = ["mongodb.client process_exit", "mongodb.connection process_exit"]


@pytest.mark.parametrize("order", ["before", "after", "last"])
def test_lives_end_with_the_process(server, order):
    """Before the SDK shuts down, whether the provider was set before us, after us, or after the client was made."""
    steps = {
        "before": "set_provider(); otel_resinstr.instrument(); client = pymongo.MongoClient(uri)",
        "after": "otel_resinstr.instrument(); set_provider(); client = pymongo.MongoClient(uri)",
        "last": "otel_resinstr.instrument(); client = pymongo.MongoClient(uri); set_provider()",
    }[order]

    assert ENDS == at_exit(server, f"{steps}; client.admin.command('ping')")


def test_a_process_goes_on_while_a_thread_works(server):
    """The main thread has ended, which is not the end: what the thread closes is closed."""
    program = """
set_provider()
otel_resinstr.instrument()
kept = pymongo.MongoClient(uri, connect=False)
client = pymongo.MongoClient(uri)
client.admin.command("ping")  # by now: CPython 3.12 starts no thread, and so no monitor, once the main one has ended

def work():
    threading.main_thread().join()
    client.admin.command("ping")
    client.close()

threading.Thread(target=work).start()
"""

    assert [
        "mongodb.client closed",
        "mongodb.client process_exit",
        "mongodb.connection pool_closed",
    ] == at_exit(server, program)


def test_what_ends_after_the_end_is_not_told_twice(server):
    """An application that closes its client, or stops us, in a function of `atexit`."""
    program = """
import atexit
set_provider()
otel_resinstr.instrument()
client = pymongo.MongoClient(uri)
client.admin.command("ping")
atexit.register(otel_resinstr.uninstrument)
atexit.register(client.close)
"""

    assert ENDS == at_exit(server, program)


def test_a_child_does_not_end_what_is_its_parents(server):
    """It tells of the connections that it has opened itself, by a client of its parent's or of its own."""
    program = """
import json, os, warnings
warnings.simplefilter("ignore")
set_provider()
otel_resinstr.instrument()
inherited, closed = pymongo.MongoClient(uri), pymongo.MongoClient(uri)
for client in (inherited, closed):
    client.admin.command("ping")
trace.get_tracer_provider().force_flush()
sys.stdout.flush()
child = os.fork()
if not child:
    inherited.admin.command("ping")
    closed.close()
    own = pymongo.MongoClient(uri, connect=False)
    del own
else:
    assert os.waitpid(child, 0)[1] == 0
print("end of", "parent" if child else "child", flush=True)
"""
    lines = run_python(EXIT.format(uri=server.uri, program=program)).splitlines()
    child, parent = lines.index("end of child"), lines.index("end of parent")

    # The order within a process is that of its exporter.
    assert ["mongodb.client dropped", "mongodb.connection process_exit"] == sorted(
        filter(is_life, lines[child + 1 : parent])
    )
    assert sorted(ENDS * 2) == sorted(filter(is_life, lines[parent + 1 :]))
