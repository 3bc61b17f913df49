# SPDX-License-Identifier: Apache-2.0
"""Finding loops: which run, where, since when, and that nobody notices."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import random
import socket
import sys
import threading
import weakref

import anyio
import anyio.lowlevel
import pytest
import uvicorn
import uvloop

from otel_resinstr.eventloop._cause import Evidence
from otel_resinstr.eventloop._clocks import Clocks
from otel_resinstr.eventloop._running import Beat, Running
from otel_resinstr.eventloop.blocked import Blocked
from otel_resinstr.eventloop.cpu import Cpu
from otel_resinstr.eventloop.delay import Delay
from otel_resinstr.eventloop.loops import Loops
from otel_resinstr.eventloop.tasks import Tasks
from otel_resinstr.eventloop.utilization import Utilization
from support import own_threads


def found(loops):
    return [(running.loop(), running.ident) for running in loops.running()]


def outcome(call):
    try:
        return call()
    except BaseException as error:
        return type(error), error.args


def test_a_loop_is_known_while_it_runs(start, loop_class, run):
    """In whichever thread, with its thread; before and after it is not."""
    loops = Loops(0.1)
    start(loops)

    async def look():
        return found(loops) == [(asyncio.get_running_loop(), threading.get_ident())]

    assert [] == found(loops)
    assert run(loop_class, look())
    assert [] == [running for running in loops.running() if running.beat is None]


@pytest.mark.parametrize(
    "way",
    ["asyncio.run", "uvloop.run", "asyncio.Runner", "run_forever"],
)
def test_each_way_to_run_a_loop_is_seen(start, loops, way):
    """No application has to call anything of ours."""
    start(loops)

    async def look():
        return found(loops) == [(asyncio.get_running_loop(), threading.get_ident())]

    if way == "asyncio.run":
        seen = asyncio.run(look())
    elif way == "uvloop.run":
        seen = uvloop.run(look())
    elif way == "asyncio.Runner":
        if sys.version_info < (3, 11):
            pytest.skip("asyncio.Runner came with Python 3.11")
        with asyncio.Runner() as runner:
            seen = runner.run(look())
    else:
        loop = asyncio.new_event_loop()
        task = loop.create_task(look())
        task.add_done_callback(lambda _: loop.stop())
        loop.run_forever()
        loop.close()
        seen = task.result()
    assert seen
    assert [] == found(loops)


class Homemade(asyncio.AbstractEventLoop):
    """The least that a loop of somebody's own does."""

    def __init__(self, refuse=None):
        self.handed = []
        self.refuse = refuse

    def is_running(self):
        return True

    def call_soon_threadsafe(self, callback, *args, context=None):
        if self.refuse is not None:
            raise self.refuse
        self.handed.append((callback, context))

    def run_forever(self):
        asyncio._set_running_loop(self)
        try:
            while self.handed:
                callback, context = self.handed.pop()
                context.run(callback)
        finally:
            asyncio._set_running_loop(None)


@pytest.fixture
def homemade():
    loop = Homemade()
    asyncio._set_running_loop(loop)
    yield loop
    asyncio._set_running_loop(None)


def test_a_loop_of_somebodys_own_is_seen(loops, ticker, homemade):
    """What says to asyncio that it runs is beaten like asyncio's own."""
    ticker(loops)
    assert [] == found(loops)
    asyncio._set_running_loop(homemade)
    asyncio._set_running_loop(homemade)

    assert [(homemade, threading.get_ident())] == found(loops)


def test_one_loop_inside_of_another(loops, ticker):
    """As nest_asyncio and trio do it: what runs is what was set last, and the outer loop is known again after."""
    ticker(loops)
    seen = []
    outer, inner = Homemade(), Homemade()
    for loop in (outer, inner, outer, None):
        asyncio._set_running_loop(loop)
        seen.append([loop for loop, _ in found(loops)])

    assert [[outer], [inner], [outer], []] == seen


def test_what_is_no_loop_is_left_alone(loops, ticker):
    """Anything can be set as the running loop, and other people's tests do it."""
    ticks = ticker(loops)
    asyncio._set_running_loop(object())
    try:
        ticks.tick()
        assert [] == found(loops)
    finally:
        asyncio._set_running_loop(None)


def test_several_loops_in_several_threads(start, loops, loop_class, spin):
    """Each is known with its thread."""
    start(loops)
    spinning = [spin(loop_class()) for _ in range(3)]

    expected = {(each.loop, each.thread.ident) for each in spinning}
    assert expected == set(found(loops))


def test_c_28_threads_are_named_by_what_they_are_for(loops, ticker, spin):
    """The numbers in a name are replaced, and a name too many is `_other`: no attribute grows without bound."""
    ticks = ticker(loops)
    for name in ("Thread-17 (serve)", "Thread-18 (serve)", *(f"{chr(97 + i)} loop" for i in range(16))):
        spin(asyncio.new_event_loop(), name)
    ticks.tick()

    names = sorted(running.thread for running in loops.running())
    assert ["Thread-N (serve)"] * 2 == names[:2]
    assert ["_other"] * 2 == names[2:4]
    assert 14 == len(set(names[4:]))


def test_the_main_thread_is_main(loops, ticker):
    """Whatever it is called at present."""
    ticks = ticker(loops)

    async def look():
        ticks.tick()
        return [running.thread for running in loops.running()]

    assert ["main"] == asyncio.run(look())


def test_a_thread_that_python_did_not_start(loops, ticker):
    """Of a thread made by a C library there is no name; asking for it would make `threading` invent one."""
    ticks = ticker(loops)
    loop, done = asyncio.new_event_loop(), threading.Event()

    def serve():
        loop.run_forever()
        loop.close()
        done.set()

    _thread.start_new_thread(serve, ())
    turned = threading.Event()
    loop.call_soon_threadsafe(turned.set)
    assert turned.wait(20)
    known = threading.active_count()
    ticks.tick()

    assert [("_other", known)] == [(running.thread, threading.active_count()) for running in loops.running()]
    loop.call_soon_threadsafe(loop.stop)
    assert done.wait(20)


@pytest.mark.parametrize("where", ["in another thread", "in this thread"])
def test_a_loop_that_runs_already_is_found(start, loops, loop_class, spin, where):
    """As when a web framework's start-up hook calls us. uvloop's is only found from its own thread."""
    if where == "in this thread":

        async def look():
            start(loops)
            return found(loops) == [(asyncio.get_running_loop(), threading.get_ident())]

        loop = loop_class()
        assert loop.run_until_complete(look())
        loop.close()
    else:
        spinning = spin(loop_class())
        start(loops)
        found_now = [] if loop_class is uvloop.Loop else [(spinning.loop, spinning.thread.ident)]
        assert found_now == found(loops)


def test_a_callback_is_no_place_to_find_uvloop_from(start, loops):
    """Without a coroutine on the stack nobody can tell where the loop begins; it is found when it runs anew."""
    loop = uvloop.Loop()
    loop.call_soon(start, loops)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    assert [] == found(loops)


def raises(error):
    async def main():
        raise error

    return main()


@pytest.mark.parametrize(
    "error", [ValueError("a"), KeyboardInterrupt("b"), SystemExit(3), asyncio.CancelledError()]
)
def test_what_ends_a_loop_ends_it_as_without_us(start, loops, loop_class, error):
    """Exceptions come out as they are, and nothing is known to run after."""

    def attempt():
        loop = loop_class()
        try:
            return outcome(lambda: loop.run_until_complete(raises(error)))
        finally:
            loop.close()

    without = attempt()
    start(loops)

    assert without == attempt()
    assert [] == found(loops)


async def cancelled_with_anyio():
    """What is seen of time limits, of a scope that is cancelled, of a shield and of a group in which one fails."""
    seen = []

    async def work(name, seconds=10.0):
        try:
            await anyio.sleep(seconds)
        except BaseException as error:
            seen.append((name, type(error).__name__))
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                seen.append((name, "cleaned up"))

    async def fails():
        await anyio.lowlevel.checkpoint()
        raise ValueError

    with anyio.move_on_after(0.01) as scope:
        await work("too slow")
    seen.append(scope.cancelled_caught)
    try:
        with anyio.fail_after(0.01):
            await work("too slow again")
    except TimeoutError:
        seen.append("TimeoutError")
    async with anyio.create_task_group() as group:
        group.start_soon(work, "in a group")
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(work, "beside one that fails")
            group.start_soon(fails)
    except BaseException as error:
        seen.append([type(each).__name__ for each in error.exceptions])
    seen.append(await anyio.to_thread.run_sync(lambda: "from a thread"))
    task = asyncio.ensure_future(work("asyncio's own"))
    await asyncio.sleep(0)
    task.cancel("why")
    seen.append(await asyncio.gather(task, return_exceptions=True))
    return [repr(each) for each in seen]


async def cancelled_by_uvicorn():
    """What an application sees of a server that goes down while it answers, and what the client gets."""
    seen = []

    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        seen.append("asked")
        server.should_exit = True
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError as error:
            seen.append(repr(error))
            raise

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(application, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  it tells no other way
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await serving
    return [*seen, answer.split(b"\r\n")[0]]


@pytest.mark.parametrize("way", [cancelled_with_anyio, cancelled_by_uvicorn])
def test_cancellation_is_what_it_was(start, loop_class, way):
    """In anyio's scopes and groups, and in a server that goes down: the same steps in the same order."""
    loops = Loops(0.005, 0.1)

    def attempt():
        loop = loop_class()
        try:
            return loop.run_until_complete(way())
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    without = attempt()
    start(
        loops,
        *(probe(loops, 60.0) for probe in (Delay, Utilization)),
        Blocked(loops, 0.1),
        Cpu(loops),
        Tasks(loops),
    )

    assert without == attempt()
    assert len(without) > 1


def test_a_result_is_what_it_was(start, loops, loop_class):
    """The coroutine's own, and None from run_forever."""
    start(loops)
    loop, result = loop_class(), object()

    async def main():
        return result

    assert result is loop.run_until_complete(main())
    loop.call_soon(loop.stop)
    assert loop.run_forever() is None
    loop.close()


def test_a_second_run_inside_of_the_first_fails_as_without_us(start, loops, loop_class):
    """And what is known to run is what asyncio says: the first one; none on 3.13.0, which forgets it by mistake."""

    async def main():
        other = loop_class()
        error = outcome(other.run_forever)
        other.close()
        return error, [loop for loop, _ in found(loops)], asyncio._get_running_loop()

    def attempt():
        loop = loop_class()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    error, known, _ = attempt()
    assert [] == known
    start(loops)
    same_error, known, running = attempt()

    assert error == same_error
    assert [loop for loop in [running] if loop] == known


def test_a_loop_dies_as_without_us(ticker, loops, loop_class):
    """At the same moment: by reference count or by the garbage collector, whichever it would be."""

    def lives():
        loop = loop_class()
        loop.run_until_complete(asyncio.sleep(0, loop.call_soon(ticks.tick)))
        loop.close()
        dead = weakref.ref(loop)
        del loop
        before = dead() is None
        gc.collect()
        return before, dead() is None

    ticks = ticker()
    without = lives()
    ticks = ticker(loops)
    assert without == lives()
    assert without[1]


def test_a_loop_that_is_gone_gets_no_beat():
    """Of a loop only a weak reference is kept: there may be nothing behind it."""
    running = Running(Homemade(), threading.get_ident(), 2, Clocks())
    running.send(Beat(float, 0.0), 0.0)

    assert running.beat is None


def test_a_loop_that_was_closed_a_moment_ago_says_nothing(loops, ticker, sink):
    """The error is what was to be expected: no line in the log, and the other loops go on."""
    ticks = ticker(loops)
    with busy(Homemade(refuse=RuntimeError("Event loop is closed"))):
        ticks.tick()
        ticks.tick()
        beats = [running.beat for running in loops.running()]

    assert [None] == beats
    assert [] == sink.events()


def test_a_loop_that_cannot_be_beaten_is_left_alone(loops, ticker, sink, spin):
    """One that knows no contexts, as before Python 3.7: it is not watched, and the others are."""
    ticks = ticker(loops)
    other = spin(asyncio.new_event_loop())
    with busy(Homemade(refuse=TypeError("unexpected keyword argument 'context'"))), other.held():
        both = len(loops.running())
        ticks.tick()
        ticks.tick()
        beaten = [(running.loop(), running.beat is not None) for running in loops.running()]

    assert (2, [(other.loop, True)]) == (both, beaten)
    assert [] == sink.events()


def test_a_beat_that_was_left_in_a_loop_says_nothing_more():
    """When it stopped was noted then; that it runs again later, and what was left in it, is another matter."""
    beat = Beat(lambda: 2.0, 0.0)
    beat.ran = 1.0
    beat()
    late = Beat(lambda: 2.0, 0.0)
    late()

    assert (1.0, 2.0) == (beat.ran, late.ran)


def test_one_beat_at_a_time(loops, ticker, clock, loop_class, spin):
    """A loop that is held does not find a heap of ours when it goes on."""
    ticks = ticker(loops)
    spinning = spin(loop_class())
    with spinning.held():
        beats = []
        for _ in range(5):
            ticks.tick()
            clock.now += 0.1
            beats += [running.beat for running in loops.running()]

    assert [beats[0]] * 5 == beats


class Listening:
    """A probe that keeps what it is told."""

    name = "listening"

    def __init__(self, loops):
        self.loops = loops
        self.looks = []
        self.samples = []

    def start(self, lease):
        self.loops.tell(
            lease, lambda looks: self.looks.extend(tuple(round(x, 6) for x in look) for _, look in looks)
        )
        self.loops.sample(lease, lambda samples: self.samples.extend(sample for _, sample in samples))


@pytest.fixture
def listening(loops):
    return Listening(loops)


@contextlib.contextmanager
def busy(loop):
    """A loop of somebody's own runs in a second thread, and is at something."""
    entered, release = threading.Event(), threading.Event()

    def work():
        entered.set()
        release.wait(20)

    def serve():
        asyncio._set_running_loop(loop)
        try:
            work()
        finally:
            asyncio._set_running_loop(None)

    thread = threading.Thread(target=serve)
    thread.start()
    assert entered.wait(20)
    try:
        yield
    finally:
        release.set()
        thread.join(20)


def test_a_loop_that_waits_is_not_woken(loops, ticker, listening, clock, rest, loop_class, spin):
    """It would run at once what is due; as late as our own thread was for the look. Least of all while it sleeps."""
    ticks = ticker(loops, listening)
    spinning = spin(loop_class())
    rest()
    begin = clock.now
    ticks.tick()
    clock.now += 0.1
    ticks.tick()
    clock.now += 0.15
    ticks.tick()
    clock.stir = 0.0
    clock.now += 0.1
    ticks.tick()
    assert 3 == len(listening.looks)  # nothing is told at once of a loop that sleeps
    clock.stir = 1e-9
    clock.now += 0.1
    ticks.tick()
    beats = [running.beat for running in loops.running()]
    spinning.stop()

    assert [None] == beats
    assert [
        (0.0, 0.0, True, begin),
        (0.0, 0.0, True, begin + 0.1),
        (0.05, 0.05, True, begin + 0.25),
        (0.0, 0.0, True, begin + 0.35),
        (0.0, 0.0, True, begin + 0.45),
    ] == listening.looks


def test_a_beat_is_told_while_it_is_late_and_once_when_it_has_run(
    loops, ticker, listening, clock, rest, loop_class, spin
):
    """How late it is, and how late it was. A hold began in the middle between the two looks that it lies between."""
    ticks = ticker(loops, listening)
    spinning = spin(loop_class())
    rest()
    begin = clock.now
    ticks.tick()
    with spinning.held():
        clock.now = begin + 0.1
        ticks.tick()
        clock.now = begin + 0.175
        ticks.tick()
        clock.now = begin + 0.25
    spinning.turn()
    rest()
    ticks.tick()

    assert [
        (0.0, 0.0, True, begin),
        (0.075, 0.125, False, begin + 0.175),
        (0.15, 0.2, True, begin + 0.25),
        (0.0, 0.0, True, begin + 0.25),
    ] == listening.looks


def test_the_next_look_is_when_the_threshold_is_crossed(loops, ticker, clock, rest, loop_class, spin):
    """Else a hold that is hardly longer than the threshold would be over before the stack could be taken."""
    ticker(loops)
    spinning = spin(loop_class())
    rest()
    waits = [loops._round()]
    with spinning.held():
        for _ in range(3):
            clock.now += waits[-1]
            waits.append(loops._round())
    rest()
    clock.now += waits[-1]
    waits.append(loops._round())

    assert [0.1, 0.05, 0.1, 0.1, 0.1] == [pytest.approx(wait) for wait in waits]


def test_loops_that_sleep_are_looked_at_less_often(loops, ticker, clock, rest, spin):
    """Their threads have had no CPU since they were seen to wait: they wait still, whatever the stack may show."""
    ticker(loops)
    spin(asyncio.new_event_loop())
    rest()
    waits = []
    for stir in (1e-9, 0.0, 0.0, 1e-9):
        clock.stir = stir
        waits.append(loops._round())

    assert [0.1, 0.15, 0.15, 0.1] == [pytest.approx(wait) for wait in waits]


def test_looks_at_loops_that_sleep_are_told_together(loops, ticker, listening, clock, rest, spin):
    """Eight at a time, or when one wakes up; a loop that has begun meanwhile has no part in it."""
    clock.stir = 0.0
    ticks = ticker(loops, listening)
    spin(asyncio.new_event_loop())
    rest()
    counts = []
    for _ in range(10):
        ticks.tick()
        counts.append((len(listening.looks), len(listening.samples)))
        clock.now += 0.1
    spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    counts.append((len(listening.looks), len(listening.samples)))

    assert [(1, 1)] * 8 + [(9, 2)] * 2 + [(12, 5)] == counts
    assert [0.0, 0.8, 0.1, 0.1, 0.0] == [pytest.approx(sample.seconds) for sample in listening.samples]


def test_looks_are_at_random(clock):
    """Within a quarter of the period: a timer of the application's does not keep step with them."""
    loops = Loops(0.1, 0.1, clock)
    waits = {round(loops._plan(1000.0, quiet=False), 9) for _ in range(200)}

    assert len(waits) > 100
    assert 0.075 <= min(waits) < 0.09
    assert 0.11 < max(waits) <= 0.125


def test_the_applications_random_numbers_are_its_own(clock):
    """A seed gives the same numbers with us as without."""
    random.seed(1)
    without = random.random()
    random.seed(1)
    Loops(0.1, 0.1, clock)._plan(1000.0, quiet=False)

    assert without == random.random()


def test_a_loop_that_may_only_look_as_if_it_waited_is_beaten(loops, ticker, clock, rest, spin):
    """Our thread had to wait for the GIL, and the loop's does something: what it waits for may be the GIL as well."""
    ticks = ticker(loops)
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    clock.now += 0.12
    clock.cpu += 0.001
    ticks.tick()
    beats = [running.beat is not None for running in loops.running()]
    spinning.stop()

    assert [True] == beats


def test_a_beat_that_a_loop_did_not_get_to_is_told_when_it_stops(loops, ticker, listening, clock):
    """A callback that blocks may be the last one: what was due then is late until the loop stops, and no longer."""
    ticks = ticker(loops, listening)
    begin = clock.now
    with busy(Homemade()):
        ticks.tick()
        clock.now += 0.125
    clock.now += 0.0625
    ticks.tick()
    with busy(Homemade()):  # one that has no beat on its way when it stops
        pass
    ticks.tick()

    assert [(0.125, 0.125, True, begin + 0.125)] == listening.looks
    assert [] == loops.running()


def test_a_process_that_was_stopped_is_late(loops, ticker, listening, clock, rest, loop_class, spin):
    """After SIGSTOP, or a call that kept the GIL: what was due meanwhile is late, our own thread as much."""
    ticks = ticker(loops, listening)
    spin(loop_class())
    rest()
    begin = clock.now
    ticks.tick()
    clock.now += 5.1
    ticks.tick()

    assert [(0.0, 0.0, True, begin), (5.0, 5.0, True, begin + 5.1)] == listening.looks


def test_a_loop_that_is_at_something_after_a_stop_is_told_at_once(
    loops, ticker, listening, clock, rest, loop_class, spin
):
    """It is late already, and what it is at now is all that will ever be seen of that."""
    ticks = ticker(loops, listening)
    spinning = spin(loop_class())
    rest()
    begin = clock.now
    ticks.tick()
    with spinning.held():
        clock.now += 5.1
        ticks.tick()
        clock.now += 0.1
    spinning.turn()
    rest()
    ticks.tick()

    assert [
        (0.0, 0.0, True, begin),
        (5.0, 5.05, False, begin + 5.1),
        (5.1, 5.15, True, begin + 5.2),
        (0.0, 0.0, True, begin + 5.2),
    ] == listening.looks


def test_a_loop_that_starts_after_the_process_was_stopped(loops, ticker, listening, clock, rest, spin):
    """What did not run then was not late then."""
    ticks = ticker(loops, listening)
    spin(asyncio.new_event_loop()).stop()
    ticks.tick()
    listening.looks.clear()
    clock.now += 5.1
    spin(asyncio.new_event_loop())
    rest()
    ticks.tick()

    assert [(0.0, 0.0, True, clock.now)] == listening.looks


def test_what_the_clocks_say_of_a_time_in_which_a_loop_does_not_turn(loops, ticker, clock, rest, spin):
    """Since it was last seen to turn: the CPU time of its thread and of all, and how late ours was."""
    ticks = ticker(loops)
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    with spinning.held():
        clock.now += 0.2
        clock.cpu += 0.03
        clock.all_cpu += 0.1
        clock.waited += 0.02
        ticks.tick()
        clock.now += 0.1
        clock.cpu += 0.01
        clock.all_cpu += 0.2
        ticks.tick()
        [running] = loops.running()
        evidence = running.evidence(clock.now)
    spinning.turn()

    assert (
        Evidence(
            seconds=pytest.approx(0.3),
            cpu=pytest.approx(0.04),
            stir=pytest.approx(0.01),
            process=pytest.approx(0.3),
            unseen=pytest.approx(0.1),
            queued=pytest.approx(0.02),
            lag=pytest.approx(0.05),
        )
        == evidence
    )


def test_how_long_our_thread_was_kept_from_a_cpu_is_asked_once_a_second(loops, clock):
    """It is a file to read; what came together since the last time is never more than was asked for."""
    asked = []
    clock.queued = lambda thread: asked.append(clock.now) or 5.0
    for _ in range(25):
        loops._round()
        clock.now += 0.1

    assert 3 == len(asked)


def test_how_long_a_loop_was_kept_from_a_cpu_is_asked_once_a_second(
    loops, ticker, listening, clock, rest, spin
):
    """What came together since the last time belongs to the sample for which it is asked."""
    ticks = ticker(loops, listening)
    spin(asyncio.new_event_loop())
    rest()
    for _ in range(25):
        ticks.tick()
        clock.now += 0.1
        clock.waited += 0.01

    assert [0.1, 0.1] == [pytest.approx(sample.queued) for sample in listening.samples if sample.queued]


def test_no_file_is_read_in_the_threads_of_the_application(loops, ticker, clock):
    """How long a loop's thread was kept from the CPUs is asked at the first look, not where the loop starts."""
    asked = []
    clock.queued = lambda thread: asked.append(threading.current_thread().name)
    ticks = ticker(loops)
    with busy(Homemade()):
        before = list(asked)
        ticks.tick()

    assert ([], {"MainThread"}) == (before, {*asked})


def test_a_platform_that_tells_no_cpu_time(loops, ticker, listening, clock, rest, spin):
    """Unknown is unknown: of the thread there is no figure, and all else is as ever."""
    clock.cpu = clock.waited = None
    ticks = ticker(loops, listening)
    spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    clock.now += 1.25
    ticks.tick()
    [running] = loops.running()

    assert [0.0, 0.0] == [sample.queued for sample in listening.samples]
    assert [None, None] == [sample.cpu for sample in listening.samples]
    assert (None, None) == (running.evidence(clock.now).cpu, running.evidence(clock.now).stir)


def test_what_a_loop_was_at_and_what_it_has_used(loops, ticker, listening, clock, rest, spin):
    """A sample for each look, and one for the rest of a loop that has stopped."""
    ticks = ticker(loops, listening)
    spinning = spin(asyncio.new_event_loop())
    rest()
    begin = clock.now
    ticks.tick()
    clock.now += 0.1
    clock.cpu += 0.02
    with spinning.held():
        ticks.tick()
    spinning.stop()
    clock.now += 0.1
    ticks.tick()

    assert [
        (0.0, pytest.approx(0.0, abs=1e-6), 0.0, False, 0.0, begin),
        (pytest.approx(0.1), pytest.approx(0.02, abs=1e-6), 0.0, True, 0.0, begin + 0.1),
        (0.0, pytest.approx(0.0, abs=1e-6), 0.0, None, 0.0, begin + 0.2),
    ] == listening.samples


def test_our_thread_keeps_no_frame(loops, clock):
    """The frames that it has seen are those of the application, with all that is in them: they go when it is done."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            loops._round()
        assert 0 == gc.collect()
    finally:
        gc.enable()


class Thing:
    """Something that can be referred to weakly, and says in which thread it goes."""

    def __init__(self, gone):
        self._gone = gone

    def __del__(self):
        self._gone.append(threading.current_thread().name)


def test_who_starts_us_keeps_no_frame(start, loops):
    """What the function that starts us holds goes when it returns, with no help of the collector."""
    gone = []

    def starts():
        thing = Thing(gone)
        start(loops)
        return id(thing)

    gc.collect()
    gc.disable()
    try:
        starts()
        assert 1 == len(gone)
    finally:
        gc.enable()


def test_while_we_tell_the_applications_threads_let_go_of_their_own(loops, ticker, spin):
    """What a log takes its time for, or a listener, finalises nothing of the application in our thread."""
    gone = []
    entered, release = threading.Event(), threading.Event()

    def work():
        thing = Thing(gone)
        entered.set()
        release.wait(20)
        return id(thing)

    worker = threading.Thread(target=work, name="worker")

    class Slow:
        name = "slow"

        def start(self, lease):
            loops.tell(lease, self.tell)

        def tell(self, looks):
            release.set()
            worker.join(20)

    ticks = ticker(loops, Slow())
    spin(asyncio.new_event_loop(), "loop")
    worker.start()
    assert entered.wait(20)
    ticks.tick()

    assert ["worker"] == gone


def test_a_beat_holds_nothing_of_the_application(loops, ticker):
    """It runs in a context that is empty, and each loop has one of its own."""
    ticks = ticker(loops)
    homemade = Homemade()
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, object())
    with busy(homemade):
        context.run(ticks.tick)

    assert [(1, 0)] == [(len(homemade.handed), len(context)) for _, context in homemade.handed]


@pytest.mark.filterwarnings("error")
def test_a_loop_in_debug_mode(loops, ticker, loop_class, spin, caplog):
    """It is beaten as any, and logs nothing about it."""
    ticks = ticker(loops)
    loop = loop_class()
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, "asyncio")
    spinning = spin(loop)
    caplog.clear()
    for _ in range(3):
        ticks.tick()
        spinning.turn()

    assert [] == caplog.messages


@pytest.mark.breaks
@pytest.mark.parametrize("way", ["tell", "sample"])
def test_a_listener_that_breaks_is_left_out(loops, ticker, listening, sink, rest, loop_class, spin, way):
    """The loop's result is its own, the other listeners are told, and one line says who broke."""

    class Broken:
        name = "broken"

        def start(self, lease):
            getattr(loops, way)(lease, lambda told: 1 // 0)

    ticks = ticker(loops, Broken(), listening)
    spinning = spin(loop_class())
    rest()
    for _ in range(3):
        ticks.tick()
    spinning.stop()

    assert (3, 3) == (len(listening.looks), len(listening.samples))
    assert ["broken"] == [event.attributes["resinstr.probe"] for event in sink.events()]


@pytest.mark.breaks
def test_our_own_fault_does_not_reach_the_application(start, loop_class):
    """The loop runs to its end with what it had to return, and we are out of its way."""

    class Broken(Loops):
        def _enter(self, *args):
            raise RuntimeError

    start(Broken(0.1))
    loop = loop_class()
    try:
        assert 42 == loop.run_until_complete(asyncio.sleep(0, 42))
        assert 43 == loop.run_until_complete(asyncio.sleep(0, 43))
    finally:
        loop.close()


def test_everything_is_put_back(start, loops):
    """Nothing is wrapped before, three names while we run, nothing after: the same objects."""
    places = [
        (asyncio, "_set_running_loop"),
        (asyncio.events, "_set_running_loop"),
        (uvloop.Loop, "run_forever"),
    ]
    before = [getattr(owner, name) for owner, name in places]
    own = "run_forever" in vars(uvloop.Loop)
    running = start(loops)
    assert [False] * 3 == [getattr(*place) is was for place, was in zip(places, before, strict=True)]
    running.stop()

    assert [True] * 3 == [getattr(*place) is was for place, was in zip(places, before, strict=True)]
    assert own == ("run_forever" in vars(uvloop.Loop))


def test_no_loop_no_thread(start, loop_class):
    """A process without loops pays for nothing, and when we stop the thread goes."""
    running = start(Loops(0.01))
    assert [] == own_threads()
    loop = loop_class()
    loop.run_until_complete(asyncio.sleep(0))
    assert 1 == len(own_threads())
    running.stop()
    loop.close()

    assert [] == own_threads()


def test_after_the_end_a_loop_is_left_alone(loops, ticker, spin):
    """A beat that was on its way runs into nothing."""
    ticks = ticker(loops)
    spinning = spin(asyncio.new_event_loop())
    with spinning.held():
        ticks.tick()
        ticks.stop()
    spinning.turn()

    assert ([], []) == (loops.running(), ticks.calls)


LOOK = """
loops = Loops(0.01)
Running([loops], Telemetry())

async def look():
    while not any(running.thread for running in loops.running()):
        await asyncio.sleep(0.002)
    return [running.thread for running in loops.running()]

"""


def test_uvloop_may_be_imported_after_us(program):
    """It takes its copy of asyncio's function from us then, and one loop is still one loop."""
    assert ["main"] == program(
        LOOK
        + """
import uvloop
print(*uvloop.run(look()))
"""
    )


def test_rloop_is_found_and_beaten(program):
    """In a process of its own: rloop 0.5.0 leaves sockets open, swallows KeyboardInterrupt and never frees a loop."""
    assert ["main", "True"] == program(
        LOOK
        + """
import rloop, warnings
warnings.simplefilter("ignore", ResourceWarning)
loop = rloop.new_event_loop()
print(*loop.run_until_complete(look()))

async def beaten():
    begin = time.monotonic()
    while not any(running.beat for running in loops.running()):
        assert time.monotonic() < begin + 20
        time.sleep(0.02)
        await asyncio.sleep(0)
    return True

print(loop.run_until_complete(beaten()))
loop.close()
sys.stdout.flush()
os._exit(0)
"""
    )


def test_uvloop_is_not_needed(program):
    """Where it cannot be imported asyncio's own loops are found as ever."""
    assert ["main"] == program(
        LOOK
        + """
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
try:
    import uvloop
except ImportError:
    print(*asyncio.run(look()))
"""
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_loops_of_the_parent_do_not_run_in_a_forked_child(program):
    """The child knows none of them, and its own are found and beaten; in the parent nothing changes."""
    assert ["0", "main", "0", "1"] == program(
        LOOK
        + """
loop = asyncio.new_event_loop()
server = threading.Thread(target=loop.run_forever)
server.start()
wait_until(lambda: any(running.thread for running in loops.running()))
child = os.fork()
if child == 0:
    print(len(loops.running()), *asyncio.run(look()), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(status, len(loops.running()))
loop.call_soon_threadsafe(loop.stop)
server.join()
loop.close()
"""
    )
