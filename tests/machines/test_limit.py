# SPDX-License-Identifier: Apache-2.0
"""The same application under a real limit of 160 MiB: healthy, with a leak, and beside one that is killed.

It needs a machine that lets a test make a cgroup, which is one where the tests run as root with version 1 or a
delegated version 2; elsewhere the fake machines prove the same.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from fakes import run
from otel_resinstr._cgroup import Cgroup

MIB = 1 << 20
LIMIT = 160 * MIB


@pytest.fixture
def limited():
    """A cgroup of this machine's with a limit of memory: its directory, and how a process gets into it."""
    place = Cgroup()._place("memory")
    if place is None:
        pytest.skip("no cgroup for memory is shown")
    group = Path(place.directories[0], f"resinstr-test-{os.getpid()}")
    limit = "memory.max" if place.v2 else "memory.limit_in_bytes"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        try:
            (group / limit).write_text(str(LIMIT))
        except OSError as error:
            pytest.skip(f"no limit can be set: {error}")
        yield group
    finally:
        remove(group)


def remove(group):
    """The group goes when the last of its processes has, which takes the kernel a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
    group.rmdir()


APPLICATION = """
import logging, mmap
import otel_resinstr
from otel_resinstr.host import HostReading
from otel_resinstr.host.shortage import Shortage

with open({procs!r}, "w") as procs:
    procs.write(str(os.getpid()))

logging.getLogger("otel_resinstr").addHandler(logging.NullHandler())

# The beats of a minute are made by hand, one after the other: nothing waits for a clock.
class Clock:
    now = 1000.0

    def __call__(self):
        return self.now

clock = Clock()
shortage = Shortage(HostReading(clock=clock), clock)
settings = otel_resinstr.Settings(disabled_probes=("host.shortage", "*.peaks"))
otel_resinstr.instrument(settings, **sink.providers)
running = Running([shortage], Telemetry(**sink.providers, clock=clock))

def minute(step):
    for number in range(6):
        step(number)
        clock.now += 10.0
        shortage._look()
    collected = collect()
    # The machine under the tests may be short of memory itself.
    events = [
        (event.body, dict(event.attributes))
        for event in sink.events("resinstr.memory.pressure")
        if event.attributes["resinstr.memory.pressure.scope"] == "container"
    ]
    running.stop()
    otel_resinstr.uninstrument()
    print(json.dumps((collected, events)))
"""

HEALTHY = """
def step(number):
    # Page cache that fills the rest of the limit, and is given back.
    with open({file!r}, "wb") as file:
        file.write(b"x" * (32 << 20))
    with open({file!r}, "rb") as file:
        while file.read(1 << 20):
            pass

minute(step)
"""

LEAK = """
leaked = []

def step(number):
    if number == 0:
        # Up to 6 MiB below the limit, whatever the application has by itself: less than a twentieth of it, and room
        # enough for what the application takes meanwhile.
        usage = HostReading().container()
        size = (usage.left or 0) - (6 << 20)
        memory = mmap.mmap(-1, size)
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
        leaked.append(memory)

minute(step)
"""

KILLED = """
import signal

def step(number):
    if number == 3:
        child = os.fork()
        if not child:
            # The kernel takes this one, and not its parent.
            with open("/proc/self/oom_score_adj", "w") as adjust:
                adjust.write("1000")
            memory = mmap.mmap(-1, 256 << 20)
            for page in range(0, 256 << 20, mmap.PAGESIZE):
                memory[page] = 1
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status

minute(step)
"""


def under_the_limit(limited, what, **names):
    program = APPLICATION.format(procs=os.fspath(limited / "cgroup.procs")) + what.format(**names)
    return run(program)


def test_a_healthy_application_reports_its_limit_and_no_shortage(limited, tmp_path):
    """The limit is found, and page cache up to it is no shortage."""
    collected, events = under_the_limit(limited, HEALTHY, file=os.fspath(tmp_path / "file"))

    limit = collected["resinstr.container.memory.limit"][""]
    usage, whole = collected["process.memory.usage"][""], collected["process.memory.utilization"][""]
    assert limit == LIMIT
    assert LIMIT == pytest.approx(usage / whole, rel=0.01)
    assert (
        0 < collected["container.memory.working_set"][""] <= collected["container.memory.usage"][""] <= LIMIT
    )
    assert [] == events


def test_an_application_with_a_leak_says_whose_it_is(limited):
    """It is the process that has most of it, and it is said before it is killed."""
    collected, events = under_the_limit(limited, LEAK)

    owners = collected["resinstr.memory.usage"]
    assert owners["process"] > owners["container"]
    ((message, attributes),) = events
    assert message.startswith("the container is short of memory: ")
    assert "Look for what grows in this process" in message
    assert (LIMIT, "container") == (
        attributes["resinstr.memory.pressure.limit"],
        attributes["resinstr.memory.pressure.scope"],
    )
    assert attributes["resinstr.memory.pressure.usage"] > 0.95 * LIMIT


def test_a_worker_that_is_killed_is_reported_by_another(limited):
    """The kernel kills a child; the parent, which nothing happens to, counts it and says so."""
    collected, events = under_the_limit(limited, KILLED)

    counted = collected["resinstr.container.memory.events"]
    if "oom_kill" not in counted:
        pytest.skip("this kernel does not count kills")
    assert 1 == counted["oom_kill"]
    assert counted["max"] >= 1
    assert [1] == [attributes["resinstr.memory.pressure.oom_kills"] for _, attributes in events]
    assert "; 1 killed for want of memory; " in events[0][0]
    assert "What was killed had most of it" in events[0][0]
