# SPDX-License-Identifier: Apache-2.0
"""What is called when the interpreter ends: in a process of its own, since there is one end only."""

from __future__ import annotations

import pytest

from otel_resinstr import _exit
from support import run_python

ENDING = """
import atexit, sys, threading
{before}
from otel_resinstr import _exit
say = lambda text: print(text, flush=True)
_exit.add(lambda: say("first added"))
_exit.add(lambda: say("last added"))
{after}
"""


def said(before="", after=""):
    """What a program says at its end, in order."""
    return run_python(ENDING.format(before=before, after=after)).split("\n")[:-1]


def test_the_last_one_added_is_called_first():
    """As with `atexit`: what stands on something else goes before it."""
    assert ["last added", "first added"] == said()


def test_one_may_be_the_last():
    """Which may take long, as that of the flight recorder: whoever is added before or after it goes first."""
    program = '_exit.add(lambda: say("last of all"), last=True); _exit.add(lambda: say("later"))'

    assert ["later", "last added", "first added", "last of all"] == said(after=program)


def test_it_comes_before_what_was_registered_later():
    """A provider that is made after us shuts down after us."""
    assert ["last added", "first added", "provider"] == said(after='atexit.register(say, "provider")')


def test_it_comes_after_the_threads_that_the_interpreter_waits_for():
    """An application whose main thread has nothing more to do is not at its end."""
    program = """
def work():
    threading.main_thread().join()
    say("working")

atexit.register(say, "provider")
threading.Thread(target=work).start()
"""

    assert ["working", "last added", "first added", "provider"] == said(after=program)


def test_without_the_private_hook_it_comes_before_what_was_registered_before():
    """An interpreter that has not got it: the order is that of `atexit`."""
    program = 'atexit.register(print, "provider"); del threading._register_atexit'

    assert ["last added", "first added", "provider"] == said(before=program)


def test_what_was_removed_is_not_called(monkeypatch):
    """Nor kept; to remove it twice is harmless."""
    monkeypatch.setattr(_exit, "_callbacks", ())
    calls = []
    one, two = (lambda: calls.append(1)), (lambda: calls.append(2))
    _exit.add(one)
    _exit.add(two)
    _exit.remove(one)
    _exit.remove(one)
    _exit.run()

    assert [2] == calls


@pytest.mark.breaks
def test_a_probe_that_breaks_at_the_end_keeps_no_other_from_its_end():
    """It is reported as at any other moment."""
    program = """
from otel_resinstr._probe import Running, Telemetry

class Probe:
    def __init__(self, name, call):
        self.name, self.start = name, lambda lease: lease.at_exit(call)

sys.stderr = sys.stdout  # where a log without a handler goes
running = Running([Probe("test.well", lambda: say("well")), Probe("test.broken", lambda: 1 / 0)], Telemetry())
"""
    lines = said(after=program)

    assert [True, "well", "last added", "first added"] == [
        line if index else line.startswith("resinstr.probe.disabled: the probe test.broken broke")
        for index, line in enumerate(lines)
    ]


def test_a_probe_that_was_stopped_is_not_called_at_the_end():
    """What a lease has taken is given back."""
    program = """
from otel_resinstr._probe import Running, Telemetry

class Probe:
    name = "test.probe"

    def start(self, lease):
        lease.at_exit(lambda: say("called"))

Running([Probe()], Telemetry()).stop()
"""

    assert ["last added", "first added"] == said(after=program)
