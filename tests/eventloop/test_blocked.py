# SPDX-License-Identifier: Apache-2.0
"""Who holds a loop: the right line, while it is held, and nobody who does not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import socket
import subprocess
import sys
import threading
import time
import types
import uuid
from pathlib import Path

import pytest
import uvloop

try:
    import pymongo
except ImportError:  # where it is not installed, the one test that needs it is skipped
    pymongo = None

from mongo import eventually
from otel_resinstr import _fork
from otel_resinstr.eventloop._stack import stacks
from otel_resinstr.eventloop.blocked import Blocked
from otel_resinstr.eventloop.loops import Loops
from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_BLOCKED, ASYNCIO_EVENTLOOP_BLOCKED_EVENT

EVENT = ASYNCIO_EVENTLOOP_BLOCKED_EVENT.name
DURATION = "asyncio.eventloop.blocked.duration"
STATE = "asyncio.eventloop.blocked.state"
CAUSE = "asyncio.eventloop.blocked.cause"


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def ticks(ticker, loops):
    return ticker(loops, Blocked(loops, 0.1))


def line_of(function, text):
    """The number of the line of *function* that holds *text*."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    first = function.__code__.co_firstlineno
    return next(number for number in range(first, len(lines) + 1) if text in lines[number - 1])


def rounds(ticks, clock, seconds):
    for _ in range(round(seconds / 0.1)):
        clock.now += 0.1
        ticks.tick()


def sleeps():
    time.sleep(0.4)


def computes():
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        sum(range(100))


def runs_a_program():
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.4)"], check=True, capture_output=True)


def until_said(sink, fault):
    """Commit *fault* until it is told; on a busy machine our own thread may miss one."""
    deadline = time.monotonic() + 20
    while not said(sink, fault.__name__):
        assert time.monotonic() < deadline, "it did not happen"
        fault()


def states(sink):
    return [event.attributes[STATE] for event in sink.events(EVENT)]


def said(sink, function):
    """What was told of holds by *function*."""
    return [
        event
        for event in sink.events(EVENT)
        if event.attributes.get("code.function.name", "").rpartition(".")[2] == function
    ]


async def until_ended(sink):
    """Until it is told that what was told last is over."""

    async def ended():
        while states(sink)[-1:] != ["ended"]:  # noqa: ASYNC110  polled
            await asyncio.sleep(0.01)

    await asyncio.wait_for(ended(), 30)


@pytest.mark.parametrize(
    ("fault", "text"),
    [(sleeps, "time.sleep"), (computes, ""), (runs_a_program, "subprocess.run")],
)
def test_c_20_the_line_that_blocks_is_named(start, sink, loop_class, run, fault, text):
    """While it blocks, with how long so far; then how long it was. A selector of subprocess's hides nobody."""
    loops = Loops(0.02)
    start(loops, Blocked(loops, 0.1))
    seen = []

    async def main():
        await asyncio.sleep(0.1)
        until_said(sink, fault)
        seen.extend(said(sink, fault.__name__))
        await until_ended(sink)

    run(loop_class, main())
    held = seen[0]
    events = sink.events(EVENT)
    # On a busy machine others may hold the loop as well, before and after.
    ended = next(event for event in events[events.index(held) :] if event.attributes[STATE] == "ended")

    assert "held" == held.attributes[STATE]
    assert 0.1 <= held.attributes[DURATION] < ended.attributes[DURATION]
    assert __file__ == held.attributes["code.file.path"]
    if text:
        assert line_of(fault, text) == held.attributes["code.line.number"]
    assert f"test_blocked.py:{held.attributes['code.line.number']} {fault.__name__}" in held.body
    assert [(run.thread,)] == list(sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED))


async def a_protocol(server, seconds):
    done = asyncio.Event()

    class Slow(asyncio.Protocol):
        def data_received(self, data):
            time.sleep(seconds)  # held: a_protocol
            done.set()

    here, there = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(Slow, sock=there)
    here.send(b"x")
    await done.wait()
    transport.close()
    here.close()


async def a_timer(server, seconds):
    done = asyncio.Event()

    def slow():
        time.sleep(seconds)  # held: a_timer
        done.set()

    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() + 0.01, slow)
    await done.wait()


async def a_finalizer(server, seconds):
    class Slow:
        def __del__(self):
            time.sleep(seconds)  # held: a_finalizer

    cycle = Slow()
    cycle.itself = cycle
    del cycle
    gc.collect(0)  # the youngest only: a whole collection takes a while by itself


async def a_query(server, seconds):
    client = pymongo.MongoClient(server.uri)

    def prepare():
        jobs = client.test.create_collection(uuid.uuid4().hex, capped=True, size=4096)
        jobs.insert_one({})
        return jobs

    jobs = await asyncio.to_thread(prepare)
    cursor = jobs.find(cursor_type=pymongo.CursorType.TAILABLE_AWAIT).max_await_time_ms(int(1000 * seconds))
    list(cursor)  # held: a_query
    await asyncio.to_thread(client.close)


@pytest.mark.parametrize("way", [a_protocol, a_timer, a_finalizer, a_query])
def test_c_19_each_way_to_hold_a_loop_is_found(start, sink, loop_class, run, request, way):
    """Not only coroutines hold a loop; on asyncio and on uvloop, in the main thread and in a second one."""
    server = request.getfixturevalue("server") if way is a_query else None
    loops = Loops(0.02, 0.1)
    start(loops, Blocked(loops, 0.1))

    async def main():
        await asyncio.sleep(0.1)
        await way(server, 0.4)
        await until_ended(sink)

    run(loop_class, main())
    lines = [event.attributes.get("code.line.number") for event in sink.events(EVENT)]

    # On a busy machine the preparations may take long as well; a line is named for each.
    assert line_of(way, f"# held: {way.__name__}") in lines
    assert {run.thread} == {event.attributes["asyncio.eventloop.thread"] for event in sink.events(EVENT)}


def test_rloop_is_no_exception(program):
    """In a process of its own: rloop leaves sockets open, which would be an error here."""
    assert ["main", "7"] == program(
        """
import rloop, warnings
from opentelemetry.sdk._logs import LoggerProvider
from otel_resinstr.eventloop.blocked import Blocked
from support import Sink
warnings.simplefilter("ignore", ResourceWarning)
import logging; logging.disable()
sink = Sink()
loops = Loops(0.02, 0.1)
Running([loops, Blocked(loops, 0.1)], Telemetry(**sink.providers))

code = compile(chr(10) * 6 + "def hold(): time.sleep(0.4)", "/app.py", "exec")
exec(code, app := {"__name__": "app", "time": time})

async def main():
    await asyncio.sleep(0.1)
    app["hold"]()
    while not sink.events():
        await asyncio.sleep(0.01)

loop = rloop.new_event_loop()
loop.run_until_complete(main())
event = sink.events()[0]
print(event.attributes["asyncio.eventloop.thread"], event.attributes["code.line.number"], flush=True)
os._exit(0)
"""
    )


def test_c_29_what_runs_in_a_thread_holds_nothing(start, sink, loop_class, run):
    """`asyncio.to_thread` is the way out: each call returns what it has to, nothing wraps it, no loop is late."""
    original = asyncio.to_thread
    loops = Loops(0.02, 5.0)
    start(loops, Blocked(loops, 5.0))

    async def main():
        return [
            await asyncio.to_thread(lambda number=number: (time.sleep(0.1), number)[1]) for number in range(3)
        ]

    assert [0, 1, 2] == run(loop_class, main())
    assert original is asyncio.to_thread
    assert ([], {}) == (sink.events(), sink.collect().as_dict())


def test_the_whole_event(ticks, sink, clock, loop_class, spin):
    """Exactly these attributes, of these types; the stack has places and no values."""
    spinning = spin(loop_class(), "worker-3")
    with spinning.held():
        ticks.tick()
        rounds(ticks, clock, 0.3)
    spinning.turn()
    ticks.tick()
    held, ended = sink.events(EVENT)
    stack = held.attributes["code.stacktrace"]
    line = held.attributes["code.line.number"]
    function = held.attributes["code.function.name"]
    path = held.attributes["code.file.path"]

    assert {
        "asyncio.eventloop.blocked.cause": "waits",
        "asyncio.eventloop.blocked.duration": pytest.approx(0.1),
        "asyncio.eventloop.blocked.state": "held",
        "asyncio.eventloop.thread": "worker-N",
        "code.file.path": path,
        "code.function.name": function,
        "code.line.number": line,
        "code.stacktrace": stack,
        "thread.name": "worker-3",
    } == dict(held.attributes)
    assert {**held.attributes, STATE: "ended", DURATION: pytest.approx(0.3)} == dict(ended.attributes)
    assert path.endswith("conftest.py")
    assert function.endswith("hold")
    assert f'  File "{path}", line {line}, in hold' in stack.splitlines()
    assert (
        "Spinning" not in stack
    )  # the frame outside of the loop, its name in `_run`, and no repr of anything
    assert (
        f"the event loop of the thread worker-N is held, for 0.10 s so far, by conftest.py:{line} {function} "
        f"({path}), which waits without letting go: nothing else runs on it meanwhile. Await this work, or hand it to "
        "a thread (asyncio.to_thread)"
    ) == held.body
    assert (
        f"the event loop of the thread worker-N was held for 0.30 s by conftest.py:{line} {function} ({path}); "
        "it runs again"
    ) == ended.body


def test_a_loop_on_time_is_left_alone(start, sink, loop_class, run):
    """A loop that works all the time, in pieces, is not late: no event, no count."""
    loops = Loops(0.02)
    start(loops, Blocked(loops, 1.0))

    async def main():
        for _ in range(100):
            end = time.thread_time() + 0.004
            while time.thread_time() < end:
                sum(range(100))
            await asyncio.sleep(0)

    run(loop_class, main())

    assert ([], {}) == (sink.events(), sink.collect().as_dict())


def deaf(loop_class):
    """A loop that does not hear what is handed to it once it is told so: as if it never got its turn on the CPU."""

    class Deaf(loop_class):
        deaf = False

        def call_soon_threadsafe(self, *args, **kwargs):
            return None if self.deaf else super().call_soon_threadsafe(*args, **kwargs)

    return Deaf()


def starved(ticks, clock, seconds):
    """Looks for which our own thread has to wait, at a loop whose thread asks for the GIL and does not get it."""
    for _ in range(round(seconds / 0.1)):
        clock.now += 0.11
        clock.cpu += 0.0005
        clock.all_cpu += 0.1
        ticks.tick()


def test_a_loop_without_the_gil_blames_no_line(ticks, sink, clock, rest, loop_class, spin):
    """Its stack shows the selector, in which it does not wait: others compute. That counts, and is said."""
    spinning = spin(deaf(loop_class))
    rest()
    spinning.loop.deaf = True
    ticks.tick()
    starved(ticks, clock, 0.5)
    spinning.loop.deaf = False
    [event] = sink.events()

    assert {
        "asyncio.eventloop.blocked.cause": "gil_starved",
        "asyncio.eventloop.blocked.duration": event.attributes[DURATION],
        "asyncio.eventloop.blocked.state": "held",
        "asyncio.eventloop.thread": "worker",
        "thread.name": "worker",
    } == dict(event.attributes)
    assert (
        f"the event loop of the thread worker runs nothing, for {event.attributes[DURATION]:.2f} s so far: other "
        "threads of the process hold the GIL; look for one that computes, or a call into C that keeps it"
    ) == event.body
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_burst_of_others_hides_nobody(ticks, sink, clock, rest, loop_class, spin):
    """When fifty requests come in at once their threads hold the GIL for a moment, and who holds the loop is named."""
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    with spinning.held():
        starved(ticks, clock, 0.2)
        rounds(ticks, clock, 0.4)
    spinning.turn()
    rest()
    ticks.tick()
    held, ended = sink.events(EVENT)

    assert [("waits", "held"), ("waits", "ended")] == [
        (event.attributes[CAUSE], event.attributes[STATE]) for event in (held, ended)
    ]
    assert "hold" in held.attributes["code.function.name"]


def test_who_holds_the_loop_after_others_held_the_gil(ticks, sink, clock, rest, loop_class, spin):
    """It is named as soon as it can be told, and the end tells of it."""
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    with spinning.held():
        starved(ticks, clock, 0.4)
        rounds(ticks, clock, 0.4)
    spinning.turn()
    rest()
    ticks.tick()
    starving, held, ended = sink.events(EVENT)

    assert [("gil_starved", "held"), ("waits", "held"), ("waits", "ended")] == [
        (event.attributes[CAUSE], event.attributes[STATE]) for event in (starving, held, ended)
    ]
    assert "code.function.name" not in starving.attributes
    assert held.attributes["code.function.name"] == ended.attributes["code.function.name"]


def test_another_line_that_holds_is_named(start, sink, loop_class, run):
    """What was seen first may have been the smaller part of it: the end tells of the line that was seen last."""
    loops = Loops(0.02)
    start(loops, Blocked(loops, 0.1))

    def first():
        time.sleep(0.25)

    def then():
        time.sleep(0.5)

    async def main():
        await asyncio.sleep(0.1)
        deadline = time.monotonic() + 20
        while not (said(sink, "first") and said(sink, "then")):  # our own thread may miss one
            assert time.monotonic() < deadline, "it did not happen"
            first()
            then()
            await until_ended(sink)

    run(loop_class, main())
    begins, goes_on = said(sink, "first")[0], said(sink, "then")[0]
    assert ("held", "held") == (begins.attributes[STATE], goes_on.attributes[STATE])
    assert begins.attributes[DURATION] < goes_on.attributes[DURATION]
    assert "ended" in [event.attributes[STATE] for event in said(sink, "then")]


def test_a_waiting_loop_does_not_blame_who_started_it(ticks, sink, clock, rest, loop_class):
    """Here the line outside of the loop is an application's, and the innermost one that there is for uvloop."""
    loop = deaf(loop_class)
    begun, done = threading.Event(), asyncio.Event()

    async def main():
        begun.set()
        await done.wait()

    def serve():
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=serve, name="worker")
    thread.start()
    assert begun.wait(20)
    rest()
    loop.deaf = True
    ticks.tick()
    starved(ticks, clock, 0.5)
    loop.deaf = False
    loop.call_soon_threadsafe(done.set)
    thread.join(20)

    assert [None] == [event.attributes.get("code.line.number") for event in sink.events()]


def test_a_late_loop_is_looked_at_until_somebody_is_found(ticks, sink, clock, rest, loop_class, spin):
    """No stack at the first looks, and one at a later one: the hold is one, the line is found."""
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    with spinning.held():
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(sys, "_current_frames")
            rounds(ticks, clock, 0.3)
        rounds(ticks, clock, 0.2)

    assert [pytest.approx(0.35)] == [event.attributes[DURATION] for event in sink.events(EVENT)][:1]
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_hold_that_was_over_before_we_looked_is_counted(ticks, sink, clock, loop_class, spin):
    """There is no stack of the past, so there is no event; the count is right all the same."""
    spinning = spin(loop_class())
    with spinning.held():
        ticks.tick()
        clock.now += 0.15
    spinning.turn()
    ticks.tick()

    assert [] == sink.events()
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


@pytest.mark.parametrize("held", [True, False])
def test_a_process_that_was_stopped_is_no_blocked_loop(ticks, sink, clock, rest, loop_class, spin, held):
    """SIGSTOP, or a group throttled: our own thread was as late, and no thread had a CPU. Said, not counted."""
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    with spinning.held() if held else contextlib.nullcontext():
        clock.now += 60.1
        ticks.tick()
    spinning.turn()
    rest()
    ticks.tick()
    [event] = sink.events()

    assert event.body.startswith("the event loop of the thread worker ran nothing for 60.0")
    assert event.body.endswith(
        ": the process was not run either: it was stopped, got no CPU (throttled, a busy machine), or waited in a "
        "call into C that keeps the GIL"
    )
    assert ("not_scheduled", "ended") == (event.attributes[CAUSE], event.attributes[STATE])
    assert {} == sink.collect().as_dict()


def test_a_call_that_keeps_the_gil(ticks, sink, clock, rest, loop_class, spin):
    """Nobody runs meanwhile: it is found as soon as it is over, by the stack then and the CPU time of the thread."""
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    with spinning.held():
        clock.now += 2.1
        clock.cpu += 2.0
        clock.all_cpu += 2.05
        ticks.tick()
    spinning.turn()
    rest()
    ticks.tick()
    held, ended = sink.events(EVENT)

    assert ["keeps_gil"] * 2 == [event.attributes[CAUSE] for event in (held, ended)]
    assert (
        ", in a call into C that keeps the GIL, so that no other thread runs either: nothing else"
        in held.body
    )
    assert "hold" in held.attributes["code.function.name"]
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_call_of_another_thread_that_keeps_the_gil(ticks, sink, clock, rest, loop_class, spin):
    """The loop waits in its selector, and could not have done anything."""
    spin(loop_class())
    rest()
    ticks.tick()
    clock.now += 2.1
    clock.all_cpu += 2.0
    ticks.tick()
    [event] = sink.events(EVENT)

    assert ("gil_starved", "ended") == (event.attributes[CAUSE], event.attributes[STATE])
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_hold_that_goes_on_is_reported_again(ticks, sink, clock, rest, spin):
    """After a second, ten, a minute, ten minutes: by a stack of then."""
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    with spinning.held():
        rounds(ticks, clock, 650)
    spinning.turn()
    rest()
    ticks.tick()

    assert [0, 1, 10, 60, 600, 649] == [
        round(event.attributes[DURATION], 1) // 1 for event in sink.events(EVENT)
    ]
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_loop_beside_one_that_is_held_is_left_alone(ticks, sink, clock, rest, spin):
    """Only the one that does not turn is counted and named."""
    held = spin(asyncio.new_event_loop(), "held")
    spin(asyncio.new_event_loop(), "healthy")
    rest()
    ticks.tick()
    with held.held():
        rounds(ticks, clock, 0.3)

    assert ["held"] == [event.attributes["asyncio.eventloop.thread"] for event in sink.events(EVENT)][:1]
    assert {("held",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_loop_that_has_moved_on_while_we_looked(ticker, loops, sink, clock, rest, spin):
    """What it does now is not what it did then: nobody is blamed for the time before."""

    class MovesOn:
        name = "moves_on"

        def start(self, lease):
            loops.tell(lease, self.moves)

        def moves(self, looks):
            for running, look in looks:
                if running.beat is not None and look.held >= 0.1:
                    running.beat.ran = clock.now

    ticks = ticker(loops, MovesOn(), Blocked(loops, 0.1))
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    with spinning.held():
        rounds(ticks, clock, 0.3)

    assert [] == sink.events()


def test_a_forked_child_begins_at_nothing(ticks, sink, clock, rest, spin):
    """What held the parent's loops is not the child's."""
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    with spinning.held():
        rounds(ticks, clock, 0.3)
        before = sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)
        _fork._run_in_child()

    assert ({("worker",): 1}, {}) == (before, sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED))


def test_where_the_platform_tells_no_cpu_time(ticks, sink, clock, rest, spin):
    """The line is known, and that it is not known what it does."""
    clock.cpu = None
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    with spinning.held():
        rounds(ticks, clock, 0.3)
    spinning.turn()
    [event] = sink.events(EVENT)

    assert CAUSE not in event.attributes
    assert (
        "; whether it computes, waits or lacks the GIL cannot be told on this platform: nothing" in event.body
    )


def test_an_import_is_told_as_one(ticks, sink, clock, rest, loop_class, spin, tmp_path, monkeypatch):
    """The line that imports is to blame, not the innermost of the modules; and it is said what it does."""
    (tmp_path / "slow_outside.py").write_text("import slow_inside\n")
    (tmp_path / "slow_inside.py").write_text("import here\nhere.entered.set()\nhere.release.wait(20)\n")
    monkeypatch.syspath_prepend(tmp_path)
    here = types.ModuleType("here")
    here.entered, here.release = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "here", here)
    for name in ("slow_inside", "slow_outside"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def load():
        import slow_outside  # noqa: F401  for what it does

    spinning = spin(loop_class())
    rest()
    ticks.tick()
    spinning.loop.call_soon_threadsafe(load)
    assert here.entered.wait(20)
    rounds(ticks, clock, 0.3)
    here.release.set()
    spinning.turn()
    [event] = sink.events(EVENT)

    assert ("imports", line_of(load, "import slow_outside")) == (
        event.attributes[CAUSE],
        event.attributes["code.line.number"],
    )
    assert (
        ", which imports a module: nothing else runs on it meanwhile. Import it before the loop runs"
        in event.body
    )
    for name in ("slow_inside", "slow_outside"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_an_import_of_a_servers_own(ticks, sink, clock, rest, spin, tmp_path, monkeypatch):
    """At its start uvicorn imports its protocols in the loop: no work to await, and no line of the application."""
    (tmp_path / "slow_protocol.py").write_text(
        "__name__ = 'uvicorn.slow'\nimport here\nhere.entered.set()\nhere.release.wait(20)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    here = types.ModuleType("here")
    here.entered, here.release = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "here", here)
    monkeypatch.delitem(sys.modules, "slow_protocol", raising=False)
    server = {"__name__": "uvicorn.config"}
    exec(compile("def load(): import slow_protocol", "/uvicorn/config.py", "exec"), server)
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    spinning.loop.call_soon_threadsafe(server["load"])
    assert here.entered.wait(20)
    rounds(ticks, clock, 0.3)
    here.release.set()
    spinning.turn()
    [event] = sink.events(EVENT)
    sys.modules.pop("slow_protocol", None)
    sys.modules.pop("uvicorn.slow", None)

    assert ("imports", "/uvicorn/config.py", "load") == (
        event.attributes[CAUSE],
        event.attributes["code.file.path"],
        event.attributes["code.function.name"],
    )
    assert (
        "by config.py:1 load (/uvicorn/config.py, no line of the application), which imports a module: nothing else "
        "runs on it meanwhile. Import it before the loop runs"
    ) in event.body


def blocks_in_a_task(loop_class, spin, tracer, ticks, clock, rest):
    """A loop is held in a task with a name, in a span; returns the ids of the span."""
    entered, release = threading.Event(), threading.Event()

    async def work():
        with tracer.start_as_current_span("order") as span:
            entered.set()
            release.wait(20)
        return span.get_span_context()

    spinning = spin(loop_class())
    rest()
    ticks.tick()
    tasks = []
    spinning.loop.call_soon_threadsafe(
        lambda: tasks.append(spinning.loop.create_task(work(), name="order-4711" + 200 * "!"))
    )
    assert entered.wait(20)
    rounds(ticks, clock, 0.3)
    release.set()
    eventually(tasks[0].done)
    rest()
    ticks.tick()
    return tasks[0].result()


def test_the_task_and_the_trace_are_told(ticks, sink, clock, rest, loop_class, spin):
    """The name of the task, cut; the ids of the span that was current in it, as the trace of the event."""
    tracer = sink.tracer_provider.get_tracer("test")
    span = blocks_in_a_task(loop_class, spin, tracer, ticks, clock, rest)
    expected = (span.trace_id, span.span_id)
    if loop_class is uvloop.Loop and sys.version_info < (3, 12):
        expected = (0, 0)  # a task does not tell its context yet, and uvloop shows no handle

    assert [("order-4711" + 90 * "!", *expected)] * 2 == [
        (event.attributes["asyncio.task.name"], event.trace_id or 0, event.span_id or 0)
        for event in sink.events(EVENT)
    ]


def test_a_hold_outside_of_any_trace(ticks, sink, clock, rest, spin):
    """A callback has no task, and no span: the event has none either, also if our own thread happened to have one."""
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    with spinning.held():
        rounds(ticks, clock, 0.3)
    [event] = sink.events(EVENT)

    assert ("asyncio.task.name" in event.attributes, event.trace_id or 0) == (False, 0)


def test_a_callback_without_a_line_of_the_application(ticks, sink, clock, rest, loop_class, spin):
    """The innermost frame is named, and the message says that it is not the application's."""
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    nothing = queue.Queue()
    spinning.loop.call_soon_threadsafe(nothing.get, True, 20)
    eventually(lambda: shown(spinning.thread.ident, "queue"))
    rounds(ticks, clock, 0.3)
    nothing.put(None)
    event = sink.events(EVENT)[0]

    assert event.attributes["code.file.path"] in (queue.__file__, threading.__file__)
    assert ", no line of the application)" in event.body


@pytest.mark.parametrize("stir", [1e-9, 0.0])
def test_a_callback_in_c_that_waits(ticks, sink, clock, rest, loop_class, spin, stir):
    """It has no frame: asyncio's handle shows that it runs, and uvloop does not run what it is handed."""
    clock.stir = stir
    spinning = spin(loop_class())
    rest()
    ticks.tick()
    lock = threading.Lock()
    lock.acquire()
    spinning.loop.call_soon_threadsafe(lock.acquire)
    if loop_class is not uvloop.Loop:
        eventually(lambda: stacks()[spinning.thread.ident].f_code.co_name == "_run")
        clock.cpu += 1e-4  # it has woken up for it
    rounds(ticks, clock, 3.0)
    lock.release()
    spinning.turn()
    rest()
    rounds(ticks, clock, 0.5)
    held, ended = sink.events(EVENT)[0], sink.events(EVENT)[-1]

    assert (["waits"] * 2, ["held", "ended"]) == (
        [event.attributes[CAUSE] for event in (held, ended)],
        [event.attributes[STATE] for event in (held, ended)],
    )
    assert 1.9 < ended.attributes[DURATION] < 3.3
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)
    if loop_class is uvloop.Loop:
        assert 1.0 <= held.attributes[DURATION] < 1.2
        assert (
            " so far, by a call into C that shows no line, as of a function of a library that was handed to the loop "
            "by itself (`call_soon(lock.acquire)`), which waits without letting go: nothing else" in held.body
        )
        assert "code.line.number" not in held.attributes
    else:
        assert "events.py" in held.body
        assert ", no line of the application)" in held.body


@pytest.mark.parametrize("stir", [1e-9, 0.0])
def test_a_loop_in_c_that_waits_is_asked_once_a_second(ticks, sink, clock, rest, loops, spin, stir):
    """No stack shows that it waits: it is woken that often to prove it, and no more often."""

    class Counting(uvloop.Loop):
        handed = 0

        def call_soon_threadsafe(self, *args, **kwargs):
            self.handed += 1
            return super().call_soon_threadsafe(*args, **kwargs)

    clock.stir = stir
    spinning = spin(Counting())
    rest()
    before = spinning.loop.handed
    for _ in range(50):
        clock.now += 0.1
        ticks.tick()
        eventually(lambda: all(running.beat is None or running.beat.ran for running in loops.running()))
    beats = spinning.loop.handed - before

    assert 4 <= beats <= 10  # of 50 looks; one that meets a beat while it runs sends another
    assert ([], {}) == (sink.events(), sink.collect().as_dict())


def shown(ident, module):
    """Whether a frame of *module* is on the stack of the thread."""
    frame = stacks().get(ident)
    while frame is not None and frame.f_globals["__name__"] != module:
        frame = frame.f_back
    return frame is not None


def test_a_callback_of_the_loops_own_blames_nobody(ticks, sink, clock, rest, spin):
    """What asyncio does by itself, such as reading what woke the loop, is no line to look for."""
    spinning = spin(asyncio.new_event_loop())
    rest()
    ticks.tick()
    release = threading.Lock()
    release.acquire()
    own = {"__name__": "asyncio.selector_events", "wait": release.acquire}
    exec("def read_from_self(): wait(True, 20)", own)
    spinning.loop.call_soon_threadsafe(own["read_from_self"])
    eventually(lambda: shown(spinning.thread.ident, "asyncio.selector_events"))
    rounds(ticks, clock, 0.5)
    release.release()

    assert [] == sink.events()
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_one_line_is_reported_once_a_minute(ticks, sink, clock, loop_class, spin):
    """Each hold is counted, and the log is not flooded: neither with the first reports nor with their ends."""
    spinning = spin(loop_class())
    for _ in range(3):
        with spinning.held():
            ticks.tick()
            rounds(ticks, clock, 0.3)
        spinning.turn()
        ticks.tick()

    assert ["held", "ended"] == [event.attributes[STATE] for event in sink.events(EVENT)]
    assert {("worker",): 3} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_thread_whose_stack_cannot_be_had(ticks, sink, clock, spin, monkeypatch):
    """On an interpreter without `sys._current_frames` the hold is counted and nobody named."""
    monkeypatch.delattr(sys, "_current_frames")
    spinning = spin(asyncio.new_event_loop())
    with spinning.held():
        ticks.tick()
        rounds(ticks, clock, 0.3)

    assert [] == sink.events()
    assert {("worker",): 1} == sink.collect().points(ASYNCIO_EVENTLOOP_BLOCKED)


def test_a_hold_that_ends_with_the_loop(start, sink, loop_class):
    """The blocking line is the last that the loop runs: its end is told too."""
    loops = Loops(0.02)
    start(loops, Blocked(loops, 0.1))

    async def main():
        await asyncio.sleep(0.1)
        wait_until(lambda: "held" in states(sink))

    loop = loop_class()
    loop.run_until_complete(main())
    loop.close()
    wait_until(lambda: states(sink)[-1] == "ended")

    assert "held" == states(sink)[-2]


def test_uvloop_is_among_them():
    """A watch that is blind on uvloop is what others have shipped (patching Handle._run)."""
    assert not issubclass(uvloop.Loop, asyncio.BaseEventLoop)
