# SPDX-License-Identifier: Apache-2.0
"""One thread calls what has to be called regularly, and is there only as long as something has."""

from __future__ import annotations

import itertools
import logging
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_resinstr import _ticker
from otel_resinstr._ticker import Ticker
from support import own_threads

SOON = 0.001
NEVER = 1e6
PATIENCE = 10  # for what comes at once, unless it never comes


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def ticker():
    """A ticker in real time; nothing of it is left."""
    ticker = Ticker()
    yield ticker
    ticker.settle()
    assert [] == own_threads()


class WithoutThread(Ticker):
    """The turns are made by the test, at times that it chooses."""

    def _start(self):
        pass


@pytest.fixture
def stopped():
    """A ticker that makes its turns when it is told to."""
    return WithoutThread(Clock())


def test_a_call_is_made_when_it_is_due_and_not_before(stopped):
    """The first time after one interval; a turn tells how long there is nothing to do."""
    called = []
    stopped.every(10.0, lambda: called.append(stopped._clock.now))

    waits = [stopped.turn()]
    for now in (1009.0, 1010.0, 1010.5, 1020.0):
        stopped._clock.now = now
        waits.append(stopped.turn())

    assert [1010.0, 1020.0] == called
    assert [10.0, 1.0, 10.0, 9.5, 10.0] == waits


def test_calls_keep_their_own_intervals(stopped):
    """The wait is for the one that is due next."""
    called = []
    stopped.every(2.0, lambda: called.append("two"))
    stopped.every(3.0, lambda: called.append("three"))

    waits = []
    for now in range(1001, 1007):
        stopped._clock.now = now
        waits.append(stopped.turn())

    assert ["two", "three", "two", "two", "three"] == called
    assert [1.0, 1.0, 1.0, 2.0, 1.0, 2.0] == waits


def test_what_was_missed_is_not_made_up_for(stopped):
    """A thread that was held for ten intervals makes one call, not ten."""
    called = []
    stopped.every(1.0, lambda: called.append(stopped._clock.now))

    stopped._clock.now = 1010.0

    assert 1.0 == stopped.turn()
    assert [1010.0] == called


def test_a_call_that_takes_long_does_not_pile_up(stopped):
    """After a call of five intervals the next one is made at once, and only that one."""
    called = []

    def slow():
        called.append(stopped._clock.now)
        if len(called) == 1:
            stopped._clock.now += 5.0

    stopped.every(1.0, slow)
    stopped._clock.now = 1001.0

    assert [0.0, 1.0, 1.0] == [stopped.turn() for _ in range(3)]
    assert [1001.0, 1006.0] == called


def test_without_a_call_it_waits_as_long_as_a_thread_can(stopped):
    """So it does for an interval that no clock knows."""
    assert threading.TIMEOUT_MAX == stopped.turn()
    stopped.every(1e300, list)
    assert threading.TIMEOUT_MAX == stopped.turn()


def test_what_a_call_cancels_is_not_called_any_more(stopped):
    """Not even in the same turn, in which it was due too."""
    called = []
    cancels = []
    stopped.every(1.0, lambda: cancels[0]())  # noqa: PLW0108  not there yet
    cancels.append(stopped.every(1.0, lambda: called.append(1)))
    stopped._clock.now = 1001.0

    stopped.turn()

    assert [] == called


@given(
    st.lists(st.floats(0.001, 100.0), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 500.0), max_size=30),
)
def test_at_any_times_each_call_is_made_at_most_once_an_interval(intervals, steps):
    """And always if an interval has passed since it was made last."""
    clock = Clock()
    ticker = Ticker(clock)
    made = [[clock.now] for _ in intervals]
    ticker._beats = tuple(
        _ticker._Beat(seconds, lambda times=times: times.append(clock.now), clock.now + seconds)
        for seconds, times in zip(intervals, made, strict=True)
    )
    for step in steps:
        clock.now += step
        wait = ticker.turn()
        for seconds, times in zip(intervals, made, strict=True):
            assert clock.now < times[-1] + seconds
            assert wait <= times[-1] + seconds - clock.now
    for seconds, times in zip(intervals, made, strict=True):
        assert all(later >= earlier + seconds for earlier, later in itertools.pairwise(times))


def test_the_thread_comes_with_the_first_call_and_goes_with_the_last(ticker):
    """Nobody pays for a thread that has nothing to do; a second time it is the same."""
    for _ in range(2):
        assert [] == own_threads()
        first = ticker.every(NEVER, list)
        second = ticker.every(NEVER, list)
        assert 1 == len(own_threads())
        first()
        first()
        assert 1 == len(own_threads())
        second()
        second()
        ticker.settle()
        assert [] == own_threads()


def test_the_thread_does_not_keep_the_process_alive(ticker):
    """It is a daemon, and named as the README says."""
    cancel = ticker.every(NEVER, list)
    (thread,) = own_threads()

    assert (True, "resinstr") == (thread.daemon, thread.name)
    cancel()


def test_calls_are_made_in_the_thread(ticker):
    """Again and again, in no thread of the application."""
    callers = []
    enough = threading.Event()

    def call():
        callers.append(threading.current_thread())
        if len(callers) == 3:
            enough.set()

    cancel = ticker.every(SOON, call)
    thread = own_threads()

    assert enough.wait(PATIENCE)
    cancel()
    ticker.settle()
    assert {*thread} == {*callers}


def test_a_new_call_wakes_a_thread_that_waits_for_another(ticker):
    """The wait for what is due in days is cut short by what is due at once."""
    called = threading.Event()
    late = ticker.every(NEVER, list)
    soon = ticker.every(SOON, called.set)

    assert called.wait(PATIENCE)
    late()
    soon()


def test_between_the_calls_the_thread_sleeps():
    """Also after it was woken: a turn without a call to make is an exception."""

    class Counting(Ticker):
        turns = 0

        def turn(self):
            self.turns += 1
            return super().turn()

    ticker = Counting()
    calls = []
    enough = threading.Event()

    def call():
        calls.append(1)
        if len(calls) == 10:
            enough.set()

    cancels = [ticker.every(NEVER, list), ticker.every(10 * SOON, call)]
    assert enough.wait(PATIENCE)
    for cancel in cancels:
        cancel()
    ticker.settle()

    assert ticker.turns < 100


def test_a_call_may_cancel_itself(ticker):
    """As a probe does that breaks in it: it is not called again, and the thread ends."""
    called = []
    done = threading.Event()

    def call():
        called.append(1)
        cancels[0]()
        done.set()

    cancels = []
    ready = threading.Event()
    cancels.append(ticker.every(SOON, lambda: ready.wait(PATIENCE) and call()))
    (thread,) = own_threads()
    ready.set()

    assert done.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [1] == called


def test_a_call_may_settle(ticker):
    """The thread that is to be gone does not wait for itself."""
    settled = threading.Event()
    cancels = []

    def call():
        if cancels:
            cancels[0]()
            ticker.settle()
            settled.set()

    cancels.append(ticker.every(SOON, call))

    assert settled.wait(PATIENCE)
    for thread in own_threads():
        thread.join(PATIENCE)


def test_whoever_cancels_does_not_wait_for_the_call_under_way(ticker):
    """He may hold the lock that this call is waiting for; who holds none settles."""
    lock = threading.Lock()
    waiting = threading.Event()
    ended = threading.Event()

    def call():
        waiting.set()
        with lock:
            ended.set()

    with lock:
        cancel = ticker.every(SOON, call)
        assert waiting.wait(PATIENCE)
        cancel()
        assert not ended.is_set()
    ticker.settle()
    assert ended.is_set()
    assert [] == own_threads()


def test_a_new_call_does_not_wait_for_a_thread_that_is_leaving(ticker):
    """It gets a thread of its own, and the one that is held by its last call ends after that."""
    hold = threading.Event()
    held = threading.Event()
    called = threading.Event()

    def call():
        held.set()
        hold.wait(PATIENCE)

    cancel = ticker.every(SOON, call)
    assert held.wait(PATIENCE)
    cancel()
    cancel = ticker.every(SOON, called.set)

    assert called.wait(PATIENCE)
    cancel()
    hold.set()


@pytest.fixture
def busy_switching():
    """Threads take turns as often as the interpreter lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_many_threads_may_come_and_go_at_once(ticker, busy_switching):
    """Each is called, so that no wake-up is lost, and after the last nothing is left."""
    missed = []

    def come_and_go():
        for _ in range(30):
            called = threading.Event()
            cancel = ticker.every(SOON, called.set)
            if not called.wait(PATIENCE):
                missed.append(1)
            cancel()

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ticker.settle()

    assert ([], []) == (missed, own_threads())
    assert () == ticker._beats


class NoThreadsError(RuntimeError):
    """What Python says where the process may have no more threads."""


def test_without_a_thread_nothing_is_left_behind(ticker, monkeypatch):
    """A process that has run out of threads is one of the suspects: the next one is tried anew."""
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_threads)
        with pytest.raises(NoThreadsError):
            ticker.every(SOON, list)
    assert () == ticker._beats

    called = threading.Event()
    cancel = ticker.every(SOON, called.set)
    assert called.wait(PATIENCE)
    cancel()


def no_threads(_thread):
    raise NoThreadsError


def test_renewed_it_has_a_thread_and_a_lock_of_its_own(ticker):
    """In a forked child the parent's thread is not there, and nobody is who could release its lock."""
    called = threading.Event()
    cancel = ticker.every(SOON, lambda: None)
    old = own_threads()
    ticker._lock = HeldByNobody()
    ticker.renew()
    second = ticker.every(SOON, called.set)

    assert called.wait(PATIENCE)
    cancel()
    second()
    ticker.settle()
    for thread in old:
        thread.join(PATIENCE)


class HeldByNobody:
    """A lock that was held in the parent by a thread that the child does not have."""

    def __enter__(self):
        pytest.fail("this lock is never released")


def test_renewed_with_nothing_to_call_it_has_no_thread(ticker):
    """A child of a process in which the package sleeps is not disturbed."""
    ticker.renew()

    assert [] == own_threads()


def test_a_child_that_may_have_no_thread_goes_on(ticker, monkeypatch, caplog):
    """One line says so, and the next call tries again."""
    called = threading.Event()
    cancel = ticker.every(SOON, called.set)
    (old,) = own_threads()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_threads)
        ticker.renew()
    old.join(PATIENCE)
    assert [("otel_resinstr", logging.WARNING)] == [
        (record.name, record.levelno) for record in caplog.records
    ]
    called.clear()

    second = ticker.every(NEVER, list)
    assert called.wait(PATIENCE)
    cancel()
    second()


def test_nobody_waits_for_ever_for_a_call_that_hangs():
    """Whoever stops the package gets the process back."""
    ticker = Ticker(patience=0.01)
    hold = threading.Event()
    held = threading.Event()

    def call():
        held.set()
        hold.wait(PATIENCE)

    cancel = ticker.every(SOON, call)
    assert held.wait(PATIENCE)
    cancel()
    ticker.settle()

    (thread,) = own_threads()
    hold.set()
    thread.join(PATIENCE)
