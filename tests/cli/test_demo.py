# SPDX-License-Identifier: Apache-2.0
"""`resinstr demo`, as a person calls it."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("click")

from click.testing import CliRunner

import otel_resinstr.cli
from otel_resinstr.cli.commands import resinstr
from otel_resinstr.version import __version__

COMMAND = [sys.executable, "-W", "error", "-c", "from otel_resinstr.cli import main; main()"]


def started(*arguments, **environ):
    return subprocess.Popen(
        [*COMMAND, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )


def test_all_phases_arrive_at_a_collector(tmp_path, otelcol):
    """The whole demo, short: each fault is found with its line, in what the Collector kept."""
    pytest.importorskip("pymongo")
    demo = started("--seconds", "3", "--json", "--otelcol", str(otelcol), "--out", str(tmp_path / "out"))

    output, told = demo.communicate(timeout=110)

    assert 0 == demo.returncode, told
    assert f"{otelcol}\n" in told
    printed = json.loads(output)
    assert 0 == printed["unreadable_lines"]
    assert {
        "shared": [],
        "closed": ["client_churn"],
        "dropped": ["client_churn"],
        "kept": ["client_growth"],
        "blocked": ["loop_blocked"],
    } == {
        phase["phase"]: [
            finding["suspect"]
            for finding in phase["verdict"]["findings"]
            # A machine that is busy with other tests may let a healthy loop wait as well.
            if phase["phase"] == "blocked" or finding["suspect"] != "loop_blocked"
        ]
        for phase in printed["phases"]
    }
    figures = {phase["phase"]: phase["figures"] for phase in printed["phases"]}
    assert figures["closed"]["clients_created"] == figures["closed"]["clients_closed"] >= 10
    assert figures["dropped"]["clients_created"] == figures["dropped"]["clients_dropped"] > 10
    assert figures["kept"]["clients_created"] == figures["kept"]["clients_peak"] > 10
    assert figures["kept"]["client_site"].endswith(" kept")
    assert figures["blocked"]["loop_site"].endswith(" wait_for_jobs")
    servers = {phase["phase"]: phase["server"] for phase in printed["phases"]}
    # Three a client; the server is asked four times a second, and may not have seen the last two.
    assert 3 * figures["kept"]["clients_peak"] - servers["kept"]["connections_peak"] in range(7)


def running(process):
    """What *process* has started, by the name of the program."""
    try:
        return {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the environment of another process")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_interrupted_leaves_no_process_behind(number, exit_code):
    """While the application runs: it, the server and the Collector end, and no traceback is shown."""
    pytest.importorskip("pymongo")
    demo = started("--seconds", "30")
    seen = {}
    deadline = time.monotonic() + 60
    while not any("app.py" in " ".join(child.cmdline()) for child in alive(seen)):
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
        seen.update(running(demo))

    demo.send_signal(number)
    output, told = demo.communicate(timeout=30)

    assert (exit_code, "") == (demo.returncode, output)
    assert "Traceback" not in told
    assert 2 <= len(seen)
    assert [] == alive(seen)


def alive(seen):
    return [child for child in seen.values() if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_failure_is_a_line_and_an_exit_code():
    """What is wrong and what to do, without a traceback."""
    pytest.importorskip("pymongo")
    ended = CliRunner().invoke(resinstr, ["demo", "--otelcol", "/nonexistent"])

    assert 1 == ended.exit_code
    assert ended.output.startswith("Error: --otelcol: there is no program /nonexistent\n")


def test_incomplete_telemetry_is_exit_code_1(monkeypatch):
    """So a script can tell."""
    conduct = pytest.importorskip("otel_resinstr.cli._conduct")
    given = {}
    monkeypatch.setattr(conduct, "demo", lambda **options: bool(given.update(options)))

    ended = CliRunner().invoke(resinstr, ["demo", "--json", "--out", "here"])

    assert (1, "") == (ended.exit_code, ended.output)
    assert {
        "otelcol": None,
        "mongodb_uri": None,
        "out": Path("here"),
        "as_json": True,
        "seconds": 8.0,
    } == given


def test_without_process_groups_there_is_no_demo(monkeypatch):
    """Windows has none; nothing is started that could not be ended."""
    monkeypatch.delattr(os, "killpg")

    ended = CliRunner().invoke(resinstr, ["demo"])

    assert 1 == ended.exit_code
    assert "run it in WSL" in ended.output


@pytest.mark.parametrize(
    ("module", "named"),
    [("pymongo", "pymongo"), ("opentelemetry.exporter", "opentelemetry.exporter.otlp.proto.http")],
)
def test_what_is_not_installed_is_named(monkeypatch, module, named):
    """With the extra that brings it, and before anything is started."""
    pytest.importorskip("pymongo")
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)

    class Hide:
        def find_spec(self, name, path=None, target=None):
            if name == module:
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Hide(), *sys.meta_path])

    ended = CliRunner().invoke(resinstr, ["demo"])

    assert (1, f"Error: the demo needs {named}: pip install 'otel-resinstr[demo]'\n") == (
        ended.exit_code,
        ended.output,
    )


def test_the_version_is_that_of_the_package():
    """Reports of users begin with it."""
    assert f"resinstr, version {__version__}\n" == CliRunner().invoke(resinstr, ["--version"]).output


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch):
    """One line, no traceback."""
    real = builtins.__import__

    def without_click(name, *arguments):
        if name.startswith("otel_resinstr.cli.commands"):
            raise ModuleNotFoundError("No module named 'click'", name="click")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_click)
    former = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as raised:
            otel_resinstr.cli.main()
    finally:
        signal.signal(signal.SIGINT, former)

    assert "resinstr needs click: pip install 'otel-resinstr[demo]'" == raised.value.code


@pytest.mark.parametrize("ignored", [True, False])
def test_ctrl_c_is_130_from_the_start(monkeypatch, ignored):
    """Not click's "Aborted!" and 1; a signal that the shell has switched off stays so."""
    monkeypatch.setattr(sys, "argv", ["resinstr", "--version"])
    former = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        with pytest.raises(SystemExit):
            otel_resinstr.cli.main()
        if ignored:
            assert signal.SIG_IGN == signal.getsignal(signal.SIGINT)
        else:
            with pytest.raises(SystemExit) as raised:
                os.kill(os.getpid(), signal.SIGINT)
            assert 130 == raised.value.code
    finally:
        signal.signal(signal.SIGINT, former)
