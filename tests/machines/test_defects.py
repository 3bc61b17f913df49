# SPDX-License-Identifier: Apache-2.0
"""Defects of packages that people use, which ours must not have; each test is named after its row in the list.

More of them stand where they belong: ``pytest -k c_`` finds all.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_resinstr
from fakes import FakeClock, FakeReading, run
from otel_resinstr import semconv
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.process.cpu import Cpu
from otel_resinstr.process.reading import CpuTimes
from otel_resinstr.semconv import METRICS, Kind
from support import Collected

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")


def test_c_16_a_reader_in_another_thread_is_told_the_same():
    """No state is kept by thread, nor by reader: the second one to ask, from a new thread, sees the busy half."""
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    provider = MeterProvider(readers, shutdown_on_exit=False)
    clock, reading = FakeClock(1000.0), FakeReading(cpu_times=CpuTimes(0.0, 0.0), cpus=1.0)
    running = Running([Cpu(reading, 10.0, clock)], Telemetry(provider))
    clock.now += 60.0
    reading.known["cpu_times"] = CpuTimes(30.0, 0.0)
    seen = []

    def collect(reader):
        seen.append(Collected(reader.get_metrics_data()).points("process.cpu.utilization"))

    for reader in readers:
        thread = threading.Thread(target=collect, args=(reader,))
        thread.start()
        thread.join()
    running.stop()
    provider.shutdown()

    assert [{("user",): 0.5, ("system",): 0.0}] * 2 == seen


@linux_only
def test_c_21_each_metric_of_a_forked_child_is_the_child_s():
    """Memory, threads, descriptors, CPU, faults: what the parent has does not show in the child."""
    parent, child, truth = run("""
import mmap, resource, threading
import otel_resinstr

end = threading.Event()
for _ in range(30):
    threading.Thread(target=end.wait).start()
memory = mmap.mmap(-1, 200 << 20)
memory.write(b"x" * (200 << 20))
while os.times().user < 1.0:
    sum(range(1000))
settings = otel_resinstr.Settings(disabled_probes=("*.peaks", "host.shortage"))
otel_resinstr.instrument(settings, **sink.providers)
parent = collect()

def in_child():
    memory.close()
    # The parent's descriptors are the child's until it closes them.
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    settled()
    found = collect()
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return found, {
        "rss": int(status["VmRSS"].split()[0]) * 1024,
        "threads": int(status["Threads"]),
        "fds": len(os.listdir("/proc/self/fd")) - 1,
        "user": usage.ru_utime,
        "minor": usage.ru_minflt,
    }

child, truth = forked(in_child)
end.set()
otel_resinstr.uninstrument()
print(json.dumps((parent, child, truth)))
""")

    mib = 1 << 20
    assert parent["process.memory.usage"][""] - child["process.memory.usage"][""] > 150 * mib
    assert truth["rss"] == pytest.approx(child["process.memory.usage"][""], abs=16 * mib)
    assert truth["threads"] == child["process.thread.count"][""] == 1
    assert parent["process.thread.count"][""] >= 31
    assert {"main": 1, "native": 0} == child["cpython.thread.count"]
    assert truth["fds"] == child["process.unix.file_descriptor.count"][""]
    assert truth["user"] == pytest.approx(child["process.cpu.time"]["user"], abs=0.5)
    assert parent["process.cpu.time"]["user"] >= 1.0 > child["process.cpu.time"]["user"]
    assert (
        child["process.paging.faults"]["minor"] <= truth["minor"] < parent["process.paging.faults"]["minor"]
    )
    assert child["process.uptime"][""] <= parent["process.uptime"][""] + 60
    assert child["resinstr.memory.usage"]["process"] == pytest.approx(truth["rss"], abs=16 * mib)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_c_21_what_the_machine_counts_begins_at_0_in_a_forked_child(tmp_path):
    """Faults, kills, throttling and stalls that were before the fork are the parent's to tell."""
    parent, child = run(f"""
import shutil
from pathlib import Path
from fakes import MACHINES, Machine
from otel_resinstr.host import HostReading
from otel_resinstr.host.container import Container
from otel_resinstr.host.paging import Paging
from otel_resinstr.host.pressure import Pressure

machine = Machine(Path(shutil.copytree(MACHINES / "kubernetes_v2", {str(tmp_path / "machine")!r})))

class Now:
    now = 1000.0
    def __call__(self):
        return self.now

clock = Now()
reading = machine.reading(clock)
start(Paging(reading), Container(reading), Pressure(reading))
machine.replace("proc/vmstat", "pgmajfault 4000", "pgmajfault 4100")
machine.replace("sys/fs/cgroup/memory.events", "oom_kill 1", "oom_kill 3")
machine.set("sys/fs/cgroup/cpu.stat", "throttled_usec 9500000\\n")
machine.set("proc/pressure/memory", "some total=10700000\\n")
clock.now += 60.0
parent = collect()
print(json.dumps((parent, forked(collect))))
""")

    def counted(points):
        return (
            points["system.paging.faults"]["major"],
            points["resinstr.container.memory.events"]["oom_kill"],
            points["resinstr.container.cpu.throttled.time"][""],
            points["resinstr.pressure.stall.time"]["some.memory.system"],
        )

    assert ((100, 2, 7.0, 10.0), (0, 0, 0.0, 0.0)) == (counted(parent), counted(child))


def test_c_22_after_uninstrument_nothing_is_reported(sink):
    """No metric of any subject."""
    otel_resinstr.instrument(**sink.providers)
    during = sink.collect().names()
    otel_resinstr.uninstrument()

    assert len(during) > 20
    assert [] == sink.collect().names()


def test_c_24_what_counts_is_a_counter_and_what_is_bytes_is_bytes():
    """Collections are no level that goes down, swap is not in pages, and attributes are those of the conventions."""
    by_name = {metric.name: metric for metric in METRICS}
    collections, swap = by_name["cpython.gc.collections"], by_name["system.paging.usage"]

    assert (Kind.OBSERVABLE_COUNTER, "{collection}") == (collections.kind, collections.unit)
    assert (Kind.OBSERVABLE_UP_DOWN_COUNTER, "By") == (swap.kind, swap.unit)
    assert ("cpu.mode",) == by_name["process.cpu.time"].attributes
    assert ("process.context_switch.type",) == by_name["process.context_switches"].attributes
    assert "type" not in {attribute for metric in METRICS for attribute in metric.attributes}
    assert semconv.SCHEMA_URL.endswith("/1.44.0")


def test_c_24_collections_never_go_down(collect, sink):
    """Whatever ``gc.get_count`` does."""
    otel_resinstr.instrument(**sink.providers)
    seen = []
    for generation in (0, 2, 1, 2):
        gc.collect(generation)
        seen.append(collect().points("cpython.gc.collections"))

    for before, after in itertools.pairwise(seen):
        assert all(after[key] >= before[key] for key in before)
    assert seen[3][2,] - seen[0][2,] >= 2


@linux_only
def test_c_25_no_other_process_is_looked_at():
    """Each file and directory that a collection of all subjects opens is this process's, or the machine's."""
    opened = run("""
import otel_resinstr

opened, watching = set(), False

def audit(event, arguments):
    if watching and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
        opened.add(os.fsdecode(arguments[0]))

sys.addaudithook(audit)
otel_resinstr.instrument(otel_resinstr.Settings(sockets=True, gc_pauses=True, object_count=True), **sink.providers)
collect()
watching = True
time.sleep(0.1)
collect()
for instrumentor in otel_resinstr.instrumentors.SUBJECTS:
    for beat in instrumentor()._running._telemetry.ticker._beats:
        beat.call()
watching = False
otel_resinstr.uninstrument()
print(json.dumps(sorted(path.replace(f"/proc/{os.getpid()}/", "/proc/self/") for path in opened)))
""")

    allowed = (
        "/proc/self/",
        "/proc/pressure/",
        "/proc/meminfo",
        "/proc/vmstat",
        "/proc/stat",
        "/sys/fs/cgroup/",
    )
    assert "/proc/self/statm" in opened
    assert [] == [path for path in opened if not path.startswith(allowed)]


@linux_only
def test_c_26_a_name_with_spaces_and_parentheses_changes_nothing():
    """gunicorn calls its processes ``gunicorn: master``: no field of ours is counted from the beginning of a line."""
    plain, odd, resident = run("""
from otel_resinstr.process.memory import Memory
from otel_resinstr.process.uptime import Uptime

start(Memory(ProcessReading()), Uptime(ProcessReading()))
plain = collect()
with open("/proc/self/comm", "w") as comm:
    comm.write("a) R 1 (b) c")
odd = collect()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
assert status["Name"].strip() == "a) R 1 (b) c"
print(json.dumps((plain, odd, int(status["VmRSS"].split()[0]) * 1024)))
""")

    assert {*plain} == {*odd}
    assert resident == pytest.approx(odd["process.memory.usage"][""], abs=4 << 20)
    assert odd["process.uptime"][""] == pytest.approx(plain["process.uptime"][""], abs=30)


def test_c_30_what_failed_once_is_back_the_next_time(machine, start, collect):
    """A source that cannot be read for a moment leaves a gap, no zero, and no gap after it."""
    from otel_resinstr.host.memory import Memory

    clock, broken = FakeClock(1000.0), machine("kubernetes_v2")
    meminfo = (broken.root / "proc/meminfo").read_text()
    start(Memory(broken.reading(clock)))
    seen = []
    for text in (meminfo, "", meminfo):
        clock.now += 60.0
        broken.set("proc/meminfo", text)
        seen.append(collect().value("system.memory.linux.available"))

    assert [10 << 30, None, 10 << 30] == seen
