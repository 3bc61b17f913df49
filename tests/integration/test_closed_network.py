# SPDX-License-Identifier: Apache-2.0
"""A process whose telemetry goes into files: what they say, to whom it can be said, and which process says it."""

from __future__ import annotations

import json
import re
import stat
import sys

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.json.common", reason="needs a newer SDK")
pytest.importorskip("rich")

from click.testing import CliRunner

from launched import EXAMPLES, LAUNCHER, PROGRAMS, SETTINGS
from mongo import eventually
from otel_resinstr.cli.commands import resinstr
from otel_resinstr.explain import readings

FILES = {
    **SETTINGS,
    "OTEL_METRICS_EXPORTER": "resinstr_file",
    "OTEL_TRACES_EXPORTER": "resinstr_file",
    "OTEL_LOGS_EXPORTER": "resinstr_file",
}
SIGNALS = ["logs", "metrics", "traces"]


def report(*arguments):
    result = CliRunner().invoke(resinstr, ["report", *map(str, arguments)])
    return result.exit_code, result.output


def test_files_of_a_closed_network_are_as_good_as_what_is_sent(server, start_program, collector, tmp_path):
    """Without a network: the demo's table from the files, and the same once a Collector has had them."""
    out = tmp_path / "out"
    program = start_program(
        LAUNCHER,
        sys.executable,
        PROGRAMS / "offline.py",
        EXAMPLES / "zero_code" / "app.py",
        "closed",
        "3",
        **FILES,
        OTEL_RESINSTR_FILE_DIR=str(out),
        MONGODB_URI=server.uri,
    )

    assert 0 == program.process.wait(60), program.err.read_text()
    asked = {line for line in program.says().splitlines() if line.startswith("asked for")}
    assert (
        {f"asked for ('127.0.0.1', {server.port})"}
        <= asked
        <= {
            "asked for 127.0.0.1",
            f"asked for ('127.0.0.1', {server.port})",
        }
    )
    assert SIGNALS == sorted(path.name.partition("-")[0] for path in out.iterdir())
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    code, table = report(out)
    assert 0 == code
    pid = program.process.pid
    assert re.search(
        rf"^shop, pid {pid}\n  Watched from .*\n  app\.py:\d+ closed constructs client after",
        table,
        re.MULTILINE,
    )
    assert "\n  -> Construct one client when the process starts, keep it, and share it" in table

    # As it would have been with a network: a Collector takes each line, and what it keeps reads the same.
    of_signal = {
        signal: b"".join(path.read_bytes() for path in out.glob(f"{signal}-*")) for signal in SIGNALS
    }
    for signal, text in of_signal.items():
        for line in text.splitlines():
            assert 200 == collector.send_encoded(signal, line, "application/json")
    eventually(lambda: what_is_in(collector.out) == what_is_in(out))
    assert report(out) == report(collector.out)
    _, metrics, spans, events = what_is_in(out)
    assert "mongodb.client.created" in metrics
    assert "mongodb.client.create" in {span.name for span in spans}
    assert "mongodb.client.churn" in {event.name for event in events}


def what_is_in(folder):
    """All that is known of the one process in the files of *folder*, in the order in which it happened."""
    for process in readings.read(folder).processes:
        spans = sorted(process.spans, key=lambda span: (span.start, span.name))
        return process.resource, process.metrics, spans, sorted(process.events, key=lambda event: event.at)
    return None


FORKS = """
import os, sys
from opentelemetry import trace

for _ in range(3):
    child = os.fork()
    if not child:
        break
with trace.get_tracer("t").start_as_current_span(str(os.getpid())):
    pass
if child:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
"""


def test_each_process_has_its_own_files(start_program, tmp_path):
    """A parent and three children that it forks while it is instrumented: nobody writes into another's."""
    program = start_program(
        LAUNCHER, sys.executable, "-c", FORKS, **FILES, OTEL_RESINSTR_FILE_DIR=str(tmp_path / "out")
    )
    assert 0 == program.process.wait(60), program.err.read_text()

    of_pid = {}
    for path in (tmp_path / "out").iterdir():
        signal, _, pid = path.stem.split("-")
        [process] = (found := readings.read(path)).processes
        assert 0 == found.unreadable
        assert int(pid) == process.resource["process.pid"]
        of_pid.setdefault(pid, []).append(signal)
        assert [pid] * (signal == "traces") == [span.name for span in process.spans]
    assert str(program.process.pid) in of_pid
    assert [["metrics", "traces"]] * 4 == [sorted(signals) for signals in of_pid.values()]
    code, output = report("--json", tmp_path / "out")
    assert (0, 4) == (code, len(json.loads(output)["processes"]))
