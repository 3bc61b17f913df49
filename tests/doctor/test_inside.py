# SPDX-License-Identifier: Apache-2.0
"""The program that the launcher starts, called in this process: what it says. Started for real, it is elsewhere."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult
from opentelemetry.sdk.trace import export
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_resinstr
from otel_resinstr.doctor import inside
from support import clean_environ


@pytest.fixture
def ear():
    """One that hears, and leaves the loggers as they were."""
    loggers = [logging.getLogger(name) for name in inside.HEARD]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield inside.Ear()
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


class Root(logging.Handler):
    """A handler of the application's, or of the SDK's."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def emit(self, record):
        self.heard.append(record.getMessage())


def test_what_is_logged_is_kept_and_not_passed_on(ear):
    """The SDK's handler at the root would export it."""
    root = Root()
    logging.getLogger().addHandler(root)
    error = ValueError("no")
    logging.getLogger("opentelemetry.anything").error("It failed: %s", 1, exc_info=error)
    logging.getLogger("otel_resinstr").debug("plain")
    logging.getLogger().removeHandler(root)

    assert [
        {
            "logger": "opentelemetry.anything",
            "level": logging.ERROR,
            "message": "It failed: 1",
            "error": "ValueError: no",
            "thread": "MainThread",
        },
        {
            "logger": "otel_resinstr",
            "level": logging.DEBUG,
            "message": "plain",
            "error": "",
            "thread": "MainThread",
        },
    ] == ear.heard
    assert [] == root.heard


def test_the_report_is_plain_and_has_what_is_installed(ear, monkeypatch):
    """Settings of OpenTelemetry and proxies are told, and nothing else of the environment."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy")
    monkeypatch.setenv("UNRELATED", "secret")

    told = json.loads(json.dumps(inside.report(ear, "/given")))

    assert (sys.executable, sys.prefix) == (told["executable"], told["prefix"])
    assert {"OTEL_SERVICE_NAME": "shop", "HTTP_PROXY": "http://proxy"}.items() <= told["environ"].items()
    assert "UNRELATED" not in told["environ"]
    assert "version" in told["distributions"]["otel-resinstr"]
    assert {
        "group": "opentelemetry_instrumentor",
        "name": "resinstr_host",
        "value": "otel_resinstr.instrumentors:HostInstrumentor",
        "distribution": "otel-resinstr",
        "instrumented": False,
    } in told["entry_points"]
    assert {"traces", "metrics", "logs"} == set(told["providers"])
    assert "/given" == told["launcher"]["given"]


@pytest.mark.parametrize("environ", [{}, {"PYTHONSAFEPATH": "1"}])
def test_the_path_loses_our_folder_and_no_other(tmp_path, environ):
    """Where Python leaves it out by itself, the first one is PYTHONPATH's."""
    (tmp_path / "first-1.0.dist-info").mkdir()
    (tmp_path / "first-1.0.dist-info" / "METADATA").write_text("Name: first\nVersion: 1.0\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nprint([path for path in sys.path if path.endswith('doctor')])"
    )

    said = subprocess.run(
        [sys.executable, "-S", inside.__file__, "TOKEN"],
        env=clean_environ(PYTHONPATH=str(tmp_path), **environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert "[]" == said[0]
    assert "first" in json.loads(said[-1].removeprefix("TOKEN"))["distributions"]


def test_the_launchers_folder_is_one_of_the_path(monkeypatch, tmp_path):
    """As the launcher puts it there, before others."""
    folder = tmp_path / "opentelemetry" / "instrumentation" / "auto_instrumentation"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), "/elsewhere"]))
    assert os.path.realpath(folder) == inside.given_to_path()

    monkeypatch.delenv("PYTHONPATH")
    assert inside.given_to_path() is None


def test_the_launchers_folder_is_the_same_by_another_name(monkeypatch, tmp_path):
    """An environment may be reached through a link: `current`, or lib64."""
    folder = tmp_path / "real" / "opentelemetry" / "instrumentation" / "auto_instrumentation"
    folder.mkdir(parents=True)
    (tmp_path / "current").symlink_to("real")
    through = tmp_path / "current" / folder.relative_to(tmp_path / "real")
    monkeypatch.setenv("PYTHONPATH", str(through))
    module = SimpleNamespace(__file__=str(through / "__init__.py"))
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.auto_instrumentation", module)

    assert os.path.realpath(folder) == inside.given_to_path() == inside._imported()


def test_where_nothing_is_imported_nothing_is_known(ear, monkeypatch):
    """An environment without OpenTelemetry, and without us, has neither providers nor exporters."""
    monkeypatch.delattr(otel_resinstr, "duplicates")
    monkeypatch.setitem(sys.modules, "otel_resinstr.duplicates", None)
    for name in list(sys.modules):
        if name.partition(".")[0] == "opentelemetry":
            monkeypatch.delitem(sys.modules, name)

    told = inside.report(ear, None)

    assert ({}, None, [], [], {"given": None, "imported": None}) == (
        told["providers"],
        told["service"],
        told["exporters"],
        told["duplicates"],
        told["launcher"],
    )


class Failing(MetricExporter):
    """Of the module that the exporters of OTLP are in, so that it is one."""

    __module__ = "opentelemetry.exporter.otlp.proto.failing"

    def export(self, metrics_data, **_):
        logging.getLogger(self.__module__).warning("I fail")
        raise OSError("gone")

    def force_flush(self, timeout_millis=0):
        raise NotImplementedError

    def shutdown(self, timeout_millis=0, **_):
        raise NotImplementedError


class Slow(Failing):
    """Does not answer before it is let."""

    __module__ = Failing.__module__

    def __init__(self):
        super().__init__()
        self.answering = threading.Event()

    def export(self, metrics_data, **_):
        self.answering.wait(10)
        return MetricExportResult.SUCCESS


def test_an_export_that_fails_and_one_without_an_answer(ear):
    """What the exporter says, what it raises; and nothing, if it takes longer than it may."""
    failing, slow = Failing(), Slow()

    results = [each for each in inside.export(ear, 2.0) if each["class"].endswith((":Failing", ":Slow"))]
    slow.answering.set()

    assert failing is not slow  # both alive until here
    assert [
        {
            "signal": "metrics",
            "class": "opentelemetry.exporter.otlp.proto.failing:Failing",
            "result": "OSError: gone",
            "said": ["I fail"],
        },
        {
            "signal": "metrics",
            "class": "opentelemetry.exporter.otlp.proto.failing:Slow",
            "result": None,
            "said": [],
        },
    ] == results


class Taking(SpanExporter):
    """Takes what it is given."""

    __module__ = Failing.__module__

    def __init__(self):
        self.taken = []

    def export(self, spans):
        self.taken.append(spans)
        return SpanExportResult.SUCCESS


def test_a_request_of_spans_has_none(ear):
    """So that nothing shows in the back end; and what is no exporter of OTLP is not asked for any."""
    taking, other = Taking(), InMemoryMetricReader()

    assert ["SUCCESS"] == [
        each["result"] for each in inside.export(ear, 10) if each["class"].endswith(":Taking")
    ]
    assert [[]] == taking.taken
    assert other.get_metrics_data() is None


def test_an_exporter_is_found_by_what_it_is(ear):
    """A reader that drives another exporter is none; one that is read by others is."""
    exporter, reader = OTLPSpanExporter(endpoint="http://127.0.0.1:9"), InMemoryMetricReader()

    found = [(signal, thing) for signal, thing in inside._exporters() if thing in (exporter, reader)]

    assert [("traces", exporter), ("metrics", reader)] == found
    exporter.shutdown()


def test_it_answers_questions(ear, monkeypatch):
    """First with the report, then with an export for each; whatever else is printed stands in other lines."""
    monkeypatch.setattr(inside, "report", lambda ear, given: {"report": given})
    monkeypatch.setattr(inside, "export", lambda ear, within: [within])
    answers = io.StringIO("printed by a library")
    answers.seek(0, io.SEEK_END)

    inside.main("TOKEN", ear, "here", io.StringIO("0.5\n2\n"), answers)

    assert ["printed by a library", 'TOKEN{"report": "here"}', "", "TOKEN[0.5]", "", "TOKEN[2.0]"] == (
        answers.getvalue().splitlines()
    )


def test_nothing_is_made_to_be_asked_but_instrumentors(ear, monkeypatch):
    """An exporter would connect once more, and be found."""
    made = []
    monkeypatch.setattr(export, "ConsoleSpanExporter", lambda: made.append(1))

    told = inside.report(ear, None)["entry_points"]

    assert "opentelemetry.sdk.trace.export:ConsoleSpanExporter" in {entry["value"] for entry in told}
    assert [] == made


def test_an_instrumentor_that_breaks_when_it_is_asked_is_not_at_work(monkeypatch):
    """Somebody else's may be anything."""
    monkeypatch.setitem(sys.modules, "somebody", SimpleNamespace(Instrumentor=lambda: 1 / 0))

    assert not inside._instrumented("somebody:Instrumentor")
