# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import threading

import pytest

from fakes import FakeReading
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.context_switches import ContextSwitches
from otel_resinstr.process.reading import Switches
from otel_resinstr.semconv import PROCESS_CONTEXT_SWITCHES


def test_switches_by_type(collect):
    """Voluntary and involuntary switches, each once."""
    process = FakeReading(switches=Switches(voluntary=70, involuntary=5))

    assert {PROCESS_CONTEXT_SWITCHES.name: {("voluntary",): 70, ("involuntary",): 5}} == collect(
        ContextSwitches(process)
    ).as_dict()


def test_unknown_switches_are_absent(collect):
    """A system that does not count them gives no zero."""
    assert {} == collect(ContextSwitches(FakeReading())).as_dict()


@pytest.mark.skipif(sys.platform == "win32", reason="not told apart")
def test_a_thread_that_waits_is_counted(collect, start):
    """Waits of another thread than the main one are voluntary switches, but for those that were over at once."""
    start(ContextSwitches(ProcessReading()))
    before = collect().points(PROCESS_CONTEXT_SWITCHES)
    never = threading.Event()

    def wait():
        for _ in range(200):
            never.wait(0.0005)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    after = collect().points(PROCESS_CONTEXT_SWITCHES)

    assert after[("voluntary",)] - before[("voluntary",)] >= 100
    assert after[("involuntary",)] >= before[("involuntary",)]
