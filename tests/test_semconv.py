# SPDX-License-Identifier: Apache-2.0
"""The names are those of the conventions that are installed, and those that are ours follow a precedent."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections import Counter

import pytest
from opentelemetry.semconv import _incubating, attributes
from opentelemetry.semconv import metrics as stable_metrics
from opentelemetry.semconv._incubating import attributes as incubating_attributes
from opentelemetry.semconv._incubating import metrics as incubating_metrics
from opentelemetry.semconv.schemas import Schemas

from otel_resinstr import semconv
from otel_resinstr.instrumentors import names_of_probes
from otel_resinstr.semconv import EVENTS, METRICS, SCHEMA_URL, SPANS, Kind, Origin

NOT_OURS = [metric for metric in METRICS if metric.origin is not Origin.OURS]
OURS = [metric for metric in METRICS if metric.origin is Origin.OURS]

ATTRIBUTES = {
    name: value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)
}
for constant in ("SCOPE", "SCHEMA_URL"):
    del ATTRIBUTES[constant]

# Names of the conventions that the installed package leaves out, each with the reason. None at present.
NOT_IN_THE_PACKAGE: dict[str, str] = {}

# What no convention has, and Azure Monitor's exporter reads.
OF_AZURE = {"microsoft.custom_event.name"}

# The lowest versions that are supported come with conventions of their time.
follows_the_installed = pytest.mark.skipif(
    SCHEMA_URL not in {schema.value for schema in Schemas},
    reason=f"the conventions that are installed are older than {SCHEMA_URL}",
)

# Units that only count something are written in braces, all others are of these (https://ucum.org/ucum).
UNITS = {"1", "By", "s"}

# The instrument that upstream's generator makes, and those of ours that are of this instrument.
SAME_INSTRUMENT = {
    "create_counter": {Kind.OBSERVABLE_COUNTER},
    "create_up_down_counter": {Kind.OBSERVABLE_UP_DOWN_COUNTER},
    "create_observable_gauge": {Kind.OBSERVABLE_GAUGE},
    "create_histogram": {Kind.HISTOGRAM},
}


class Recorder:
    """In the place of a meter: keeps what upstream's factories ask for."""

    def __init__(self):
        self.asked = {}

    def __getattr__(self, method):
        def create(name, description, unit, **_kwargs):
            self.asked[name] = (method, unit)

        return create


def modules(package):
    return [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    ]


def upstream_metrics():
    """What the installed conventions say: the name of each metric, its instrument and its unit."""
    recorder = Recorder()
    for module in modules(incubating_metrics) + modules(stable_metrics):
        for name, function in vars(module).items():
            if name.startswith("create_"):
                function(*([recorder, None][: len(inspect.signature(function).parameters)]))
    return recorder.asked


def upstream_attributes():
    """The keys of the attributes that the installed conventions have."""
    return {
        value
        for module in modules(incubating_attributes) + modules(attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }


METRICS_UPSTREAM = upstream_metrics()
ATTRIBUTES_UPSTREAM = upstream_attributes()


def test_the_conventions_are_there_to_compare_with():
    """The tests below compare with hundreds of names, not with none."""
    assert _incubating is not None
    assert len(METRICS_UPSTREAM) > 200
    assert len(ATTRIBUTES_UPSTREAM) > 500


@follows_the_installed
@pytest.mark.parametrize("metric", NOT_OURS, ids=lambda metric: metric.name)
def test_a_name_of_the_conventions_is_taken_exactly(metric):
    """The same name, the same unit and the same instrument, whether observed or not."""
    if metric.name in NOT_IN_THE_PACKAGE:
        pytest.skip(NOT_IN_THE_PACKAGE[metric.name])
    instrument, unit = METRICS_UPSTREAM[metric.name]

    assert (unit, True) == (metric.unit, metric.kind in SAME_INSTRUMENT[instrument])


@follows_the_installed
def test_the_list_of_what_the_conventions_do_not_know_yet_is_minimal():
    """An entry goes as soon as the installed conventions know the name, or we do not use it any more."""
    ours = {metric.name for metric in METRICS} | {*ATTRIBUTES.values()}
    known = {*METRICS_UPSTREAM} | ATTRIBUTES_UPSTREAM

    assert {*NOT_IN_THE_PACKAGE} == {*NOT_IN_THE_PACKAGE} & ours - known


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_a_name_of_ours_is_none_of_theirs_and_has_a_precedent(metric):
    """As soon as a convention has the name, its unit and instrument are the convention's."""
    assert metric.name not in METRICS_UPSTREAM
    assert metric.precedent


@follows_the_installed
@pytest.mark.parametrize("metric", NOT_OURS, ids=lambda metric: metric.name)
def test_a_name_of_the_conventions_has_only_attributes_of_the_conventions(metric):
    """Back ends and dashboards that know the name know what it is broken down by."""
    assert set() == {*metric.attributes, *metric.sometimes} - ATTRIBUTES_UPSTREAM - {*NOT_IN_THE_PACKAGE}
    assert not metric.precedent


@follows_the_installed
@pytest.mark.parametrize("key", ATTRIBUTES.values())
def test_an_attribute_is_of_the_conventions_or_in_a_namespace_of_ours(key):
    """No key of ours stands in a namespace where a convention may give it another meaning later."""
    ours = (
        "asyncio.",
        "cpython.heap.",
        "cpython.thread.",
        "cpython.thread_pool.",
        "mongodb.",
        "resinstr.",
        "thread_pool.",
    )

    assert key in ATTRIBUTES_UPSTREAM | {*NOT_IN_THE_PACKAGE} | OF_AZURE or key.startswith(ours)
    assert not (key in ATTRIBUTES_UPSTREAM and key.startswith(ours))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_constant_is_called_as_its_value(name):
    """Whoever searches for one finds the other."""
    assert ATTRIBUTES[name].upper().replace(".", "_").startswith(name)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_unit_is_of_ucum(metric):
    """A known unit, or what is counted in braces: singular, in small letters."""
    assert metric.unit in UNITS or re.fullmatch(r"\{[a-z]+(_[a-z]+)*[a-rt-z]\}", metric.unit)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_is_one_that_the_specification_allows(metric):
    """https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax, in small letters."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", metric.name)
    assert len(metric.name) <= 63
    assert metric.description.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_only_histograms_have_boundaries(metric):
    """And they go up."""
    assert (metric.kind is Kind.HISTOGRAM) == bool(metric.boundaries)
    assert list(metric.boundaries) == sorted({*metric.boundaries})


def test_names_are_unique():
    """One name is one metric, one event, one span; a metric and an event may share a name."""
    for records in (METRICS, EVENTS, SPANS):
        assert [] == [name for name, count in Counter(record.name for record in records).items() if count > 1]
    assert len(ATTRIBUTES) == len({*ATTRIBUTES.values()})


def test_the_probes_of_the_names_are_those_that_are_started():
    """A name whose probe nobody starts would never be reported; a probe without a name would report nothing."""
    of_names = {record.probe for record in (*METRICS, *EVENTS, *SPANS)} - {"*"}
    # They find the loops and the pools that the others watch, or get out what the others report.
    without_a_name = {
        "eventloop.loops",
        "threadpool.anyio_limiters",
        "threadpool.executors",
        "process.export_lock",
        "process.sigterm",
    }

    assert of_names | without_a_name == {*names_of_probes()} - {"recorder"}  # it keeps what the others report
    assert len(names_of_probes()) == len({*names_of_probes()})
    assert set() == of_names & without_a_name


@pytest.mark.parametrize("record", [*METRICS, *EVENTS, *SPANS], ids=lambda record: record.name)
def test_a_probe_is_named_after_its_module(record):
    """The probe `mongodb.pool` is found in otel_resinstr/mongodb/pool.py."""
    if record.probe != "*":
        assert importlib.util.find_spec(f"otel_resinstr.{record.probe}") is not None
