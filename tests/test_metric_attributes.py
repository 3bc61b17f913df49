# SPDX-License-Identifier: Apache-2.0
"""What tells processes apart on each point of a metric, for back ends that drop the resource."""

from __future__ import annotations

import json
import os

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

import otel_resinstr
from otel_resinstr import _metric_attributes
from otel_resinstr._instruments import Instruments
from otel_resinstr._metric_attributes import MetricAttributes
from otel_resinstr.semconv import METRICS, Kind, Metric, Origin
from support import Collected, run_python

APP_SERVICE = {"WEBSITE_SITE_NAME": "shop", "WEBSITE_SLOT_NAME": "staging"}


def metric(kind):
    return Metric(
        probe="test", name="test.metric", kind=kind, unit="1", description="A test.", origin=Origin.OURS
    )


GAUGE = metric(Kind.OBSERVABLE_GAUGE)


@pytest.fixture
def provider():
    """A provider with a resource, whose points are collected by `provider.collect()`."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], Resource({"service.version": "7", "team": "orders"}), shutdown_on_exit=False
    )
    provider.collect = lambda: Collected(reader.get_metrics_data())
    yield provider
    provider.shutdown()


def attributes(provider, name="test.metric"):
    """Those of the points of a metric."""
    (collected,) = [found for found in provider.collect().metrics if found.name == name]
    return [dict(point.attributes) for point in collected.data.data_points]


@pytest.mark.parametrize(
    ("names", "environ", "chosen"),
    [
        (["auto"], {}, ()),
        (["auto"], {"WEBSITE_SITE_NAME": ""}, ()),
        (["auto"], APP_SERVICE, ("process.pid", "deployment.environment.name")),
        (["none"], APP_SERVICE, ()),
        (["azure"], {}, ("process.pid", "deployment.environment.name")),
        (["process.pid"], APP_SERVICE, ("process.pid",)),
        (["team", "azure", "team"], {}, ("team", "process.pid", "deployment.environment.name")),
    ],
)
def test_what_is_chosen(names, environ, chosen):
    """Names and presets, each once; of its own accord only on App Service."""
    assert chosen == _metric_attributes.chosen(names, environ)


@pytest.mark.parametrize(
    ("resource", "environ", "slot"),
    [
        ({}, {}, {}),
        ({}, {"WEBSITE_SLOT_NAME": ""}, {}),
        ({}, APP_SERVICE, {"deployment.environment.name": "staging"}),
        ({"deployment.environment": "test"}, APP_SERVICE, {"deployment.environment.name": "test"}),
        (
            {"deployment.environment": "old", "deployment.environment.name": "new"},
            APP_SERVICE,
            {"deployment.environment.name": "new"},
        ),
    ],
)
def test_where_the_slot_is_from(resource, environ, slot):
    """The resource has the first word, under the name of today or that of App Service's detector; then App Service."""
    provider = MeterProvider(resource=Resource(resource), shutdown_on_exit=False)
    more = MetricAttributes(["deployment.environment.name"], provider, environ)

    assert slot == more()


def test_the_id_of_the_process_is_the_systems():
    """That of the resource is the parent's in a child of an older SDK."""
    provider = MeterProvider(resource=Resource({"process.pid": 1}), shutdown_on_exit=False)

    assert {"process.pid": os.getpid()} == MetricAttributes(["process.pid"], provider)()


@pytest.mark.parametrize("resource", [None, object(), type("Odd", (), {"attributes": None})()])
def test_without_a_resource_what_it_would_say_is_absent(resource):
    """An SDK of another kind, none at all, or a later one that keeps it elsewhere: the rest is there."""
    provider = type("Provider", (), {"_sdk_config": type("Config", (), {"resource": resource})()})()
    for odd in (provider, object(), None):
        assert {"process.pid": 7} == MetricAttributes(["team", "process.pid"], odd, {}, lambda: 7)()


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (3, [(3, {"process.pid": os.getpid(), "service.version": "7"})]),
        (None, []),
        ([], []),
        (
            [Observation(1, {"a": "x"}), Observation(2)],
            [
                (1, {"a": "x", "process.pid": os.getpid(), "service.version": "7"}),
                (2, {"process.pid": os.getpid(), "service.version": "7"}),
            ],
        ),
        # A probe's own attribute is what the point is about.
        (
            [Observation(1, {"service.version": "mine"})],
            [(1, {"service.version": "mine", "process.pid": os.getpid()})],
        ),
    ],
)
def test_they_are_on_each_point_of_an_observable(provider, reading, expected):
    """Beside its own; what is not known stays absent."""
    names = ["process.pid", "service.version", "not.there"]
    let_go = Instruments(provider, names).observe(GAUGE, lambda: reading)
    points = [point for found in provider.collect().metrics for point in found.data.data_points]

    assert expected == [(point.value, dict(point.attributes)) for point in points]
    let_go()


@pytest.mark.parametrize("own", [None, {}, {"a": "x"}])
def test_they_are_on_each_point_of_a_histogram(provider, own):
    """What was recorded without them has them, too."""
    Instruments(provider, ["team"]).histogram(metric(Kind.HISTOGRAM)).record(0.5, own)

    assert [{**(own or {}), "team": "orders"}] == attributes(provider)


def test_they_are_on_all_that_is_reported(monkeypatch):
    """The setting reaches each instrument of each subject."""
    monkeypatch.setenv("OTEL_RESINSTR_METRIC_ATTRIBUTES", "process.pid")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    otel_resinstr.instrument(meter_provider=provider)
    found = Collected(reader.get_metrics_data()).metrics

    assert {"process.cpu.time", "cpython.thread.count", "system.memory.usage"} <= {
        each.name for each in found
    }
    assert {each.name for each in found} <= {each.name for each in METRICS}
    assert {os.getpid()} == {
        point.attributes.get("process.pid") for each in found for point in each.data.data_points
    }
    provider.shutdown()


@pytest.mark.parametrize(
    ("environ", "known"), [({}, []), (APP_SERVICE, ["deployment.environment.name", "process.pid"])]
)
def test_of_their_own_accord_they_are_there_on_app_service_only(environ, known):
    """Also where the settings are given in code; elsewhere a point has what it always had."""
    said = run_python(
        """
        import json

        import otel_resinstr
        from support import Sink

        sink = Sink()
        otel_resinstr.instrument(otel_resinstr.Settings(cpu_window=5), **sink.providers)
        (uptime,) = [metric for metric in sink.collect().metrics if metric.name == "process.uptime"]
        print(json.dumps(sorted(uptime.data.data_points[0].attributes)))
        otel_resinstr.uninstrument()
        """,
        **environ,
    )

    assert known == json.loads(said)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.parametrize(("names", "negative"), [("process.pid", False), ("none", True)])
def test_a_forked_child_has_its_own_and_no_delta_is_negative(names, negative):
    """An exporter of differences has its parent's last values: without an id the first one is below 0."""
    said = run_python(
        """
        import json
        import os

        import otel_resinstr
        from opentelemetry.sdk.metrics import Counter, MeterProvider, ObservableCounter
        from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
        from support import Collected

        delta = dict.fromkeys((Counter, ObservableCounter), AggregationTemporality.DELTA)
        reader = InMemoryMetricReader(preferred_temporality=delta)

        def cpu_time():
            found = Collected(reader.get_metrics_data()).metrics
            (time,) = [metric for metric in found if metric.name == "process.cpu.time"]
            return [(point.attributes.get("process.pid"), point.value) for point in time.data.data_points]

        otel_resinstr.instrument(
            otel_resinstr.Settings(metric_attributes=os.environ["NAMES"]),
            meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        )
        sum(range(20_000_000))
        print(json.dumps([os.getpid(), cpu_time()]), flush=True)
        child = os.fork()
        if child == 0:
            print(json.dumps([os.getpid(), cpu_time()]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        otel_resinstr.uninstrument()
        """,
        NAMES=names,
    )
    lines = [json.loads(line) for line in said.splitlines()]

    assert [2, 2] == [len(points) for _, points in lines]
    assert negative is any(value < 0 for _, points in lines for _, value in points)
    assert negative or all(of == pid for pid, points in lines for of, _ in points)
