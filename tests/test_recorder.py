# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: what it holds, when it writes, and what is left when a process ends."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import otel_resinstr
from fakes import FakeClock
from mongo import eventually
from otel_resinstr import _events, recorder
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.explain import readings
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.memory import Memory
from otel_resinstr.recorder import BYTES, PERIOD, SECONDS, SPACING, Recorder
from otel_resinstr.semconv import (
    PROCESS_CPU_UTILIZATION,
    PROCESS_MEMORY_USAGE,
    PROCESS_THREAD_COUNT,
    PROCESS_UPTIME,
    RESINSTR_PROBE_DISABLED,
    Event,
)
from support import TickerByHand, clean_environ

STALLED = Event(probe="test", name="test.stalled", description="It stands still.")
ROOM = 100
SIGUSR2 = getattr(signal, "SIGUSR2", None)

unix = pytest.mark.skipif(SIGUSR2 is None, reason="signals of Unix")


class Figures:
    """A probe whose figures a test sets."""

    name = "test.figures"

    def __init__(self):
        self.uptime = 0.0
        self.series = []

    def start(self, lease):
        self.lease = lease
        lease.observe(PROCESS_UPTIME, lambda: self.uptime)
        lease.observe(PROCESS_CPU_UTILIZATION, lambda: self.series or None)


class Flight:
    """A recorder with clocks of the test's, and a ticker that beats when the test says so."""

    def __init__(self, folder, sink):
        self.folder = folder
        self.clock, self.cpu = FakeClock(1000.0), FakeClock()
        self.ticker = TickerByHand()
        self.figures = Figures()
        self.recorder = Recorder(folder, ROOM, self.clock, lambda: int(self.clock.now * 1e9), self.cpu)
        telemetry = Telemetry(**sink.providers, ticker=self.ticker, clock=self.clock)
        self.running = Running([self.figures, self.recorder], telemetry)
        self._beat, self._look = self.ticker.calls

    def sample(self, uptime=0.0):
        """Five seconds later: the next sample."""
        self.clock.now += PERIOD
        self.figures.uptime = uptime
        return self._beat()

    def look(self):
        """What the look of the next second does, to its end."""
        self._look()
        if self.recorder._behind is not None:
            self.recorder._behind.join()

    def event(self, event=STALLED):
        self.figures.lease.event(event, "it stands still", self.clock.now, {"line": 7})

    def read(self):
        """The one process that the files tell of."""
        found = readings.read(self.folder)
        assert 0 == found.unreadable
        [process] = found.processes
        return process

    def uptimes(self):
        return [point.value for point in self.read().totals(PROCESS_UPTIME.name)]


@pytest.fixture
def flight(tmp_path, sink):
    """A recorder that has looked once, and has a folder."""
    flight = Flight(tmp_path / "out", sink)
    flight.look()
    yield flight
    flight.running.stop()


def lines(folder):
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(True)]


def test_a_dump_holds_what_was_and_what_is(flight):
    """Each sample at its time, the events among them, and the moment of the dump itself."""
    flight.sample(1.0)
    flight.event()
    flight.sample(2.0)
    flight.figures.uptime = 3.0
    flight.clock.now += 1

    path = flight.recorder.dump()

    process = flight.read()
    assert [(1005, 1.0), (1010, 2.0), (1011, 3.0)] == [
        (point.at, point.value) for point in process.totals(PROCESS_UPTIME.name)
    ]
    [event] = process.events
    assert (STALLED.name, "it stands still", {"line": 7}) == (event.name, event.body, event.attributes)
    assert [path] == list(flight.folder.iterdir())
    assert re.fullmatch(rf"recorder-\d{{8}}T\d{{12}}-{os.getpid()}\.jsonl", path.name)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of Unix")
def test_a_dump_is_its_users_only(flight):
    """As all files of the package."""
    assert 0o600 == stat.S_IMODE(flight.recorder.dump().stat().st_mode)


def test_values_are_those_of_a_reader_at_the_same_moment(tmp_path, sink):
    """All points of all metrics, but for how the dump says what the SDK does: both read the same."""
    encoder = pytest.importorskip(
        "opentelemetry.exporter.otlp.json.common.metrics_encoder", reason="needs a newer SDK"
    )
    settings = otel_resinstr.Settings(recorder_dir=str(tmp_path), disabled_probes="eventloop.*")
    otel_resinstr.instrument(settings, **sink.providers)
    collected = encoder.encode_metrics(sink.reader.get_metrics_data()).to_dict()
    path = otel_resinstr.dump()
    otel_resinstr.uninstrument()

    [expected] = readings.parse([json.dumps(collected)]).processes
    [found] = readings.parse(path.read_text().splitlines()).processes
    assert {*found.metrics} == {*expected.metrics}
    ends = (".limit", ".count", ".gc.threshold")
    steady = [name for name in found.metrics if name.endswith(ends) and "thread" not in name]
    assert len(steady) > 1
    for name in found.metrics:
        assert {*found.metrics[name]} == {*expected.metrics[name]}, name
    for name in steady:
        assert values(found, name) == values(expected, name)


def values(process, name):
    return {key: [point.value for point in series.points()] for key, series in process.metrics[name].items()}


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
def test_values_are_those_of_the_kernel(tmp_path, sink):
    """Resident memory to a few pages; threads come and go in this process."""
    reading = ProcessReading()
    telemetry = Telemetry(**sink.providers, ticker=TickerByHand())
    running = Running([Memory(reading), Recorder(tmp_path, ROOM)], telemetry)
    path = recorder.dump()
    status = Path("/proc/self/status").read_text()
    running.stop()

    [process] = readings.parse(path.read_text().splitlines()).processes
    [rss] = process.totals(PROCESS_MEMORY_USAGE.name)
    assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024 == pytest.approx(rss.value, abs=2**22)


def test_nothing_is_written_twice(flight):
    """A second dump adds what is new to the same file."""
    flight.sample(1.0)
    first = flight.recorder.dump()
    flight.sample(2.0)
    second = flight.recorder.dump()

    assert first == second
    assert [1.0, 1.0, 2.0, 2.0] == [
        point["asDouble"] for line in lines(flight.folder) for point in points_of(line)
    ]


def points_of(line):
    [of_resource] = json.loads(line)["resourceMetrics"]
    [metric] = of_resource["scopeMetrics"][0]["metrics"]
    return metric["gauge"]["dataPoints"]


def test_another_folder_gets_all_of_it(flight, tmp_path):
    """Also what is in the recorder's own, which goes on as if nothing had been."""
    flight.sample(1.0)
    flight.recorder.dump()
    path = recorder.dump(str(tmp_path / "elsewhere"))
    flight.recorder.dump()

    assert tmp_path / "elsewhere" == path.parent
    assert [3, 4] == [len(lines(path.parent)), len(lines(flight.folder))]


def test_ten_minutes_are_kept(flight):
    """What is older is forgotten."""
    for number in range(150):
        flight.sample(float(number))

    flight.recorder.dump()

    assert [float(number) for number in range(149 - int(SECONDS / PERIOD), 150)] == flight.uptimes()


def test_two_megabytes_are_kept(flight):
    """Whatever comes: the ring holds to its size, which is counted, and keeps the newest."""
    for number in range(100):
        flight.clock.now += PERIOD
        bulk = {"number": number, "bulk": os.urandom(40_000).hex()}
        flight.figures.lease.event(STALLED, "it stands still", number, bulk)
    held = sum(sys.getsizeof(entry) + sys.getsizeof(entry.request) for entry in flight.recorder._ring)
    kept = len(flight.recorder._ring)

    path = flight.recorder.dump()

    numbers = [event.attributes["number"] for event in flight.read().events]
    assert BYTES * 0.9 < held <= BYTES
    assert list(range(100 - len(numbers), 100)) == numbers
    assert kept - 1 <= len(numbers) <= kept  # the dump's own sample takes room
    assert path.stat().st_size > recorder._CHUNK


def test_a_sample_larger_than_the_ring_is_none(flight, monkeypatch):
    """It is not kept, and nothing breaks."""
    monkeypatch.setattr(recorder, "BYTES", 100)
    flight.sample()

    assert 0 == len(flight.recorder._ring)


def test_sampling_takes_a_thousandth_of_a_core_at_most(flight):
    """A sample that takes 20 ms is followed by twenty seconds without one; a quick one by five."""
    flight.figures.lease.observe(
        PROCESS_THREAD_COUNT, lambda: flight.cpu.__setattr__("now", flight.cpu.now + 0.02)
    )

    assert pytest.approx(20.0) == flight.sample()

    flight.figures.lease.end()
    assert PERIOD == flight.sample()


def test_an_event_brings_what_was_before_it_and_what_comes_after(flight):
    """Ten seconds apart for ten minutes, without a gap; then the recorder is silent again."""
    for number in range(3):
        flight.sample(float(number))
    flight.look()
    assert [] == list(flight.folder.glob("*"))

    flight.event()
    flight.look()
    assert [0, 1, 2] == flight.uptimes()
    flight.sample(3.0)
    flight.look()
    assert [0, 1, 2] == flight.uptimes()
    flight.sample(4.0)
    flight.look()
    assert [0, 1, 2, 3, 4] == flight.uptimes()
    assert [STALLED.name] == [event.name for event in flight.read().events]

    flight.clock.now += SECONDS
    flight.sample(5.0)
    flight.look()
    assert [0, 1, 2, 3, 4] == flight.uptimes()


def test_more_events_bring_no_more_writes(flight):
    """A flood costs one write in ten seconds."""
    flight.event()
    flight.look()
    before = [path.stat().st_mtime_ns for path in flight.folder.iterdir()]
    flight.event()
    flight.clock.now += SPACING / 2
    flight.event()
    flight.look()

    assert before == [path.stat().st_mtime_ns for path in flight.folder.iterdir()]


def test_a_probe_that_was_stopped_is_no_suspect(flight):
    """It is in the record, and brings no write."""
    flight.event(RESINSTR_PROBE_DISABLED)
    flight.look()
    assert [] == list(flight.folder.glob("*"))

    flight.recorder.dump()
    assert [RESINSTR_PROBE_DISABLED.name] == [event.name for event in flight.read().events]


@unix
def test_a_signal_brings_a_dump(flight):
    """SIGUSR2, as soon as the recorder looks: the handler itself does nothing."""
    flight.sample(1.0)
    signal.raise_signal(SIGUSR2)
    assert [] == list(flight.folder.glob("*"))
    flight.figures.uptime = 2.0
    flight.look()
    flight.look()

    assert [1.0, 2.0] == [point["asDouble"] for line in lines(flight.folder) for point in points_of(line)]


@unix
def test_a_signal_that_somebody_handles_is_theirs(tmp_path, sink):
    """Before and after."""
    before = signal.signal(SIGUSR2, signal.SIG_IGN)
    try:
        Flight(tmp_path, sink).running.stop()
        assert signal.SIG_IGN is signal.getsignal(SIGUSR2)
    finally:
        signal.signal(SIGUSR2, before)


def test_it_is_undone(tmp_path, sink):
    """Signal and listener as they were before; a dump has nothing to tell."""
    before = SIGUSR2 and signal.getsignal(SIGUSR2), _events._listeners
    flight = Flight(tmp_path, sink)
    assert (before == (SIGUSR2 and signal.getsignal(SIGUSR2), _events._listeners)) is False

    flight.running.stop()

    assert before == (SIGUSR2 and signal.getsignal(SIGUSR2), _events._listeners)
    assert recorder.dump() is None
    assert [] == list(tmp_path.iterdir())


def test_started_and_ended_in_another_thread(tmp_path, sink):
    """Where no handler can be set: all else works."""
    before = SIGUSR2 and signal.getsignal(SIGUSR2)
    flights = []
    starting = threading.Thread(target=lambda: flights.append(Flight(tmp_path, sink)))
    starting.start()
    starting.join()
    assert before == (SIGUSR2 and signal.getsignal(SIGUSR2))

    assert recorder.dump() is not None
    flights[0].running.stop()


def test_without_a_folder_nothing_is_recorded(sink):
    """Nor patched, nor handled, nor called."""
    ticker = TickerByHand()
    running = Running([Recorder(None, ROOM)], Telemetry(**sink.providers, ticker=ticker))

    assert ([], None) == (ticker.calls, recorder.dump())
    running.stop()


@pytest.mark.parametrize("folder", ["\0", 7, "file"])
def test_a_dump_to_what_is_no_folder_is_none(flight, tmp_path, monkeypatch, folder, caplog):
    """It never raises, and the recorder goes on."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()

    assert recorder.dump(folder) is None
    assert recorder.dump() is not None
    said = [record.getMessage() for record in caplog.records]
    assert folder == 7 or ("what the flight recorder has is not written: " in said[0] and 1 == len(said))


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="a folder in which nobody may write, root neither"
)
def test_a_folder_that_cannot_be_written_to_costs_one_warning(tmp_path, sink, caplog):
    """However often it is tried; what was recorded is kept, and written where that is possible."""
    flight = Flight(Path("/proc/self/resinstr"), sink)
    flight.look()
    flight.sample(1.0)
    assert (None, None) == (recorder.dump(), recorder.dump())
    path = recorder.dump(tmp_path)
    flight.running.stop()

    assert 4 == len(path.read_bytes().splitlines())
    [said] = [record.getMessage() for record in caplog.records if "recorder" in record.getMessage()]
    assert said.startswith("what the flight recorder has is not written: ")
    assert said.endswith("; let OTEL_RESINSTR_RECORDER_DIR be a folder that the process may write to")


def test_a_share_that_hangs_holds_nobody_up(flight, monkeypatch):
    """One thread waits for it; the package's own goes on, and a dump gives up."""
    monkeypatch.setattr(recorder, "_PATIENCE", 0.01)
    entered, released = threading.Event(), threading.Event()

    def hang(_line):
        entered.set()
        released.wait()

    with monkeypatch.context() as hanging:
        hanging.setattr(flight.recorder._lines, "write", hang)
        flight.event()
        flight._look()
        entered.wait()
        waiting = flight.recorder._behind
        flight.clock.now += SPACING
        flight._look()
        assert waiting is flight.recorder._behind
        assert recorder.dump() is None
    released.set()
    waiting.join()

    assert recorder.dump() is not None


def test_a_process_that_may_have_no_more_threads_is_recorded(flight, monkeypatch):
    """Which is what some leaks end in: the package's own thread writes then."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    flight.event()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        flight._look()

    assert [STALLED.name] == [event.name for event in flight.read().events]


def test_an_event_of_a_finaliser_s_is_kept_in_the_middle_of_it(flight):
    """It comes while the ring is looked at, and while its oldest goes."""

    class Finalised(recorder._Entry):
        times = 2

        def size(self):
            if self.times:
                self.times -= 1
                flight.event()
            return super().size()

    flight.recorder._ring.append(Finalised(flight.clock.now, b""))
    flight.sample(1.0)
    flight.clock.now += SECONDS
    flight.sample(2.0)
    flight.recorder.dump()

    assert [2.0] == flight.uptimes()
    assert not flight.figures.lease.ended
    assert not flight.recorder._lease.ended


def test_the_end_waits_for_no_share_that_hangs(flight, monkeypatch):
    """For what the recorder's patience is at most; what hangs goes on in a daemon thread."""
    monkeypatch.setattr(recorder, "_PATIENCE", 0.01)
    released, done = threading.Event(), threading.Event()

    def hang(_line):
        released.wait()
        done.set()

    monkeypatch.setattr(flight.recorder._lines, "write", hang)
    flight.sample(1.0)
    flight.recorder._at_exit()
    assert not done.is_set()
    released.set()
    done.wait()


@pytest.mark.parametrize("hangs", [False, True])
def test_the_end_without_a_thread_more(flight, monkeypatch, hangs):
    """It is written where the end comes, unless another thread hangs in that already."""
    monkeypatch.setattr(recorder, "_PATIENCE", 0.01)
    released = threading.Event()
    other = threading.Thread(target=released.wait if hangs else int)
    other.start()
    if not hangs:
        other.join()

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        flight.recorder._behind = other
        flight.recorder._at_exit()
        flight.recorder._behind = None
    released.set()
    other.join()

    assert [not hangs] == [bool(list(flight.folder.glob("recorder-*")))]

    if hangs:
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            flight.recorder._at_exit()
        assert [0.0] == flight.uptimes()


def test_it_names_the_resource_of_the_sdk_without_the_command_line(tmp_path, sink):
    """Which may hold a password; the process's id is always there."""
    resource = Resource({"service.name": "shop", "process.command_args": ("--password", "secret")})
    providers = {
        **sink.providers,
        "tracer_provider": TracerProvider(resource=resource, shutdown_on_exit=False),
    }
    running = Running(
        [Figures(), Recorder(tmp_path, ROOM, began=psutil.Process().create_time)],
        Telemetry(**providers, ticker=TickerByHand()),
    )
    path = recorder.dump()
    running.stop()

    [process] = readings.parse(path.read_text().splitlines()).processes
    began = process.resource.pop("process.creation.time")
    assert psutil.Process().create_time() == pytest.approx(
        dt.datetime.fromisoformat(began).timestamp(), abs=2
    )
    assert {"service.name": "shop", "process.pid": os.getpid()} == process.resource


def test_two_lives_with_the_same_id_are_two_processes(tmp_path, sink):
    """As in a container that is started again; where the system does not tell, they are not told apart."""

    lives = [1000.0, 2000.0, None, None]
    for _ in range(4):
        running = Running(
            [Figures(), Recorder(tmp_path, ROOM, began=lambda: lives.pop(0))],
            Telemetry(**sink.providers, ticker=TickerByHand()),
        )
        recorder.dump()
        running.stop()

    found = [process.resource.get("process.creation.time") for process in readings.read(tmp_path).processes]
    assert ["1970-01-01T00:16:40.000+00:00", "1970-01-01T00:33:20.000+00:00", None] == found
    report = pytest.importorskip("otel_resinstr.cli.report", reason="needs the extra cli")
    titles = report._titles([{"process.pid": 1, "process.creation.time": began} for began in found[:2]])
    assert [f"no service.name, pid 1, {began}" for began in found[:2]] == titles


PROGRAM = """
import os, signal, sys, threading, time
import otel_resinstr

signal.signal(signal.SIGTERM, signal.SIG_DFL)  # who measures coverage has a handler
otel_resinstr.instrument()
"""

ENDS = {
    "the program ends": ("", 0),
    "an exception": ("raise ValueError('nobody catches it')", 1),
    "Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
    "a thread goes on": ("threading.Thread(target=time.sleep, args=(0.1,)).start()", 0),
}


def program(code, folder, **environ):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environ(OTEL_RESINSTR_RECORDER_DIR=str(folder), **environ),
    )


def by_pid(folder):
    """What each process recorded."""
    found = readings.read(folder)
    assert 0 == found.unreadable
    return {process.resource["process.pid"]: process for process in found.processes}


@unix
def test_an_end_that_can_be_caught_leaves_a_dump(tmp_path):
    """And nothing else: no file for stacks that were not needed, no word on the output that is not the program's."""
    programs = {end: program(code, tmp_path) for end, (code, _) in ENDS.items()}
    said = {end: started.communicate(timeout=60)[1] for end, started in programs.items()}

    assert {end: code for end, (_, code) in ENDS.items()} == {
        end: ended.returncode for end, ended in programs.items()
    }
    assert [] == [end for end, text in said.items() if "resinstr" in text]
    found = by_pid(tmp_path)
    assert {ended.pid for ended in programs.values()} == {*found}
    assert len(programs) == len(list(tmp_path.iterdir()))
    assert [] == [pid for pid, process in found.items() if not process.totals(PROCESS_MEMORY_USAGE.name)]


@unix
def test_what_is_killed_after_an_event_has_told_what_was_before(tmp_path):
    """A loop is held; a second later nobody can ask the process any more (SIGKILL, as of the kernel's at no memory)."""
    code = """
        import asyncio

        async def main():
            time.sleep(0.5)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    running = program(code, tmp_path)
    try:
        eventually(lambda: any(b"asyncio.eventloop.blocked" in line for line in lines(tmp_path)))
    finally:
        running.kill()
        running.communicate(timeout=60)

    process = by_pid(tmp_path)[running.pid]
    assert "asyncio.eventloop.blocked" in [event.name for event in process.events]


@unix
def test_what_is_killed_while_it_writes_leaves_whole_lines(tmp_path):
    """At most the last line of the last file is cut; all before it is read."""
    code = """
        from otel_resinstr import _events
        from otel_resinstr.semconv import MONGODB_POOL_EXHAUSTED

        for number in range(19):
            events = _events.Events()
            events.say(MONGODB_POOL_EXHAUSTED, "it waits", number, {"bulk": os.urandom(40_000).hex()})
        while True:
            print(otel_resinstr.dump(os.environ["OTEL_RESINSTR_RECORDER_DIR"]), flush=True)
    """
    running = program(code, tmp_path)
    try:
        first = running.stdout.readline()
        running.stdout.readline()
    finally:
        running.kill()
        running.communicate(timeout=60)

    assert Path(first.strip()).parent == tmp_path
    files = sorted(tmp_path.glob("recorder-*"))
    assert len(files) > 1
    for path in files[:-1]:
        assert 0 == readings.parse(path.read_text().splitlines()).unreadable
    assert readings.parse(files[-1].read_text().splitlines()).unreadable <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_records_itself(tmp_path):
    """In a file of its own, from nothing, also if its parent was in the middle of it; the parent goes on."""
    code = """
        import warnings
        from otel_resinstr import recorder

        warnings.simplefilter("ignore", DeprecationWarning)
        running = recorder._running
        running._sample()
        running._writing.acquire()
        child = os.fork()
        if not child:
            assert len(running._ring) == 0
            print(otel_resinstr.dump() is not None, flush=True)
            otel_resinstr.uninstrument()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        running._writing.release()
        print(child)
    """
    parent = program(code, tmp_path)
    out, err = parent.communicate(timeout=60)

    assert (0, "") == (parent.returncode, err)
    dumped, child = out.split()
    found = by_pid(tmp_path)
    assert ("True", {parent.pid, int(child)}) == (dumped, {*found})
    times = {
        pid: [point.at for point in process.totals(PROCESS_UPTIME.name)] for pid, process in found.items()
    }
    assert [2, 1] == [len(times[parent.pid]), len(times[int(child)])]
    assert times[parent.pid][0] < times[int(child)][0]


def test_no_secret_is_in_a_dump(tmp_path):
    """Not of a URI, of the environment, or of the command line; not in the stacks of a fault either."""
    pytest.importorskip("pymongo")
    code = """
        import faulthandler
        from pymongo import MongoClient

        uri = "mongodb://user:Pa55-uri@127.0.0.1:1/?serverSelectionTimeoutMS=200"
        for _ in range(2):
            client = MongoClient(uri)
            try:
                client.db.command("find", "orders", filter={"card": "Pa55-value"})
            except Exception:
                pass
        otel_resinstr.dump()
        while not faulthandler.is_enabled():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGABRT)
    """
    running = program(code, tmp_path, MONGO_URI="mongodb://u:Pa55-env@db", SECRET="Pa55-env")
    running.communicate(timeout=60)

    written = {path.name.partition("-")[0]: path.read_text() for path in tmp_path.iterdir()}
    assert {"recorder", "fatal"} == {*written}
    assert "mongodb.server.unreachable" in written["recorder"]
    assert "Fatal Python error: Aborted" in written["fatal"]
    assert "Pa55" not in "".join(written.values())


def test_a_process_says_at_once_that_it_cannot_write(tmp_path):
    """A second after it has begun, and not in its last moment; once, and it ends as it would."""
    (tmp_path / "file").touch()
    code = """
        while not otel_resinstr.recorder._running._warned:
            time.sleep(0.05)
        print("goes on")
    """
    ended = program(code, tmp_path / "file" / "out")
    out, err = ended.communicate(timeout=60)

    assert (0, "goes on\n") == (ended.returncode, out)
    [said] = err.splitlines()
    assert said.startswith("what the flight recorder has is not written: [Errno 20] Not a directory: ")
