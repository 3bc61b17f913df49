# SPDX-License-Identifier: Apache-2.0
"""Whatever the driver says, in whatever order, from however many threads: the counts are those of a model."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter

import pymongo
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from otel_resinstr import semconv
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.pool import Pool
from support import Sink, TickerByHand

pytestmark = [
    # Dropping clients is what these tests do; the driver warns of each.
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
    pytest.mark.timeout(300),
]

HOST = "db.example"
ADDRESSES = [(HOST, 1), (HOST, 2)]
IDS = st.integers(1, 4)
PROFILE = settings(
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # what fails is short already, and the test must end
    suppress_health_check=[HealthCheck.too_slow],
)

POOL_EVENTS = {
    "pool_created": ({},),
    "pool_ready": (),
    "pool_cleared": (None,),
    "pool_closed": (),
    "connection_check_out_started": (),
    "connection_check_out_failed": ("timeout", 0.1),
}
CONNECTION_EVENTS = {
    "connection_created": (),
    "connection_ready": (0.1,),
    "connection_checked_out": (0.1,),
    "connection_checked_in": (),
    "connection_closed": ("stale",),
}


class Driver:
    """A client that connects to nothing, and says whatever the test says."""

    def __init__(self):
        self.client = pymongo.MongoClient(HOST, connect=False)
        self._events = self.client._event_listeners

    def say(self, event, address, *of_connection):
        arguments = (POOL_EVENTS | CONNECTION_EVENTS)[event]
        getattr(self._events, f"publish_{event}")(address, *of_connection, *arguments)


class Subject:
    """The probes, and what they say; nothing of the driver's."""

    def __init__(self):
        for left in list(pymongo.MongoClient._clients.values()):  # by an example that failed
            left.close()
        self.sink = Sink()
        clients = Clients()
        probes = [clients, Pool(clients), Ledger(clients, churn_count=10, churn_window=60.0)]
        self.clients = clients
        self.running = Running(probes, Telemetry(**self.sink.providers, ticker=TickerByHand()))

    def stop(self):
        self.running.stop()
        self.sink.shutdown()

    def says(self):
        """The counts: of connections by pool and state, created and closed, and of clients."""
        collected = self.sink.collect()
        counts = {
            (metric.name, *key): value
            for metric in (
                semconv.DB_CLIENT_CONNECTION_COUNT,
                semconv.MONGODB_CONNECTION_CREATED,
                semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT,
                semconv.MONGODB_CLIENT_CREATED,
                semconv.MONGODB_CLIENT_CLOSED,
                semconv.MONGODB_CLIENT_SOCKET_COUNT,
            )
            for key, value in collected.points(metric).items()
        }
        closed = Counter()
        for key, value in collected.points(semconv.MONGODB_CONNECTION_CLOSED).items():
            closed[key[0]] += value
        return counts, closed

    def parts(self):
        """Weak references to all that is kept of clients."""
        for record in self.clients.live():
            yield weakref.ref(record)
            for pool in record.connections.pools():
                yield weakref.ref(pool)
                yield from map(weakref.ref, pool.connections.values())


def name_of(address):
    return f"{address[0]}:{address[1]}"


class AnyOrder(RuleBasedStateMachine):
    """Clients live and end, and the driver says anything of them, known or not.

    The model: a connection is there from its creation until it is closed, or its client is gone; used from its
    creation until it is ready, and from a check-out to a check-in. What is said of a connection that is not there
    changes nothing.
    """

    def __init__(self):
        super().__init__()
        self.subject = Subject()
        self.drivers = []
        self.gone = []
        self.connections = {}  # by driver, address and id: whether it is used
        self.created, self.closed = Counter(), Counter()
        self.clients = Counter()
        self.parts = []

    def teardown(self):
        self.parts.extend(self.subject.parts())
        self._end_all(self.drivers)
        self.drivers.clear()
        self.gone.clear()
        gc.collect()
        counts, closed = self.subject.says()
        try:
            states = (semconv.DB_CLIENT_CONNECTION_COUNT, semconv.MONGODB_CLIENT_SOCKET_COUNT)
            names = {metric.name for metric in (*states, semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT)}
            assert {0} >= {count for (name, *_), count in counts.items() if name in names}
            assert self.created == closed
            assert {None} >= {part() for part in self.parts}
        finally:
            self.subject.stop()

    @rule()
    def construct(self):
        self.drivers.append(Driver())
        self.clients["created"] += 1
        self.clients["active"] += 1

    @rule(which=st.integers(0))
    def close(self, which):
        if self.drivers:
            driver = self.drivers[which % len(self.drivers)]
            if not driver.client._closed:
                self.clients["closed"] += 1
                self.clients["active"] -= 1
            driver.client.close()

    @rule(which=st.integers(0))
    def drop(self, which):
        if self.drivers:
            driver = self.drivers.pop(which % len(self.drivers))
            if not driver.client._closed:
                self.clients["dropped"] += 1
                self.clients["active"] -= 1
            self.parts.extend(self.subject.parts())
            driver.client = None
            gc.collect()
            self.subject.says()
            self.gone.append(driver)
            self._end_all([driver])

    def _end_all(self, drivers):
        for key in [key for key in self.connections if key[0] in drivers]:
            self._end(key)

    def _end(self, key):
        if self.connections.pop(key, None) is not None:
            self.closed[name_of(key[1])] += 1

    @rule(which=st.integers(0), address=st.sampled_from(ADDRESSES), event=st.sampled_from([*POOL_EVENTS]))
    def say_of_a_pool(self, which, address, event):
        if not self.drivers:
            return
        driver = self.drivers[which % len(self.drivers)]
        mine = [key for key in self.connections if key[:2] == (driver, address)]
        if event == "pool_created":
            # The driver closes what is idle with a pool; what is used it closes when it comes back, under an id that
            # the new pool may give again.
            if any(self.connections[key] for key in mine):
                return
            for key in mine:
                self._end(key)
        driver.say(event, address)

    @rule(
        which=st.integers(0),
        address=st.sampled_from(ADDRESSES),
        event=st.sampled_from([*CONNECTION_EVENTS]),
        number=IDS,
    )
    def say_of_a_connection(self, which, address, event, number):
        if not self.drivers:
            return
        driver = self.drivers[which % len(self.drivers)]
        key = driver, address, number
        if event == "connection_created":
            self._end(key)  # another one has its id: it cannot be there any more
            self.created[name_of(address)] += 1
            self.connections[key] = True
        elif event == "connection_closed":
            self._end(key)
        elif key in self.connections:
            self.connections[key] = event == "connection_checked_out"
        driver.say(event, address, number)

    @rule(
        which=st.integers(0), address=st.sampled_from(ADDRESSES), event=st.sampled_from([*CONNECTION_EVENTS])
    )
    def say_of_a_client_that_is_gone(self, which, address, event):
        if self.gone:
            self.gone[which % len(self.gone)].say(event, address, 1)

    @invariant()
    def agrees_with_the_model(self):
        counts, closed = self.subject.says()
        expected = Counter()
        for (_, address, _), used in self.connections.items():
            expected[
                semconv.DB_CLIENT_CONNECTION_COUNT.name, name_of(address), "used" if used else "idle"
            ] += 1
        expected.update(
            {(semconv.MONGODB_CONNECTION_CREATED.name, pool): count for pool, count in self.created.items()}
        )
        expected[semconv.MONGODB_CLIENT_SOCKET_COUNT.name, "pool", HOST] += len(self.connections)
        expected[semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name, "sync", HOST] += self.clients["active"]
        for reason in ("closed", "dropped"):
            expected[semconv.MONGODB_CLIENT_CLOSED.name, reason, HOST] += self.clients[reason]
        found = Counter()
        for (name, *key), count in counts.items():
            assert count >= 0
            # The line of the test that constructs clients is the same for all.
            found[(name, "all") if name == semconv.MONGODB_CLIENT_CREATED.name else (name, *key)] += count
        expected[semconv.MONGODB_CLIENT_CREATED.name, "all"] += self.clients["created"]

        assert expected == found  # a Counter that has a zero equals one that does not have it
        assert self.closed == closed


def test_in_any_order_the_counts_are_those_of_the_model():
    """Also after all clients are gone: then each is 0, and nothing of ours is alive."""
    run_state_machine_as_test(AnyOrder, settings=PROFILE)


ANYTHING = st.tuples(
    st.sampled_from([*POOL_EVENTS, *CONNECTION_EVENTS]), st.sampled_from(ADDRESSES), st.integers(1, 3)
)


@settings(PROFILE, max_examples=20)
@given(st.lists(st.lists(ANYTHING, max_size=40), min_size=2, max_size=4))
def test_from_several_threads_what_was_created_is_there_or_closed(scripts):
    """Of one client, and of one pool, at the same time: no connection is lost, none is counted twice."""
    subject = Subject()
    try:
        driver = Driver()
        at_once = threading.Barrier(len(scripts))

        def say(script):
            at_once.wait()
            for event, address, number in script:
                driver.say(event, address, *([number] if event in CONNECTION_EVENTS else []))

        threads = [threading.Thread(target=say, args=(script,)) for script in scripts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        for _ in range(2):  # with the client, and after it
            counts, closed = subject.says()
            assert all(count >= 0 for count in counts.values())
            created, there = Counter(), Counter()
            for (name, *key), count in counts.items():
                if name == semconv.MONGODB_CONNECTION_CREATED.name:
                    created[key[0]] += count
                elif name == semconv.DB_CLIENT_CONNECTION_COUNT.name:
                    there[key[0]] += count
            assert created == there + closed
            driver.client = None
            gc.collect()
        assert not any(there.values())
    finally:
        subject.stop()
