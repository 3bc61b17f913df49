# SPDX-License-Identifier: Apache-2.0
"""What is pending is sent, within a bound, whatever the providers do."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.trace import NoOpTracerProvider

import otel_resinstr
from mongo import eventually
from otel_resinstr import _flush
from otel_resinstr._probe import Running, Telemetry
from support import run_python

PATIENCE = 60.0
HANGS = _flush.THREAD_NAME


class Provider:
    """What the flush sees of a provider."""

    def __init__(self, answer=True):
        self.calls = []
        self._answer = answer

    def force_flush(self, timeout_millis):
        self.calls.append(timeout_millis)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Hanging(Provider):
    """One that exports to who does not answer, until it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def force_flush(self, timeout_millis):
        super().force_flush(timeout_millis)
        return self.go.wait(PATIENCE)


@pytest.fixture
def use():
    """Flush the three that are given."""
    used = []

    def use(*providers):
        used.append(providers)
        _flush.use(providers)

    yield use
    for providers in used:
        _flush.let_go(providers)


def test_all_three_are_flushed_once_with_what_is_left_of_the_time(use):
    """Though each subject uses them."""
    metrics, traces, logs = providers = Provider(), Provider(answer=None), Provider()
    use(*providers)
    use(*providers)

    assert otel_resinstr.flush(PATIENCE) is True
    assert [1, 1, 1] == [len(provider.calls) for provider in providers]
    assert all(0 < millis <= PATIENCE * 1000 for (millis,) in (metrics.calls, traces.calls, logs.calls))


@pytest.mark.parametrize("answer", [False, ValueError("no")], ids=["false", "raises"])
def test_one_that_fails_is_told_of_and_keeps_no_other(answer, use):
    """It never raises."""
    failing, well = Provider(answer), Provider()
    use(failing, well, object())

    assert otel_resinstr.flush(PATIENCE) is False
    assert 1 == len(well.calls)


def test_one_that_hangs_is_not_waited_for_and_keeps_no_other(use):
    """What takes longer than the time goes on by itself."""
    hanging, well = Hanging(), Provider()
    use(hanging, hanging, well)

    assert otel_resinstr.flush(0.1) is False
    hanging.go.set()

    assert otel_resinstr.flush(PATIENCE) is True
    assert [2 * 2, 2] == [len(hanging.calls), len(well.calls)]


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_time_that_is_none_is_no_time(timeout, use):
    """Nothing is waited for, and nothing raises."""
    hanging = Hanging()
    use(hanging, hanging, hanging)

    assert otel_resinstr.flush(timeout) is False
    hanging.go.set()


def test_for_ever_is_as_long_as_a_thread_can_wait(use):
    """As other functions take a time."""
    use(Provider(), Provider(), Provider())

    assert otel_resinstr.flush(float("inf")) is True


def test_what_the_probes_have_noted_is_told_before(use):
    """By a probe that has asked for it, until it ends."""
    order = []

    class Traces(NoOpTracerProvider):
        def force_flush(self, _millis):
            order.append("flushed")

    class Noting:
        name = "test.noting"

        def start(self, lease):
            lease.at_flush(lambda: order.append("told"))

    running = Running([Noting()], Telemetry(tracer_provider=Traces()))
    otel_resinstr.flush(PATIENCE)
    running.stop()
    otel_resinstr.flush(PATIENCE)

    assert ["told", "flushed"] == order


def test_a_probe_that_waits_in_vain_does_not_keep_the_providers(use):
    """It has half of the time: a lock that an interrupted thread holds costs what is noted, and no more."""
    go, flushed = threading.Event(), threading.Event()

    class Traces:
        def force_flush(self, _millis):
            flushed.set()

    use(Provider(), Traces(), Provider())

    assert _flush.out(lambda: go.wait(PATIENCE), 0.1) is False
    assert flushed.wait(PATIENCE)
    go.set()


def test_what_is_noted_may_be_told_alone(use):
    """As at a SIGTERM at which the flight recorder writes and nothing is to be sent; in a thread, and for a time."""
    provider, go, told = Provider(), threading.Event(), []
    use(provider, provider, provider)
    try:
        assert _flush.only(lambda: told.append(threading.current_thread().name), PATIENCE) is True
        assert _flush.only(lambda: go.wait(PATIENCE), 0.01) is False
    finally:
        go.set()

    assert [HANGS] == told
    assert [] == provider.calls


def test_where_no_thread_can_be_started_nothing_is_flushed(use, monkeypatch):
    """In a process at its limit, or at its end."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    provider = Provider()
    use(provider, provider, provider)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert otel_resinstr.flush(PATIENCE) is False
    assert [] == provider.calls


def test_one_that_hangs_does_not_gather_threads(use):
    """Who comes later leaves when its time is over; the others are flushed each time, and all once it has come back."""
    hanging, well = Hanging(), Provider()
    use(hanging, well, Provider())

    for _ in range(5):
        assert otel_resinstr.flush(0.05) is False
    eventually(lambda: [HANGS] == [thread.name for thread in threading.enumerate() if thread.name == HANGS])
    assert 1 == len(hanging.calls)
    hanging.go.set()

    assert otel_resinstr.flush(PATIENCE) is True
    assert 2 == len(hanging.calls)


def test_several_at_once_are_flushed_one_after_the_other(use):
    """Each of them after its own call: what was pending then is out."""
    inside, most = [], []

    class Traces:
        def force_flush(self, _millis):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    use(Provider(), Traces(), Provider())

    with ThreadPoolExecutor(4) as pool:
        assert [True] * 4 == list(pool.map(otel_resinstr.flush, [PATIENCE] * 4))
    assert [1] * 4 == most


def test_an_event_loop_goes_on_meanwhile(use):
    """In a thread of its own, as the docstring says."""
    hanging = Hanging()
    use(hanging, Provider(), Provider())

    async def main():
        asyncio.get_running_loop().call_later(0.01, hanging.go.set)
        return await asyncio.to_thread(otel_resinstr.flush, PATIENCE)

    assert asyncio.run(main()) is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_child_that_is_forked_meanwhile_flushes():
    """Who has a turn in the parent is not there in the child."""
    assert "True\n" == run_python("""
import os, threading, warnings
from opentelemetry import trace
from opentelemetry.trace import NoOpTracerProvider
import otel_resinstr

warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
flushing, go, parent = threading.Event(), threading.Event(), os.getpid()

class Provider(NoOpTracerProvider):
    def force_flush(self, millis):
        flushing.set()
        return os.getpid() != parent or go.wait(60)

trace.set_tracer_provider(Provider())
thread = threading.Thread(target=otel_resinstr.flush, args=(60,))
thread.start()
assert flushing.wait(60)
child = os.fork()
if not child:
    print(otel_resinstr.flush(60), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set()
thread.join()
""")


def test_in_a_function_of_atexit_it_depends_on_the_interpreter():
    """CPython 3.12 starts no thread there: nothing is flushed, it is said, and the SDK's own functions come after."""
    flushed, can_start = run_python("""
import atexit, threading
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_tracer_provider
import otel_resinstr

def at_exit():
    print(otel_resinstr.flush(60))
    try:
        threading.Thread(target=int).start()
        print(True)
    except RuntimeError:
        print(False)

set_tracer_provider(TracerProvider())
atexit.register(at_exit)
""").split()
    assert can_start == flushed


def test_without_an_sdk_there_is_nothing_to_flush():
    """The stand-ins of the API hold nothing back."""
    assert "True\n" == run_python("import otel_resinstr; print(otel_resinstr.flush(60))")


def test_it_needs_no_instrument():
    """Before it, and after uninstrument(), the global providers are flushed."""
    assert "flushed\nTrue\n" * 2 == run_python("""
from opentelemetry import trace
from opentelemetry.trace import NoOpTracerProvider
import otel_resinstr

class Provider(NoOpTracerProvider):
    def force_flush(self, millis):
        print("flushed", flush=True)

trace.set_tracer_provider(Provider())
print(otel_resinstr.flush(60), flush=True)
otel_resinstr.instrument()
otel_resinstr.uninstrument()
print(otel_resinstr.flush(60))
""")


def test_the_global_providers_are_flushed_where_no_others_were_given():
    """Of the real SDK, set before or after, with a life that has ended just now."""
    pytest.importorskip("pymongo")
    run_python("""
import warnings
warnings.filterwarnings("ignore", "LogRecord init with")  # the SDK 1.37 warns of itself
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import otel_resinstr, pymongo

otel_resinstr.instrument()
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
trace.set_tracer_provider(provider)
pymongo.MongoClient("db.example", connect=False).close()
assert otel_resinstr.flush(60)
names = [span.name for span in exporter.get_finished_spans()]
assert ["mongodb.client", "mongodb.client.create"] == sorted(names), names
otel_resinstr.uninstrument()
""")
