# SPDX-License-Identifier: Apache-2.0
"""The two functions that an application calls: all subjects start, stop and start again, on any provider."""

from __future__ import annotations

import asyncio.events
import logging
import sys

import pytest

import otel_resinstr
from otel_resinstr.instrumentors import SUBJECTS, HostInstrumentor, ProcessInstrumentor
from otel_resinstr.semconv import METRICS, Kind
from support import Sink, own_threads, run_python

pytestmark = pytest.mark.usefixtures("no_earlier_pools")


def of_this_machine():
    """What the host probes have to say: cgroups, pressure and swap are not everywhere."""
    sink = Sink()
    HostInstrumentor().instrument(skip_dep_check=True, **sink.providers)
    names = sink.collect().steady_names()
    HostInstrumentor().uninstrument()
    sink.shutdown()
    return names


# What a process without an event loop and without a client has to say at once.
AT_REST = sorted(
    [
        metric.name
        for metric in METRICS
        if metric.probe.startswith(("process.", "runtime."))
        and metric.probe not in ("process.sockets", "runtime.gc_pauses", "runtime.objects")
        and metric.name
        not in (
            "process.cpu.utilization",
            "process.windows.handle.count",
            "cpython.memory.traced",
            "cpython.memory.traced.peak",
        )
    ]
    + of_this_machine()
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process")


@pytest.fixture(autouse=True)
def warnings_are_errors(caplog):
    """Nothing that these tests do deserves a warning."""
    yield
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def patched():
    """What is wrapped in other people's modules: each is the original, or a wrapper of ours."""
    places = [(asyncio, "_set_running_loop"), (asyncio.events, "_set_running_loop")]
    if "uvloop" in sys.modules:
        places.append((sys.modules["uvloop"].Loop, "run_forever"))
    if "pymongo" in sys.modules:
        from pymongo import AsyncMongoClient, MongoClient, monitoring

        places += [
            (client, name) for client in (MongoClient, AsyncMongoClient) for name in ("__init__", "close")
        ]
        places.append((monitoring._EventListeners, "event_listeners"))
    return [vars(owner).get(name) for owner, name in places]


def same(first, second):
    return all(one is other for one, other in zip(first, second, strict=True))


@linux
def test_on_one_provider_again_and_again(sink):
    """Each time exactly the live set reports, once; in between nothing does, runs or is patched."""
    originals = patched()
    for _ in range(3):
        otel_resinstr.instrument(**sink.providers)
        assert AT_REST == sink.collect().steady_names()
        assert not same(originals, patched())
        otel_resinstr.uninstrument()
        assert [] == sink.collect().steady_names()
        assert same(originals, patched())
        assert [] == own_threads()
    assert ([], []) == (list(sink.spans()), sink.events())


@linux
def test_on_two_providers_one_after_the_other(sink):
    """Both go on being collected; the present one reports."""
    other = Sink()
    for present, past in ((sink, other), (other, sink), (sink, other)):
        otel_resinstr.instrument(**present.providers)
        assert (AT_REST, []) == (present.collect().steady_names(), past.collect().steady_names())
        otel_resinstr.uninstrument()
        assert ([], []) == (present.collect().steady_names(), past.collect().steady_names())
    other.shutdown()


def test_spans_go_to_the_present_provider(sink):
    """What was patched for the first one does not go on sending to it."""
    mongo_client = pytest.importorskip("pymongo").MongoClient
    other = Sink()
    for present in (sink, other):
        otel_resinstr.instrument(**present.providers)
        mongo_client("db.example", connect=False).close()
        otel_resinstr.uninstrument()
        mongo_client("db.example", connect=False).close()

    assert [1, 1] == [len(present.spans("mongodb.client.create")) for present in (sink, other)]
    other.shutdown()


def test_twice_is_as_once(sink):
    """Also where the launcher has started some of the subjects already."""
    ProcessInstrumentor().instrument(skip_dep_check=True, **sink.providers)
    first = ProcessInstrumentor()._running
    otel_resinstr.instrument(**sink.providers)
    names = sink.collect().steady_names()
    every = [subject()._running for subject in SUBJECTS]
    otel_resinstr.instrument(**sink.providers)

    assert first is every[0]
    assert every == [subject()._running for subject in SUBJECTS]
    assert names == sink.collect().steady_names()


def test_to_stop_what_does_not_run_is_harmless():
    """Whoever cleans up does not have to know whether there is something to clean."""
    otel_resinstr.uninstrument()
    otel_resinstr.uninstrument()


def test_settings_may_be_given_in_the_program(sink, monkeypatch):
    """Then the environment is not read."""
    monkeypatch.setenv("OTEL_RESINSTR_DISABLED_PROBES", "process.uptime")
    otel_resinstr.instrument(otel_resinstr.Settings(disabled_probes=("process.memory",)), **sink.providers)
    names = sink.collect().steady_names()

    assert ("process.uptime" in names, "process.memory.usage" in names) == (True, False)


def test_the_public_names():
    """No more than these can be relied upon."""
    assert [
        "Settings",
        "__version__",
        "dump",
        "flush",
        "heap_growth",
        "instrument",
        "uninstrument",
    ] == otel_resinstr.__all__
    assert all(hasattr(otel_resinstr, name) for name in otel_resinstr.__all__)


def test_observables_are_never_counted_by_the_sdk(sink):
    """What is a state is read at collection: none of them is made as a synchronous instrument."""
    otel_resinstr.instrument(**sink.providers)
    made = {
        instrument.name
        for meter in sink.meter_provider._meters.values()
        for instrument in meter._instrument_id_instrument.values()
        if not type(instrument).__name__.startswith("_Observable")
    }

    assert {metric.name for metric in METRICS if metric.kind is Kind.HISTOGRAM} == made


# The global providers can be set only once in a process.
GLOBAL = f"""
from opentelemetry import _logs, metrics, trace
from support import Sink, own_threads
import otel_resinstr

AT_REST = {AT_REST!r}
sink, other = Sink(), Sink()

def set_global():
    metrics.set_meter_provider(sink.meter_provider)
    trace.set_tracer_provider(sink.tracer_provider)
    _logs.set_logger_provider(sink.logger_provider)

def expect(names, of=sink):
    assert names == of.collect().steady_names(), of.collect().steady_names()
    assert names or not own_threads()
"""


@linux
def test_before_the_sdk_is_set():
    """Instrumented, stopped and instrumented again before it: the last one reports once."""
    run_python(
        GLOBAL
        + """
otel_resinstr.instrument()
otel_resinstr.uninstrument()
otel_resinstr.instrument()
set_global()
expect(AT_REST)
otel_resinstr.uninstrument()
expect([])
otel_resinstr.instrument()
expect(AT_REST)
otel_resinstr.uninstrument()
expect([])
"""
    )


@linux
def test_after_the_application_has_set_the_providers():
    """As after `configure_azure_monitor()`, which sets all three."""
    run_python(
        GLOBAL
        + """
def configure_azure_monitor():
    set_global()

configure_azure_monitor()
otel_resinstr.instrument()
expect(AT_REST)
otel_resinstr.uninstrument()
expect([])
"""
    )


@linux
def test_a_given_provider_that_becomes_the_global_one():
    """It reports once before and after, and still does when the global one is asked for."""
    run_python(
        GLOBAL
        + """
otel_resinstr.instrument(meter_provider=sink.meter_provider)
expect(AT_REST)
set_global()
expect(AT_REST)
otel_resinstr.uninstrument()
expect([])
otel_resinstr.instrument()
expect(AT_REST)
otel_resinstr.uninstrument()
otel_resinstr.instrument(meter_provider=other.meter_provider)
assert [] == sink.collect().steady_names()
expect(AT_REST, other)
otel_resinstr.uninstrument()
"""
    )


def test_spans_and_events_go_to_providers_that_are_set_later():
    """Tracer and logger are stand-ins until then."""
    pytest.importorskip("pymongo")
    run_python(
        GLOBAL
        + """
import logging, threading, warnings
import pymongo
warnings.filterwarnings("ignore", "LogRecord init with")  # the SDK 1.37 warns of itself
logging.getLogger("otel_resinstr").addHandler(logging.NullHandler())
otel_resinstr.instrument(otel_resinstr.Settings(churn_count=2))
set_global()
constructed = 0
while not sink.events("mongodb.client.churn"):
    pymongo.MongoClient("db.example", connect=False).close()
    constructed += 1
    threading.Event().wait(0.1)
otel_resinstr.uninstrument()
assert constructed == len(sink.spans("mongodb.client.create")) == len(sink.spans("mongodb.client"))
"""
    )


def test_settings_of_another_type_are_refused_before_anything_starts():
    """In code, where it is made: nothing is half instrumented."""
    with pytest.raises(TypeError, match=r"^settings: takes otel_resinstr\.Settings, not str$"):
        otel_resinstr.instrument("process.*")

    assert [] == [subject for subject in SUBJECTS if subject().is_instrumented_by_opentelemetry]
