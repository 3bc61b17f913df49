# SPDX-License-Identifier: Apache-2.0
"""Stand-ins: what the operating system says on other machines, and programs that a test may fork.

Each folder is the root of a machine, with as much of ``/proc`` and of its cgroups as is read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from otel_resinstr.host import HostReading
from otel_resinstr.process import ProcessReading

MACHINES = Path(__file__).parent
TESTS = MACHINES.parent


class Machine:
    """A copy of one of the machines, that changes while a probe looks at it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def set(self, path: str, text: str) -> None:
        """Let *text* stand in the file at *path*."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        """Change a part of the file at *path*."""
        text = (self.root / path).read_text()
        assert old in text, f"{old} is not in {path}"
        self.set(path, text.replace(old, new))

    def reading(self, clock: Any = None) -> HostReading:
        """The machine as the host probes read it, with nothing of the real one."""
        return HostReading(
            self.root, machine=denied, swap=denied, process=denied, clock=clock or FakeClock(1000.0)
        )


class FakeReading:
    """A process of which the test says what is known; all else is unknown."""

    def __init__(self, **known: Any) -> None:
        self.known = known

    def __getattr__(self, name: str) -> Any:
        assert hasattr(ProcessReading, name), name
        return lambda: self.known.get(name)


class FakeClock:
    """A clock that a test sets."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeProcess:
    """What stands for `psutil.Process`: it has the methods that are named, as platforms have different ones."""

    def __init__(self, **answers: Any) -> None:
        self.pid = os.getpid()
        for method, answer in answers.items():
            setattr(self, method, lambda answer=answer: answer)


def denied(*_args: Any) -> Any:
    """A source that refuses."""
    raise psutil.AccessDenied


def fake_resource(soft_limit: int = 1024, **usage: Any) -> Any:
    """What stands for the module `resource`."""
    return SimpleNamespace(
        RUSAGE_SELF=0,
        RLIMIT_NOFILE=7,
        RLIM_INFINITY=-1,
        getrusage=lambda who: SimpleNamespace(**usage),
        getrlimit=lambda which: (soft_limit, 4096),
    )


_PROGRAM = """
import json, os, sys, time, warnings
# With a thread of the SDK's, see `run`, or of the test's: that forking works all the same is what is tested.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
sys.path.insert(0, {tests!r})
from support import Sink
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.host import HostReading
from otel_resinstr.process import ProcessReading

sink = Sink()

def start(*probes):
    return Running(probes, Telemetry(**sink.providers))

def collect():
    return {{name: {{".".join(map(str, key)): value for key, value in points.items()}}
            for name, points in sink.collect().as_dict().items()}}

def settled(threads=1):
    deadline = time.monotonic() + 10
    while ProcessReading().threads() > threads and time.monotonic() < deadline:
        time.sleep(0.001)

def forked(call):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(call()).encode())
        os._exit(0)
    os.close(write)
    with open(read) as answer:
        result = json.load(answer)
    os.waitpid(child, 0)
    return result
"""


def run(program: str) -> Any:
    """What *program* prints as JSON, run in a fresh interpreter.

    It has `start` and `collect` as the tests have them, and `forked(call)`, which calls in a forked child. With
    `settled(threads)` it waits until the system has no more threads: a thread that Python has joined lives on for a
    moment, and the SDK runs some in each new process and in each forked child, to find out about its resource.
    """
    source = _PROGRAM.format(tests=str(TESTS)) + program
    answer = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, "") == (answer.returncode, answer.stderr), answer.stderr
    return json.loads(answer.stdout)


ALARM = """
import ctypes, gc, signal, weakref

class Alarm(Exception):
    pass

def ring(*_):
    raise Alarm

class Garbage:
    pass

class Ringing(weakref.ref):
    _as_parameter_ = int(signal.SIGALRM)

def delivered():
    garbage = Garbage()
    garbage.itself = garbage
    ringing = Ringing(garbage, ctypes.CDLL(None)["raise"])
    del garbage
    try:
        gc.collect()
        for _ in range(1000):
            pass  # 3.10 does not look for signals after each call
    except Alarm:
        return True
    return False

signal.signal(signal.SIGALRM, ring)
gc.disable()
"""
"""A part of a program: whether a real alarm that rings during a collection is `delivered()`.

The weak reference's callback is C's ``raise`` itself, so that no line of Python runs in between, not even ours.
"""
