# SPDX-License-Identifier: Apache-2.0
"""SIGTERM sends what is pending, and ends the process as it does without us."""

from __future__ import annotations

import signal
import subprocess
import sys
import types

import pytest

from otel_resinstr import _exit, _fork
from otel_resinstr.process.sigterm import Sigterm, _to_this_process
from support import clean_environ

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there SIGTERM is no signal")

PROGRAM = """
import os, signal, sys, threading, time
from opentelemetry.trace import NoOpTracerProvider
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.process.sigterm import Sigterm

signal.signal(signal.SIGTERM, signal.SIG_DFL)  # who measures coverage has a handler

def say(text):
    print(text, flush=True)

class Provider(NoOpTracerProvider):
    def force_flush(self, millis):
        say("flushed")

class Ending:
    name = "test.ending"

    def start(self, lease):
        lease.at_exit(lambda: say("told"))

def start(provider=Provider(), timeout=60.0):
    return Running([Sigterm(timeout), Ending()], Telemetry(tracer_provider=provider))

def term():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def ends(code):
    """The exit status of a program, and what it says."""
    program = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + code],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "" == program.stderr
    return program.returncode, program.stdout.split("\n")[:-1]


def test_it_sends_what_is_pending_and_ends_by_the_signal():
    """Of ours first; the status is that of a SIGTERM."""
    assert (-15, ["told", "flushed"]) == ends("start(); term()")


def test_without_a_flush_the_sdk_is_left_alone():
    """For the flight recorder, which writes what it has: that no receiver is waited for stays as it is."""
    program = """
Running([Sigterm(60.0, flush=False), Ending()], Telemetry(tracer_provider=Provider()))
term()
"""
    assert (-15, ["told"]) == ends(program)


def test_it_waits_no_longer_than_it_may():
    """For who needs a lock that the interrupted line holds, as well."""
    program = """
lock = threading.Lock()

class Locked(NoOpTracerProvider):
    def force_flush(self, millis):
        say("waits")
        lock.acquire()

start(Locked(), 2.0)
with lock:
    term()
"""
    assert (-15, ["told", "waits"]) == ends(program)


def test_a_second_one_does_not_cut_it_short():
    """As where a service manager sends it to all processes, and a master to its workers."""
    program = """
class Slow(NoOpTracerProvider):
    def force_flush(self, millis):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        say("flushed")

start(Slow())
term()
"""
    assert (-15, ["told", "flushed"]) == ends(program)


def test_whoever_puts_the_handler_from_before_back_is_ended_by_ours():
    """As uvicorn does when it has shut down."""
    program = """
start()

def handle(number, frame):
    say("theirs")
    signal.signal(number, previous)
    signal.raise_signal(number)

previous = signal.signal(signal.SIGTERM, handle)
term()
"""
    assert (-15, ["theirs", "told", "flushed"]) == ends(program)


def test_whoever_calls_the_handler_from_before_ends_as_it_will():
    """Its shutdown takes its time, and what it says at the end is heard."""
    program = """
start()

def handle(number, frame):
    say("theirs")
    previous(number, frame)
    stopping.append(True)

stopping = []
previous = signal.signal(signal.SIGTERM, handle)
os.kill(os.getpid(), signal.SIGTERM)
while not stopping:
    time.sleep(0.01)
say("drained")
"""
    assert (0, ["theirs", "drained", "told"]) == ends(program)


def test_a_child_that_is_forked_flushes_its_own():
    """Also one that is forked while its parent ends."""
    program = """
import warnings
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)

class Forking(NoOpTracerProvider):
    def force_flush(self, millis):
        if parent != os.getpid():
            say("flushed in the child")
            return
        child = os.fork()
        if not child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            term()
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

parent = os.getpid()
start(Forking())
term()
"""
    assert (-15, ["told", "flushed in the child", "-15"]) == ends(program)


def test_after_the_end_it_only_has_its_default_action():
    """For whoever has kept our handler, and where another thread than the main one has ended us."""
    program = """
running = start()
thread = threading.Thread(target=running.stop)
thread.start()
thread.join()
assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
term()
"""
    assert (-15, []) == ends(program)


def test_the_handler_is_the_default_one_before_and_after(start):
    """It is set where there is none, and taken back."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        probe = Sigterm(1.0)
        running = start(probe)
        assert probe._handle == signal.getsignal(signal.SIGTERM)
        running.stop()
        assert signal.SIG_DFL is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_default_action_is_the_last_thing(start, monkeypatch):
    """The signal is sent again when it has no handler any more, once; a child of the one that runs begins anew."""
    monkeypatch.setattr(_exit, "_callbacks", ())
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sent = []

    def send(number):
        sent.append((number, signal.getsignal(signal.SIGTERM)))

    try:
        running, stopped = Sigterm(60.0, send), Sigterm(60.0, send)
        start(stopped).stop()
        start(running)
        for probe in (running, stopped):
            signal.signal(signal.SIGTERM, probe._handle)
            probe._handle(signal.SIGTERM, None)
            assert (signal.SIGTERM, signal.SIG_DFL) == sent.pop()
            probe._handle(signal.SIGTERM, None)
            assert [] == sent
        for callback in _fork._callbacks:
            callback()
        assert (False, True) == (running._ending, stopped._ending)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_signal_is_sent_to_the_process():
    """0 is no signal, and says whether one can be sent."""
    assert _to_this_process(0) is None


def test_it_ends_though_the_main_thread_has_blocked_the_signal():
    """Another thread takes it; the handler is called in the main thread, which would not get it a second time."""
    program = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
start()
os.kill(os.getpid(), signal.SIGTERM)
while True:
    time.sleep(0.01)
"""
    assert (-15, ["told", "flushed"]) == ends(program)


def test_it_ends_though_somebody_else_s_handler_raises_meanwhile():
    """As Ctrl-C does, of somebody who does not want to wait."""
    program = """
class Interrupted(NoOpTracerProvider):
    def force_flush(self, millis):
        say("flushes")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has started us in its background
start(Interrupted())
term()
"""
    assert (-15, ["told", "flushes"]) == ends(program)


def test_once_the_main_thread_has_ended_it_depends_on_the_interpreter():
    """CPython 3.12 starts no thread any more: the signal ends the process, as it does without us."""
    program = """
start()

def work():
    threading.main_thread().join()
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        say("no thread")
    else:
        say("a thread")
    term()

threading.Thread(target=work).start()
"""
    status, (can_start, *said) = ends(program)

    assert (-15, ["told", "flushed"] if can_start == "a thread" else []) == (status, said)


def test_somebody_else_s_handler_is_left_alone(start):
    """Whether it was there before us, or has come since."""

    def theirs(_number, _frame):
        """Handle it."""

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        start(Sigterm(1.0)).stop()
        assert theirs is signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        running = start(Sigterm(1.0))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        running.stop()
        assert signal.SIG_IGN is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says who catches what")
def test_a_handler_in_c_is_left_alone():
    """As uWSGI's, of which Python does not know."""
    program = """
import faulthandler
faulthandler.register(signal.SIGTERM, file=sys.stdout)
start()
signal.raise_signal(signal.SIGTERM)
say("goes on")
"""
    status, said = ends(program)

    assert (0, ["goes on", "told"]) == (status, said[-2:])


@pytest.mark.parametrize(
    "module", [types.SimpleNamespace(), types.SimpleNamespace(Server=object)], ids=["no server", "no serve"]
)
def test_a_uvicorn_without_what_is_looked_for_is_left_alone(module, start):
    """A later one may serve in another way: nothing breaks."""
    probe = Sigterm(1.0)
    start(probe)
    before = dict(vars(module))

    probe._found_uvicorn(module)

    assert before == vars(module)


def test_it_is_set_again_when_uvicorn_begins_to_serve(start):
    """gunicorn's worker has reset it before; uvicorn finds it as the one from before."""
    before = signal.getsignal(signal.SIGTERM)

    class Server:
        def serve(self, sockets=None):
            return sockets, signal.getsignal(signal.SIGTERM)

    probe = Sigterm(1.0)
    original = vars(Server)["serve"]
    try:
        running = start(probe)
        probe._found_uvicorn(types.SimpleNamespace(Server=Server))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert (3, probe._handle) == Server().serve(sockets=3)
        running.stop()
        assert original is vars(Server)["serve"]
    finally:
        signal.signal(signal.SIGTERM, before)
