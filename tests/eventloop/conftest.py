# SPDX-License-Identifier: Apache-2.0
"""Real loops, in this thread and in others, and rounds that are made when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from mongo import eventually
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.eventloop._clocks import Clocks
from otel_resinstr.eventloop._stack import stacks, waits
from otel_resinstr.eventloop.loops import Loops
from support import clean_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0  # seconds after which what should have happened will not


class FakeClocks(Clocks):
    """The time that a test says it is, and what threads have had of the CPUs."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cpu: float | None = 10.0
        """Of the loop's thread, whichever it is."""
        self.stir = 1e-9
        """What that grows by with each look; with 0 it sleeps."""
        self.all_cpu = 50.0
        self.waited: float | None = 5.0

    def wall(self) -> float:
        return self.now

    def process(self) -> float:
        return self.all_cpu

    def thread(self, name: int | None) -> float | None:
        if self.cpu is not None:
            self.cpu += self.stir
        return self.cpu

    def queued(self, thread: int | None) -> float | None:
        return self.waited


class FakeTicker:
    """Calls when the test says so, in the test's own thread."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def every(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        self.calls.append(call)
        return lambda: self.calls.remove(call)

    def settle(self) -> None:
        pass

    def tick(self) -> None:
        for call in tuple(self.calls):
            call()


class Spinning:
    """A loop that runs in a second thread until it is told to stop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.loop = loop
        self.result: Any = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()
        self.turn()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def turn(self) -> None:
        """Wait until the loop has run what was handed to it so far."""
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        assert turned.wait(PATIENCE)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The loop runs nothing meanwhile."""
        entered, release = threading.Event(), threading.Event()

        def hold() -> None:
            entered.set()
            release.wait(PATIENCE)

        self.loop.call_soon_threadsafe(hold)
        assert entered.wait(PATIENCE)
        try:
            yield
        finally:
            release.set()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.Loop}


@pytest.fixture(params=list(LOOPS))
def loop_class(request: pytest.FixtureRequest) -> type[asyncio.AbstractEventLoop]:
    """asyncio's and uvloop's loop; of rloop there are programs of their own, since it leaves sockets open."""
    return LOOPS[request.param]


@pytest.fixture
def spin() -> Iterator[Callable[..., Spinning]]:
    """Run a loop in a second thread; it is stopped and closed after the test."""
    spinning: list[Spinning] = []

    def spin(loop: asyncio.AbstractEventLoop, name: str = "worker") -> Spinning:
        spinning.append(Spinning(loop, name))
        return spinning[-1]

    yield spin
    for each in spinning:
        each.stop()


@pytest.fixture(params=["main", "second"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a coroutine on a new loop in the main or in a second thread, and return what it returns."""

    def run(loop_class: type[asyncio.AbstractEventLoop], coroutine: Any) -> Any:
        outcome: list[Any] = []

        def whole() -> None:
            loop = loop_class()
            try:
                outcome.append(loop.run_until_complete(coroutine))
            finally:
                loop.close()

        if request.param == "main":
            whole()
        else:
            thread = threading.Thread(target=whole, name="worker")
            thread.start()
            thread.join(3 * PATIENCE)  # on a busy machine many a deadline of a test is later than one
        return outcome[0]

    run.thread = "main" if request.param == "main" else "worker"
    return run


@pytest.fixture
def clock() -> FakeClocks:
    """The time that a test says it is."""
    return FakeClocks()


@pytest.fixture
def loops(clock: FakeClocks) -> Loops:
    """The loops that run, looked at when a test says so, by its time."""
    return Loops(0.1, 0.1, clock, spread=lambda low, high: (low + high) / 2)


@pytest.fixture
def rest(loops: Loops) -> Callable[[], None]:
    """Wait until all loops wait in their selectors."""

    def rest() -> None:
        eventually(
            lambda: all(
                waits(stacks().get(known.ident), known.base) is not False for known in loops.running()
            ),
            PATIENCE,
        )

    return rest


@pytest.fixture
def ticker(sink: Any) -> Iterator[Callable[..., FakeTicker]]:
    """Start probes with a ticker that ticks when it is told to; they are stopped after the test."""
    started: list[Running] = []

    def ticker(*probes: Any) -> FakeTicker:
        fake = FakeTicker()
        started.append(Running(probes, Telemetry(**sink.providers, ticker=fake)))
        fake.stop = started[-1].stop
        return fake

    yield ticker
    for running in started:
        running.stop()


PRELUDE = """
import asyncio, os, sys, threading, time
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.eventloop.loops import Loops

def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)

"""


@pytest.fixture
def program() -> Callable[[str], list[str]]:
    """Run a text in an interpreter of its own; returns the words that it prints."""

    def program(text: str) -> list[str]:
        source = PRELUDE + text
        # A fork while there are threads is what some of these programs are about.
        warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
        ended = subprocess.run(
            [sys.executable, *warnings, "-c", source],
            env=clean_environ(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ("", 0) == (ended.stderr, ended.returncode)
        return ended.stdout.split()

    return program
