# SPDX-License-Identifier: Apache-2.0
"""What reports the same as the package, or sets OpenTelemetry up a second time, is recognised and said once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

import otel_resinstr
from launched import LAUNCHER
from otel_resinstr import duplicates, instrumentors
from otel_resinstr.duplicates import ATTACHED, DISTROS, PYMONGO, SYSTEM_METRICS, find
from support import clean_environ

AZURE = "azure-monitor-opentelemetry"
OTEL = "opentelemetry-distro"


@dataclass
class Point:
    """An entry point, as far as it is looked at."""

    name: str
    value: str
    dist: Any


def installed(*packages):
    """The entry points of an environment with *packages*."""
    names = {
        AZURE: ("azure_monitor_opentelemetry_distro", "azure_monitor_opentelemetry_configurator"),
        OTEL: ("distro", "configurator"),
    }

    def of_group(*, group):
        at = ["opentelemetry_distro", "opentelemetry_configurator"].index(group)
        return [
            Point(names[package][at], f"{package}.module:Kind", SimpleNamespace(name=package))
            for package in packages
        ]

    return of_group


def chosen(distro=None, configurator=None):
    """The variables that choose."""
    both = {"OTEL_PYTHON_DISTRO": distro, "OTEL_PYTHON_CONFIGURATOR": configurator}
    return {variable: name for variable, name in both.items() if name is not None}


def kinds(environ=None, *, launcher=True, code=False, modules=None, points=None):
    points = points or installed(OTEL)
    return [
        found.kind
        for found in find(
            environ or {}, launcher=launcher, code=code, modules=modules or {}, entry_points=points
        )
    ]


@pytest.mark.parametrize(
    ("packages", "environ", "found"),
    [
        ([], {}, []),
        ([OTEL], {}, []),
        ([AZURE], {}, []),
        ([AZURE, OTEL], {}, [DISTROS]),
        # What each of these does was tried out: nothing exported, or exported to the Collector as well.
        ([AZURE, OTEL], chosen("azure_monitor_opentelemetry_distro"), [DISTROS]),
        ([AZURE, OTEL], chosen(None, "azure_monitor_opentelemetry_configurator"), [DISTROS]),
        ([AZURE, OTEL], chosen("azure_monitor_opentelemetry_distro", "configurator"), [DISTROS]),
        ([AZURE, OTEL], chosen("misspelt", "misspelt"), [DISTROS]),
        (
            [AZURE, OTEL],
            chosen("azure_monitor_opentelemetry_distro", "azure_monitor_opentelemetry_configurator"),
            [],
        ),
        ([AZURE, OTEL], chosen("distro", "configurator"), []),
    ],
)
def test_two_distros_of_which_one_is_not_chosen(packages, environ, found):
    """One that is alone needs no choice; of two, the two variables have to name what one package brings."""
    assert found == kinds(environ, points=installed(*packages))
    assert [] == kinds(environ, launcher=False, code=True, points=installed(*packages))


def test_what_to_set_is_said_for_each_of_two_distros():
    """Ready to be copied."""
    (found,) = find({}, launcher=True, code=False, modules={}, entry_points=installed(AZURE, OTEL))

    assert (
        "Set both, for azure-monitor-opentelemetry: OTEL_PYTHON_DISTRO=azure_monitor_opentelemetry_distro "
        "OTEL_PYTHON_CONFIGURATOR=azure_monitor_opentelemetry_configurator; or for opentelemetry-distro: "
        "OTEL_PYTHON_DISTRO=distro OTEL_PYTHON_CONFIGURATOR=configurator"
    ) == found.remedy


def test_an_entry_point_of_no_package_goes_by_its_module():
    """Some import systems know entry points without their packages."""
    points = {"opentelemetry_distro": "a.b:D", "opentelemetry_configurator": "c.d:C"}

    (found,) = find(
        {},
        launcher=True,
        code=False,
        modules={},
        entry_points=lambda *, group: [Point("name", points[group], None)],
    )
    assert found.what.startswith("a.b and c.d are installed")


@pytest.mark.parametrize(
    ("environ", "attached"),
    [
        ({}, False),
        ({"APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE": "IntegratedAuto"}, True),
        ({"APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE": "Manual"}, False),
        ({"ApplicationInsightsAgent_EXTENSION_VERSION": "~3"}, False),
        ({"WEBSITE_SITE_NAME": "shop", "ApplicationInsightsAgent_EXTENSION_VERSION": "~3"}, True),
        ({"WEBSITE_SITE_NAME": "shop", "ApplicationInsightsAgent_EXTENSION_VERSION": "disabled"}, False),
        ({"WEBSITE_SITE_NAME": "shop"}, False),
        (
            {
                "WEBSITE_SITE_NAME": "shop",
                "ApplicationInsightsAgent_EXTENSION_VERSION": "~3",
                "APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE": "Manual",
            },
            False,
        ),
    ],
)
@pytest.mark.parametrize(("launcher", "code"), [(True, False), (False, True), (False, False)])
def test_app_services_own_instrumentation_beside_another(environ, attached, launcher, code):
    """By itself it is none too many; it is one with the launcher, or with what the application sets up."""
    doubled = attached and (launcher or code)

    assert [ATTACHED] * doubled == kinds(environ, launcher=launcher, code=code)


class Running:
    """An instrumentor as contrib's are: a singleton, that is made anew when it is asked for."""

    _instance = SimpleNamespace(is_instrumented_by_opentelemetry=True)

    def __init__(self):
        pytest.fail("to make it anew breaks what it reports")


@pytest.mark.parametrize(
    ("instrumentor", "found"),
    [
        (Running, [SYSTEM_METRICS]),
        (type("Ended", (), {"_instance": SimpleNamespace(is_instrumented_by_opentelemetry=False)}), []),
        (type("NeverMade", (), {"_instance": None}), []),
        (type("OfALaterVersion", (), {}), []),
        (None, []),
    ],
)
def test_an_instrumentation_that_runs_beside_ours(instrumentor, found):
    """Known without touching it; one that cannot be asked any more is not reported."""
    module = SimpleNamespace(SystemMetricsInstrumentor=instrumentor)

    assert found == kinds(modules={"opentelemetry.instrumentation.system_metrics": module})


def test_contribs_instrumentations_are_recognised(sink):
    """The real ones, while they run."""
    system_metrics = pytest.importorskip(
        "opentelemetry.instrumentation.system_metrics"
    ).SystemMetricsInstrumentor()
    monitoring = pytest.importorskip("pymongo.monitoring")
    pymongo = pytest.importorskip("opentelemetry.instrumentation.pymongo").PymongoInstrumentor()
    listeners = monitoring._LISTENERS.command_listeners
    registered = list(listeners)

    def found():
        return kinds(modules=sys.modules)

    before = found()
    system_metrics.instrument(meter_provider=sink.meter_provider)
    pymongo.instrument(tracer_provider=sink.tracer_provider)
    both = found()
    pymongo.uninstrument()
    system_metrics.uninstrument()
    # It knows no way back: its listener stays registered, with its first provider, in which others look for spans.
    listeners[:] = registered
    pymongo._commandtracer_instance = None

    assert ([], [SYSTEM_METRICS, PYMONGO], []) == (before, both, found())


def test_each_is_said_once_and_only_where_ours_runs(caplog):
    """One line with what comes of it and what to do; a line that the application's log cannot take is left out."""
    found = [
        duplicates.Duplicate(kind, f"{kind} is there", "Remove it", subject)
        for kind, subject in (("first", None), ("second", "process"), ("third", "mongodb"))
    ]
    for _ in range(2):
        duplicates.warn(found, ["process"])

    assert ["first is there. Remove it", "second is there. Remove it"] == caplog.messages


def test_in_code_it_is_said_when_the_application_instruments(monkeypatch, caplog, sink):
    """As with `configure_azure_monitor()` where App Service attaches its own."""
    monkeypatch.setenv("APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE", "IntegratedAuto")
    for _ in range(2):
        otel_resinstr.instrument(**sink.providers)
    said = [message for message in caplog.messages if "auto-instrumentation" in message]

    assert [
        (
            "App Service's auto-instrumentation is on, and the application's code sets OpenTelemetry up as well: "
            "what both report arrives twice. Switch one off: the application setting "
            "ApplicationInsightsAgent_EXTENSION_VERSION=disabled leaves it to the application's code"
        )
    ] == said


def test_where_nothing_of_ours_runs_nothing_is_said(monkeypatch, caplog):
    """Who has switched us off has done so."""
    monkeypatch.setenv("APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE", "IntegratedAuto")
    instrumentors.say_what_is_doubled(launcher=True, code=False)

    assert [] == caplog.messages


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "system_metrics,pymongo"}, []),
        (
            {
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo",
                "APPLICATIONINSIGHTS_PYTHON_ATTACHTYPE": "IntegratedAuto",
            },
            [
                "App Service's auto-instrumentation is on, and opentelemetry-instrument sets OpenTelemetry up as well",
                "opentelemetry-instrumentation-system-metrics runs as well",
            ],
        ),
    ],
)
def test_under_the_launcher_it_is_said_before_the_application_begins(environ, said):
    """In whatever order the launcher loads; and once, for workers that are forked too."""
    pytest.importorskip("opentelemetry.instrumentation.system_metrics")
    exporters = dict.fromkeys(("OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
    program = (
        "import os, sys; print('it begins', file=sys.stderr); pid = os.fork(); pid and os.waitpid(pid, 0)"
    )
    done = subprocess.run(
        [LAUNCHER, sys.executable, "-c", program],
        env=clean_environ(**exporters, **environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    before, _, after = done.stderr.partition("it begins")
    lines = [line for line in before.splitlines() if "Switch" in line]

    assert (0, False) == (done.returncode, "Switch" in after), done.stderr
    assert said == [line[: len(start)] for line, start in zip(lines, said, strict=True)]
