# SPDX-License-Identifier: Apache-2.0
"""A process that forks in the middle: the child reports itself, once, and the parent does not notice."""

from __future__ import annotations

import os
import sys

import pytest

from support import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

# Run in a process of its own. `in_child` forks, calls a function in the child and gives back what that returns.
FORKING = """
import asyncio, json, os, sys, threading, time, traceback, warnings
from support import Sink, own_threads
import otel_resinstr
from otel_resinstr import _fork, _probe
from otel_resinstr.semconv import PROCESS_THREAD_COUNT, RESINSTR_PROBE_DISABLED

# Python warns of any fork with a thread beside, and there is ours.
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
PATIENCE = 10
sink = Sink()

def in_child(call):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, json.dumps(call()).encode())
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    os.waitpid(pid, 0)
    return json.loads(answer)

def start(*probes):
    telemetry = _probe.Telemetry(sink.meter_provider, sink.tracer_provider, sink.logger_provider)
    return _probe.Running(probes, telemetry)
"""

CLIENTS = (
    FORKING
    + """
import pymongo

def value(name, *key):
    return sink.collect().points(name).get(key)

def facts():
    collected = sink.collect()
    return {
        "names": collected.steady_names(),
        "active": value("mongodb.client.active_instance.count", "sync", "db.example"),
        "created": sum(collected.points("mongodb.client.created").values()),
        "spans": len(sink.spans("mongodb.client.create")),
    }
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process")
def test_the_child_reports_its_own_process_once():
    """The same set of metrics as in the parent, each point once, read from the child and not from its parent."""
    run_python(
        FORKING
        + """
otel_resinstr.instrument(**sink.providers)
extra = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(5)]
for thread in extra:
    thread.start()
before = sink.collect()

def expected():
    with open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("Threads:")))

def facts():
    # In a forked child the SDK finds out anew what its resource is, in threads that are soon gone.
    end = time.monotonic() + PATIENCE
    while expected() > 2 and time.monotonic() < end:
        time.sleep(0.01)
    collected = sink.collect()  # fails where a metric has two points of the same attributes
    return collected.steady_names(), collected.value(PROCESS_THREAD_COUNT), collected.value("process.uptime")

names, threads, uptime = in_child(facts)
assert names == before.steady_names(), (names, before.steady_names())
# The parent has five threads more; ours is in both.
assert threads == 2 and before.value(PROCESS_THREAD_COUNT) >= 6, (threads, before.value(PROCESS_THREAD_COUNT))
assert uptime <= before.value("process.uptime") + PATIENCE
assert sink.collect().steady_names() == before.steady_names()
assert sink.collect().value(PROCESS_THREAD_COUNT) == expected()
otel_resinstr.uninstrument()
"""
    )


def test_the_thread_is_there_again_in_the_child_and_still_in_the_parent():
    """What was called regularly is called in both; the child's child has it as well."""
    run_python(
        FORKING
        + """
class Beating:
    name = "test.beating"

    def start(self, lease):
        self.calls = []
        self.called = threading.Event()
        lease.every(0.001, self.call)

    def call(self):
        self.calls.append(os.getpid())
        self.called.set()

probe = Beating()
running = start(probe)

def called():
    probe.calls.clear()
    probe.called.clear()
    assert probe.called.wait(PATIENCE)
    assert {*probe.calls} == {os.getpid()}
    return len(own_threads())

def both():
    return called(), in_child(called), called()

assert called() == 1
assert in_child(both) == [1, 1, 1]
assert called() == 1

def stopped():
    running.stop()
    return len(own_threads())

assert in_child(stopped) == 0
assert called() == 1
running.stop()
assert own_threads() == []
assert in_child(lambda: len(own_threads())) == 0
"""
    )


def test_locks_that_were_held_are_no_one_s_in_the_child():
    """A fork at the worst moment, while another thread is in the middle of a report and of a change of the list."""
    run_python(
        FORKING
        + """
class Quiet:
    name = "test.quiet"

    def start(self, lease):
        self.lease = lease
        lease.every(1000.0, lambda: None)

probe = Quiet()
running = start(probe)
held, release = threading.Event(), threading.Event()

def hold():
    with running._telemetry.events._lock, running._telemetry.ticker._lock:
        held.set()
        release.wait(PATIENCE)

holder = threading.Thread(target=hold)
holder.start()
assert held.wait(PATIENCE)

def works():
    from otel_resinstr.semconv import Event
    probe.lease.every(0.001, called.set)
    return called.wait(PATIENCE) and events.say(Event("test", "test.event", "It has happened."), "now", 1, {})

import logging
logging.getLogger("otel_resinstr").addHandler(logging.NullHandler())
called, events = threading.Event(), running._telemetry.events
assert in_child(works) is True
release.set()
holder.join()
assert sink.events() == []
running.stop()
"""
    )


def test_what_the_parent_reported_the_child_may_report_too():
    """It is another process, with another reader of its log."""
    run_python(
        FORKING
        + """
import logging
logging.getLogger("otel_resinstr").addHandler(logging.NullHandler())
class Breaking:
    name = "test.breaking"

    def start(self, lease):
        self.lease = lease
        lease.after_fork(self.forked)

    def forked(self):
        raise ValueError

class Healthy:
    name = "test.healthy"

    def start(self, lease):
        lease.observe(PROCESS_THREAD_COUNT, lambda: 7)

running = start(Breaking(), Healthy())

def facts():
    return [event.event_name for event in sink.events()], sink.collect().steady_names()

# A probe that breaks in the child goes on in the parent.
assert in_child(facts) == [[RESINSTR_PROBE_DISABLED.name], [PROCESS_THREAD_COUNT.name]]
assert facts() == ([], [PROCESS_THREAD_COUNT.name])
assert in_child(facts) == [[RESINSTR_PROBE_DISABLED.name], [PROCESS_THREAD_COUNT.name]]
running.stop()
assert _fork._callbacks == ()
"""
    )


def test_a_loop_in_the_child_is_watched():
    """A worker starts its own; the parent's is not one of the child's."""
    run_python(
        FORKING
        + """
settings = otel_resinstr.Settings(
    eventloop_period=0.001, eventloop_threshold=60.0, disabled_probes=("*.peaks", "host.shortage")
)
otel_resinstr.instrument(settings, **sink.providers)

def delays():
    return sink.collect().points("asyncio.eventloop.delay.max")

async def until_it_is_seen():
    for _ in range(10 * PATIENCE):
        await asyncio.sleep(0.1)
        if delays():
            return [list(key) for key in delays()]

def run():
    before = len(own_threads()), len(delays())
    return before, asyncio.run(until_it_is_seen()), len(own_threads())

# The thread comes with the first loop, where nothing else wants it.
assert in_child(run) == [[0, 0], [["main"]], 1]
assert run() == ((0, 0), [["main"]], 1)
# From then on the child has it from the beginning.
assert in_child(run) == [[1, 0], [["main"]], 1]
assert len(own_threads()) == 1
otel_resinstr.uninstrument()
assert own_threads() == []
"""
    )


def test_clients_of_the_child_are_its_own():
    """What the parent constructed, the parent has counted; what lives in both is alive in both."""
    pytest.importorskip("pymongo")
    run_python(
        CLIENTS
        + """
otel_resinstr.instrument(**sink.providers)
kept = pymongo.MongoClient("db.example", connect=False)
before = facts()
assert (before["active"], before["created"], before["spans"]) == (1, 1, 1), before

def in_the_child():
    inherited = facts()
    clients = [pymongo.MongoClient("db.example", connect=False) for _ in range(2)]
    return inherited, facts()

inherited, after = in_child(in_the_child)
assert (inherited["active"], inherited["created"]) == (1, 0), inherited
assert (after["active"], after["created"]) == (3, 2), after
assert after["spans"] == inherited["spans"] + 2
assert facts() == before
kept.close()
otel_resinstr.uninstrument()
"""
    )


def test_a_client_that_died_while_its_observers_were_locked_does_not_hold_the_child_up():
    """A fork while another thread counts a client's end: the child takes no lock that nobody there will release."""
    pytest.importorskip("pymongo")
    run_python(
        CLIENTS
        + """
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool

clients = Clients()
pool, ledger = Pool(clients), Ledger(clients, churn_count=10, churn_window=60.0)
running = start(clients, pool, ledger)
held, release = threading.Event(), threading.Event()

def hold():
    with clients._lock, ledger._lock, ledger._closed._lock, ledger._created._lock, pool._closed._lock:
        held.set()
        release.wait(PATIENCE)

pymongo.MongoClient("db.example", connect=False)
holder = threading.Thread(target=hold)
holder.start()
assert held.wait(PATIENCE)
after = in_child(facts)
assert (after["active"], after["created"]) == (0, 0), after
release.set()
holder.join()
assert (facts()["active"], facts()["created"]) == (0, 1), facts()
running.stop()
"""
    )
