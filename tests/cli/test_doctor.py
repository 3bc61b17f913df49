# SPDX-License-Identifier: Apache-2.0
"""`resinstr doctor`: what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from otel_resinstr.cli import doctor
from otel_resinstr.cli.commands import resinstr
from otel_resinstr.cli.doctor import show
from otel_resinstr.doctor.examine import Diagnosis
from otel_resinstr.doctor.finding import ERROR, NOTE, WARNING, Kind


def run(*arguments, **environ):
    result = CliRunner().invoke(resinstr, ["doctor", *arguments], env=environ)
    return result.exit_code, result.output


FACTS = {
    "command": {
        "program": "gunicorn",
        "interpreter": "/app/bin/python",
        "launcher": "/app/bin/opentelemetry-instrument",
        "server": "gunicorn forks 2 workers, each loads the application",
    },
    "launched": {
        "python": "3.12.1",
        "environment": "/app",
        "versions": {"otel-resinstr": "0.1", "opentelemetry-sdk": "1.45.1"},
        "service": "shop",
        "distros": ["distro"],
        "configurators": ["configurator"],
        "instrumentors": {"resinstr_host": True, "pymongo": False},
        "exporters": [
            {
                "signal": "traces",
                "class": "opentelemetry.exporter:Exporter",
                "protocol": "grpc",
                "endpoint": "http://collector:4317",
                "export": "arrived",
            },
            {
                "signal": "logs",
                "class": "console:Exporter",
                "protocol": None,
                "endpoint": None,
                "export": None,
            },
        ],
    },
    "host": [
        {"name": "memory of the machine", "place": "/proc/meminfo", "reason": None},
        {"name": "pressure on io (system)", "place": "/proc/pressure/io", "reason": "there is no such file"},
    ],
}


def shown(findings, facts):
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        show(console, Diagnosis(findings, facts))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_it_prints_what_is_there_and_below_it_what_is_wrong():
    """The remedies stand where one looks first, above the prompt."""
    lost = Kind("a.lost", ERROR, "{what} is lost.", "Find {what}.", "https://example.org/lost")
    odd = Kind("a.odd", WARNING, "That is odd.", "Look again.")

    findings = [
        lost.found("it is not there", what="It"),
        lost.found("nor here", what="That"),
        odd.found(),
    ]

    assert [
        "Command        gunicorn",
        "Interpreter    /app/bin/python",
        "Launcher       /app/bin/opentelemetry-instrument",
        "Server         gunicorn forks 2 workers, each loads the application",
        "Environment    /app, Python 3.12.1",
        "Versions       otel-resinstr 0.1, opentelemetry-sdk 1.45.1",
        "Service        shop",
        "Distro         distro",
        "Configurator   configurator",
        "Instrumentors  resinstr_host",
        "  not started  pymongo",
        "Traces         grpc to http://collector:4317: arrived",
        "Logs           console:Exporter",
        "Machine        1 sources can be read; not: pressure on io (system)",
        "",
        "error It is lost. a.lost",
        "  seen: it is not there",
        "  -> Find It.",
        "     https://example.org/lost",
        "",
        "error That is lost. a.lost",
        "  seen: nor here",
        "  -> Find That.",
        "     https://example.org/lost",
        "",
        "warning That is odd. a.odd",
        "  -> Look again.",
        "",
        "To mend: 2 errors, 1 warning.",
    ] == shown(findings, FACTS)


def test_it_says_so_when_there_is_nothing_to_mend():
    """Of a command that could not be started, no more is shown than is known."""
    nothing = {
        "command": {"program": "", "interpreter": None, "launcher": None, "server": None},
        "launched": None,
        "host": [],
    }

    assert [
        "Command  none: whatever this interpreter runs",
        "Machine  0 sources can be read",
        "",
        "Nothing to mend.",
    ] == shown([], nothing)


def test_notes_are_counted_and_need_nothing():
    """The exit code is 0 with them."""
    note = Kind("a.note", NOTE, "So it is.", "Nothing.")
    facts = {
        **FACTS,
        "launched": {**FACTS["launched"], "exporters": [], "instrumentors": {}, "service": None},
    }

    lines = shown([note.found()], facts)

    assert "Nothing to mend: 1 note." == lines[-1]
    assert {"Exporters      none", "Instrumentors  none", "Service        unknown"} <= set(lines)


def test_what_is_to_mend_ends_it_with_1():
    """For scripts; what is wrong stands in the output."""
    code, output = run("--", "no-such-program")

    assert 1 == code
    assert "launcher.no-command" in output


def test_what_was_not_looked_at_ends_it_with_1():
    """Nothing is known of what a shell starts: no script may take that for healthy."""
    code, output = run("--", "sh", "start.sh")

    assert 1 == code
    assert "launcher.not-python" in output


def test_notes_end_it_with_0(monkeypatch):
    """There is nothing to mend."""
    note = Kind("a.note", NOTE, "That is so.", "Nothing.").found()
    monkeypatch.setattr(doctor, "examine", lambda *_: Diagnosis([note], FACTS))

    code, output = run()

    assert 0 == code
    assert "a.note" in output


def test_a_wrong_call_ends_it_with_2():
    """An option before `--` is the doctor's."""
    code, output = run("--nosuch")

    assert 2 == code
    assert "No such option" in output


def test_for_programs_it_is_json():
    """One object, with the keys that docs/doctor.md has."""
    code, output = run("--json", "--", "no-such-program", "--password=hunter2")
    told = json.loads(output)

    assert 1 == code
    assert ["version", "healthy", "findings", "doctor", "command", "launched", "host"] == list(told)
    assert (1, False, None) == (told["version"], told["healthy"], told["launched"])
    assert {"program": "no-such-program", "interpreter": None, "server": None}.items() <= told[
        "command"
    ].items()
    assert {
        "id": "launcher.no-command",
        "severity": "error",
        "what": "There is no program no-such-program.",
        "evidence": "",
        "remedy": "Run the doctor where the command would run: in the same folder, and with the same PATH.",
        "link": None,
    } == told["findings"][0]
    assert {"name", "place", "reason"} == set(told["host"][0])
    assert "hunter2" not in output


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_command_this_interpreter_is_looked_at(arguments):
    """As an application is that is started with it."""
    code, output = run(*arguments, OTEL_SDK_DISABLED="true")

    assert 1 == code
    assert "launcher.sdk-disabled" in output
