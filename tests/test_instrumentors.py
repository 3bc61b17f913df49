# SPDX-License-Identifier: Apache-2.0
"""The entry points: what each subject starts, and that none of them can harm the launcher."""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel_resinstr import _fork, instrumentors
from otel_resinstr.instrumentors import (
    SUBJECTS,
    EventLoopInstrumentor,
    HostInstrumentor,
    MongoDBInstrumentor,
    ProcessInstrumentor,
    RecorderInstrumentor,
    RuntimeInstrumentor,
    SubjectInstrumentor,
    ThreadPoolInstrumentor,
    names_of_probes,
)
from otel_resinstr.settings import Settings
from support import own_threads

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROBES = {
    ProcessInstrumentor: [
        "process.export_lock",
        "process.cpu",
        "process.memory",
        "process.faults",
        "process.threads",
        "process.file_descriptors",
        "process.context_switches",
        "process.disk_io",
        "process.uptime",
        "process.peaks",
    ],
    RuntimeInstrumentor: ["runtime.threads_by_group", "runtime.gc", "runtime.heap"],
    HostInstrumentor: [
        "host.memory",
        "host.paging",
        "host.container",
        "host.pressure",
        "host.neighbours",
        "host.peaks",
        "host.shortage",
    ],
    EventLoopInstrumentor: [
        "eventloop.loops",
        "eventloop.delay",
        "eventloop.blocked",
        "eventloop.utilization",
        "eventloop.cpu",
        "eventloop.tasks",
    ],
    ThreadPoolInstrumentor: [
        "threadpool.pools",
        "threadpool.executors",
        "threadpool.anyio_limiters",
        "threadpool.saturation",
    ],
    MongoDBInstrumentor: [
        "mongodb.clients",
        "mongodb.pool",
        "mongodb.waits",
        "mongodb.failures",
        "mongodb.heartbeat",
        "mongodb.commands",
        "mongodb.ledger",
        "mongodb.lifecycle",
        "mongodb.server",
    ],
    RecorderInstrumentor: ["recorder"],
}
OFF_BY_DEFAULT = {"process.sigterm", "process.sockets", "runtime.gc_pauses", "runtime.objects"}


FLAGS = [field.name for field in dataclasses.fields(Settings) if isinstance(field.default, bool)]


def made(settings):
    """The probes of all subjects."""
    return (probe for subject in SUBJECTS for probe in subject().probes(settings))


def running(subject):
    """The names of the probes of *subject* that run."""
    return [lease.probe for lease in subject()._running._leases if not lease.ended]


@pytest.fixture
def instrument(sink):
    """Instrument one subject; it is uninstrumented after the test."""

    def instrument(subject, **kwargs):
        subject().instrument(skip_dep_check=True, **sink.providers, **kwargs)

    return instrument


def test_the_entry_points_are_the_subjects():
    """Each subject can be switched off by the launcher under its name, and no entry point leads nowhere."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    points = {
        name: EntryPoint(name, value, "").load()
        for name, value in project["entry-points"]["opentelemetry_instrumentor"].items()
    }

    assert {f"resinstr_{subject.subject}": subject for subject in SUBJECTS} == points
    assert {*SUBJECTS} == {*PROBES}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_all_probes_of_a_subject_start(subject, instrument):
    """As the launcher does it, with the settings of the environment."""
    instrument(subject)

    assert PROBES[subject] == running(subject)


def test_the_names_that_settings_can_hold_are_all_of_them():
    """In the order in which they start."""
    names = names_of_probes()
    on = [name for subject in SUBJECTS for name in PROBES[subject]]

    assert on == [name for name in names if name not in OFF_BY_DEFAULT]
    assert OFF_BY_DEFAULT == {*names} - {*on}


# About all probes, of the exporters, and a folder that becomes a path.
OF_NO_PROBE = {"disabled_probes", "metric_attributes", "file_dir", "recorder_dir"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (field.name, 17.25 if isinstance(field.default, float) else 17)
        for field in dataclasses.fields(Settings)
        if not isinstance(field.default, bool) and field.name not in OF_NO_PROBE
    ],
)
def test_each_setting_reaches_a_probe(field, value):
    """What can be set has an effect, on one or more."""
    settings = Settings(**dict.fromkeys(FLAGS, True))
    object.__setattr__(settings, field, value)  # a value that nothing else has, be it accepted or not

    assert any(value in vars(probe).values() for probe in made(settings))


def test_sigterm_has_a_probe_for_whoever_wants_it():
    """Of each subject that does, as the other one may be off; both do the same, and the first one has the handler."""

    def found(**settings):
        return [
            (probe._flush, subject.subject)
            for subject in SUBJECTS
            for probe in subject().probes(Settings(**settings))
            if probe.name == "process.sigterm"
        ]

    assert [] == found()
    assert [(True, "process")] == found(flush_on_sigterm=True)
    assert [(False, "recorder")] == found(recorder_dir="out")
    assert [(True, "process"), (True, "recorder")] == found(flush_on_sigterm=True, recorder_dir="out")
    assert [] == found(recorder_dir="out", disabled_probes="rec*")


@pytest.mark.parametrize("flag", FLAGS)
def test_each_switch_switches_a_probe(flag):
    """On and off make a difference: a probe more, or one that is told of it."""

    def said(**settings):
        return [
            (probe.name, [value for value in vars(probe).values() if value is True])
            for probe in made(Settings(**settings))
        ]

    assert said(**{flag: True}) != said(**{flag: False})


@pytest.mark.parametrize("subject", SUBJECTS)
def test_c_23_to_construct_an_instrumentor_again_is_harmless(subject, instrument, sink):
    """The base class hands out one object and runs its constructor each time."""
    instrument(subject)
    before = (subject()._running, sink.collect().steady_names())
    subject()
    subject()

    assert before == (subject()._running, sink.collect().steady_names())
    assert PROBES[subject] == running(subject)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_to_instrument_again_is_harmless(subject, instrument, sink, caplog):
    """The base class says that it was done already, and it is done once."""
    instrument(subject)
    before = sink.collect().steady_names()
    instrument(subject)

    assert before == sink.collect().steady_names()
    assert PROBES[subject] == running(subject)
    assert ["Attempting to instrument while already instrumented"] == caplog.messages


@pytest.mark.parametrize("subject", SUBJECTS)
def test_uninstrumented_nothing_is_left(subject, instrument, sink):
    """No point, no thread; and to do it twice is harmless."""
    instrument(subject)
    subject().uninstrument()
    subject()._uninstrument()

    assert [] == sink.collect().steady_names()
    assert [] == own_threads()
    assert subject()._running is None


@pytest.fixture
def helper(monkeypatch):
    """As in the fork server, while `site` loads us."""
    monkeypatch.delitem(sys.modules, "multiprocessing.forkserver", raising=False)
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(
        sys, "orig_argv", ["python", "-c", "from multiprocessing.forkserver import main; main(5, 6, [])"]
    )


@pytest.mark.parametrize("subject", SUBJECTS)
def test_in_a_helper_of_multiprocessing_nothing_starts_but_in_its_children(subject, instrument, sink, helper):
    """Each child starts once, with what the helper was given, and its children have it from it."""
    before = _fork._callbacks
    instrument(subject)
    assert subject()._running is None
    assert [] == sink.collect().steady_names()

    # As where the helper was forked in the middle of a collection.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(sink.meter_provider._measurement_consumer._lock.acquire).result()
    _fork._callbacks[-1]()
    assert PROBES[subject] == running(subject)
    assert subject()._start_in_child not in _fork._callbacks
    subject().uninstrument()
    assert before == _fork._callbacks


def test_a_helper_that_is_uninstrumented_forgets_its_children(instrument, helper):
    """Nothing is left in the list for forks."""
    before = _fork._callbacks
    instrument(ProcessInstrumentor)
    assert before != _fork._callbacks
    ProcessInstrumentor().uninstrument()

    assert before == _fork._callbacks


def test_no_library_has_to_be_installed():
    """Without pymongo the probes wait for an import that never comes."""
    assert [()] * len(SUBJECTS) == [subject().instrumentation_dependencies() for subject in SUBJECTS]


def test_disabled_probes_do_not_start(instrument, caplog):
    """By name or pattern, and the others do."""
    settings = Settings(disabled_probes=("mongodb.pool", "process.*"))
    for subject in SUBJECTS:
        instrument(subject, settings=settings)

    assert [] == running(ProcessInstrumentor)
    others = [name for name in PROBES[MongoDBInstrumentor] if name != "mongodb.pool"]
    assert others == running(MongoDBInstrumentor)
    assert PROBES[EventLoopInstrumentor] == running(EventLoopInstrumentor)
    assert [] == caplog.messages


def test_a_disabled_probe_that_is_none_is_reported_once(instrument, caplog, monkeypatch):
    """By whichever subject comes first, though it is the name of another subject's probe that is misspelt."""
    monkeypatch.setenv("OTEL_RESINSTR_DISABLED_PROBES", "mongodb.pol")
    for subject in SUBJECTS:
        instrument(subject)

    assert [
        (
            "OTEL_RESINSTR_DISABLED_PROBES: 'mongodb.pol' is the name of no probe and has no effect: "
            "did you mean mongodb.pool?"
        )
    ] == caplog.messages
    assert PROBES[MongoDBInstrumentor] == running(MongoDBInstrumentor)


class UnmadeInstrumentor(SubjectInstrumentor):
    """A subject that cannot make its second probe."""

    subject = "unmade"

    def probes(self, settings):
        yield from RuntimeInstrumentor().probes(settings)
        raise ArithmeticError


@pytest.mark.breaks
def test_a_subject_that_cannot_make_its_probes_does_not_raise(instrument, sink, caplog, monkeypatch):
    """The launcher would load nothing after it; what was made runs, also if the settings name probes."""
    monkeypatch.setattr(instrumentors, "SUBJECTS", (*SUBJECTS, UnmadeInstrumentor))
    instrument(UnmadeInstrumentor, settings=Settings(disabled_probes=("mongodb.pol",)))

    assert PROBES[RuntimeInstrumentor] == running(UnmadeInstrumentor)
    assert "cpython.thread.count" in sink.collect().steady_names()
    assert [{"resinstr.probe": "unmade", "error.type": "ArithmeticError"}] == [
        dict(record.attributes) for record in sink.events("resinstr.probe.disabled")
    ]
    UnmadeInstrumentor().uninstrument()


def test_a_subject_says_what_its_probes_are():
    """A subclass that does not is not an instrumentor."""
    with pytest.raises(TypeError):
        type("Without", (SubjectInstrumentor,), {})()
    assert issubclass(SubjectInstrumentor, BaseInstrumentor)
