# SPDX-License-Identifier: Apache-2.0
"""From readings to the figures that verdicts rest on."""

from __future__ import annotations

import pytest

from otel_resinstr import semconv
from otel_resinstr.explain.figures import Figures, figures
from otel_resinstr.explain.readings import Process, parse


def of(sent):
    [process] = parse(sent.lines).processes
    return figures(process)


def test_nothing_that_arrived_is_nothing_that_is_known():
    """Every figure is unknown, and none is 0."""
    empty = figures(Process({}))

    assert Figures() == empty
    assert (None, None) == (empty.memory_growth, empty.clients_per_second)


def test_threads_of_the_driver_are_its_groups(lines):
    """The groups pymongo.* add up at each collection, and the highest of these sums is the peak."""
    sent = lines()
    for at, (monitors, rtt, others) in enumerate([(1, 1, 20), (4, 5, 1), (6, 2, 1)], 1):
        sent.metric(
            semconv.CPYTHON_THREAD_COUNT.name,
            at,
            ({"cpython.thread.group": "pymongo.monitor"}, monitors),
            ({"cpython.thread.group": "pymongo.rtt"}, rtt),
            ({"cpython.thread.group": "thread_pool"}, others),
        )
    sent.number(semconv.PROCESS_THREAD_COUNT.name, 30, 12, 11)
    sent.number(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name, 1, 3, 4)

    found = of(sent)

    assert (30, 9, 3) == (found.threads_peak, found.driver_threads_peak, found.driver_threads_per_client)


def test_sockets_for_each_client_are_those_of_the_latest_peak(lines):
    """A peak that lasts is looked at last: a client that was just made has not connected yet."""
    sent = lines()
    for at, monitors in enumerate((4, 8, 8, 0), 1):
        sent.metric(
            semconv.MONGODB_CLIENT_SOCKET_COUNT.name,
            at,
            ({"mongodb.client.socket.type": "monitor"}, monitors),
            ({"mongodb.client.socket.type": "pool"}, 4),
        )
    sent.number(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name, 2, 6, 4, 9)

    found = of(sent)

    assert (12, 3) == (found.sockets_peak, found.sockets_per_client)


def test_sockets_without_clients_have_no_share(lines):
    """Clients that are gone, or not counted, have nothing each; what they leave is still there."""
    sent = lines().number(
        semconv.MONGODB_CLIENT_SOCKET_COUNT.name, 3, mongodb__client__socket__type="monitor"
    )

    assert (3, None) == (of(sent).sockets_peak, of(sent).sockets_per_client)
    sent.number(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name, 0)
    assert (3, None) == (of(sent).sockets_peak, of(sent).sockets_per_client)


def test_sockets_of_pools_alone_are_not_all_sockets(lines):
    """Where the monitors' cannot be counted, how many there are in all is unknown."""
    sent = lines().number(semconv.MONGODB_CLIENT_SOCKET_COUNT.name, 3, mongodb__client__socket__type="pool")

    assert None is of(sent).sockets_peak


def test_clients_by_how_they_ended(lines):
    """Closed and dropped are counted apart, by the last collection."""
    sent = lines().number(semconv.MONGODB_CLIENT_CREATED.name, 10, 30)
    sent.number(semconv.MONGODB_CLIENT_CLOSED.name, 1, 4, mongodb__client__close__reason="closed")
    sent.number(semconv.MONGODB_CLIENT_CLOSED.name, 8, 25, mongodb__client__close__reason="dropped")

    found = of(sent)

    assert (30, 4, 25) == (found.clients_created, found.clients_closed, found.clients_dropped)
    assert 30 == found.clients_per_second


def test_a_reason_that_never_occurred_is_a_zero_that_is_known(lines):
    """The probe reports a reason from its first client on: if it reports at all, none is none."""
    found = of(lines().number(semconv.MONGODB_CLIENT_CREATED.name, 2))

    assert (0, 0) == (found.clients_closed, found.clients_dropped)


@pytest.mark.parametrize(("values", "halfway"), [([1], 1), ([1, 2], 1), ([1, 2, 3], 2), ([1, 2, 3, 4], 2)])
def test_halfway_is_before_the_second_half(lines, values, halfway):
    """Growth is what comes after it; with one collection there is none."""
    found = of(lines().number(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name, *values))

    assert (max(values), halfway) == (found.clients_peak, found.clients_halfway)


def test_first_last_and_peak(lines):
    """Memory and descriptors are compared with their first reading, limits are as they are now."""
    sent = lines().number(semconv.PROCESS_MEMORY_USAGE.name, 50, 90, 60)
    sent.number(semconv.PROCESS_UNIX_FILE_DESCRIPTOR_COUNT.name, 10, 8, 12)
    sent.number(semconv.RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT.name, 1024, 256)
    sent.number(semconv.MONGODB_CONNECTION_CREATED.name, 1, 5)

    assert Figures(
        seconds=2,
        memory_first=50,
        memory_peak=90,
        descriptors_first=10,
        descriptors_peak=12,
        descriptors_limit=256,
        pool_connections_created=5,
    ) == of(sent)
    assert 40 == of(sent).memory_growth


def test_handles_are_the_descriptors_of_windows(lines):
    """A process has the one or the other."""
    assert 300 == of(lines().number(semconv.PROCESS_WINDOWS_HANDLE_COUNT.name, 300)).descriptors_peak


def test_means_and_rates(lines):
    """Check-outs are counted, connecting is averaged, CPU is what the time watched took: starting is left out."""
    sent = lines()
    for at, (user, waits, connects) in enumerate(
        [(3.0, 10, (0.2, 1)), (3.1, 30, (0.3, 2)), (3.4, 50, (0.4, 4))], 1
    ):
        sent.metric(
            semconv.PROCESS_CPU_TIME.name, at, ({"cpu.mode": "user"}, user), ({"cpu.mode": "system"}, 1.0)
        )
        sent.metric(semconv.DB_CLIENT_CONNECTION_WAIT_TIME.name, at, ({}, (0.01, waits)), kind="histogram")
        sent.metric(semconv.DB_CLIENT_CONNECTION_CREATE_TIME.name, at, ({}, connects), kind="histogram")

    found = of(sent)

    assert (50, 0.1) == (found.check_outs, found.connect_time)
    assert pytest.approx(0.2) == found.cpu_per_second


def test_one_reading_is_no_rate(lines):
    """Of a process that was seen once it is not known how much CPU it takes a second."""
    assert None is of(lines().number(semconv.PROCESS_CPU_TIME.name, 1.0)).cpu_per_second


def test_the_worst_loop_is_not_the_sum_of_all(lines):
    """Delays of several loops are compared; blocks of several loops add up."""
    sent = lines()
    loops = ({"asyncio.eventloop.thread": "main"}, {"asyncio.eventloop.thread": "worker"})
    for at, (main, worker) in enumerate([(0.2, 0.1), (0.1, 0.7)], 1):
        sent.metric(
            semconv.ASYNCIO_EVENTLOOP_DELAY_MAX.name, at, (loops[0], main), (loops[1], worker), kind="gauge"
        )
    sent.metric(semconv.ASYNCIO_EVENTLOOP_BLOCKED.name, 1, (loops[0], 2), (loops[1], 1))

    assert (0.7, 3) == (of(sent).loop_delay_max, of(sent).loop_blocks)


def test_the_line_that_makes_clients_is_that_of_the_events(lines):
    """Of several the one that made the most, whatever system its path is from."""
    sent = lines().number(semconv.MONGODB_CLIENT_CREATED.name, 99, mongodb__client__site="busiest.py:1 f")
    churn = semconv.MONGODB_CLIENT_CHURN.name
    unix = {
        "code__file__path": "/srv/shop/orders.py",
        "code__line__number": 41,
        "code__function__name": "load",
    }
    windows = {
        "code__file__path": r"C:\shop\carts.py",
        "code__line__number": 7,
        "code__function__name": "Cart.add",
    }
    sent.event(churn, 1, "", mongodb__client__churn__created=20, **unix)
    sent.event(churn, 1, "", mongodb__client__churn__created=15, **windows)
    assert "orders.py:41 load" == of(sent).client_site

    sent.event(churn, 2, "", mongodb__client__churn__created=15, **windows)
    assert "carts.py:7 Cart.add" == of(sent).client_site


def test_a_line_whose_clients_grow_in_number_is_to_blame_as_well(lines):
    """By the event of a leak, weighed by the clients that there are now."""
    sent = lines().event(semconv.MONGODB_CLIENT_CHURN.name, 1, "", mongodb__client__churn__created=20)
    sent.event(
        semconv.MONGODB_CLIENT_LEAK.name,
        2,
        "",
        mongodb__client__leak__active=30,
        code__file__path="/srv/tenants.py",
        code__line__number=12,
        code__function__name="client_of",
    )

    assert "tenants.py:12 client_of" == of(sent).client_site


def test_without_an_event_it_is_the_busiest_line(lines):
    """Few clients make no event, and the metric has the line too."""
    sent = lines().number(semconv.MONGODB_CLIENT_CREATED.name, 1, 2, mongodb__client__site="a.py:1 f")
    sent.number(semconv.MONGODB_CLIENT_CREATED.name, 1, 5, mongodb__client__site="b.py:2 g")

    assert "b.py:2 g" == of(sent).client_site


def test_an_event_without_a_file_has_the_label_of_its_line(lines):
    """Clients that no line of the application makes are `_other`; an event that lost its number still counts."""
    sent = lines().event(semconv.MONGODB_CLIENT_CHURN.name, 1, "", mongodb__client__site="_other")

    assert "_other" == of(sent).client_site


def test_the_line_that_holds_the_loop_is_the_one_of_the_most_events(lines):
    """Events of other names say nothing about it."""
    sent = lines().event("other", 1, "", code__file__path="/x.py", code__line__number=1)
    for at, line in enumerate((5, 9, 9), 1):
        sent.event(
            semconv.ASYNCIO_EVENTLOOP_BLOCKED_EVENT.name,
            at,
            "",
            code__file__path="/srv/app.py",
            code__line__number=line,
            code__function__name="handle",
        )

    assert "app.py:9 handle" == of(sent).loop_site


def test_thread_pools(lines):
    """The longest wait of any pool, the most that waited in all of them, and the line that is named most often."""
    pools = [{"thread_pool.name": name, "thread_pool.type": "executor"} for name in "ab"]
    sent = lines()
    sent.metric(
        semconv.CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX.name, 1, (pools[0], 0.5), (pools[1], 6.5), kind="gauge"
    )
    for at, queued in ((1, 3), (2, 9)):
        sent.metric(semconv.CPYTHON_THREAD_POOL_QUEUE_LENGTH.name, at, (pools[0], queued), (pools[1], 1))
    for line in (7, 9, 9):
        sent.event(
            semconv.CPYTHON_THREAD_POOL_SATURATED.name,
            line,
            "saturated",
            code__file__path="/srv/app.py",
            code__line__number=line,
            code__function__name="report",
        )
    for at in (10, 11, 12):
        sent.event(semconv.CPYTHON_THREAD_POOL_SATURATED.name, at, "it keeps up again")
    found = of(sent)

    assert (6.5, 10, "app.py:9 report") == (found.pool_wait_max, found.pool_queue_peak, found.pool_site)


def test_a_loop_that_no_line_holds_has_no_line(lines):
    """The GIL, or a CPU, was with others: the event names none, however often it comes."""
    sent = lines()
    for at in (1, 2):
        sent.event(
            semconv.ASYNCIO_EVENTLOOP_BLOCKED_EVENT.name,
            at,
            "",
            asyncio__eventloop__blocked__cause="gil_starved",
        )

    assert None is of(sent).loop_site
