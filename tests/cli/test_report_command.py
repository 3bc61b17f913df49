# SPDX-License-Identifier: Apache-2.0
"""`resinstr report`, as a person calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("rich")

from click.testing import CliRunner

from otel_resinstr.cli.commands import resinstr

RECORDED = Path(__file__).parents[1] / "explain" / "data" / "demo"
SUSPECTS = [[], ["client_churn"], ["client_churn"], ["client_growth"], ["loop_blocked"]]


def report(*arguments, **environ):
    result = CliRunner().invoke(resinstr, ["report", *map(str, arguments)], env=environ)
    return result.exit_code, result.output


def of_resource(**attributes):
    return {"attributes": [{"key": key, "value": {"stringValue": text}} for key, text in attributes.items()]}


def metric(at, **resource):
    """A line with one metric of a process."""
    points = [{"timeUnixNano": str(at * 10**9), "asInt": "3"}]
    scope = {"metrics": [{"name": "process.thread.count", "sum": {"dataPoints": points}}]}
    request = {"resourceMetrics": [{"resource": of_resource(**resource), "scopeMetrics": [scope]}]}
    return json.dumps(request) + "\n"


def test_a_folder_is_read_as_a_table_and_a_paragraph_for_each_process():
    """What a Collector kept of five processes of one service: when each was watched, and which suspects fit."""
    code, output = report(RECORDED)

    assert 0 == code
    lines = [line.rstrip() for line in output.splitlines()]
    assert [
        "                                  zero-code-    zero-code-    zero-code-    zero-code-    zero-code-",
        "                                       demo,         demo,         demo,         demo,         demo,",
        "                                    97a43bae      e795b24b      17f068d1      69150440      340f1e55",
        "",
        "Commands, close() included                62           120            60            59            50",
        "Clients made                               1            60            60            59             1",
    ] == lines[:6]
    paragraph = """\
zero-code-demo, e795b24b
  Watched from 2026-11-22 20:25:05Z to 2026-11-22 20:25:13Z.
  app.py:41 closed constructs client after client: 60 (7.7 a second), 60 closed; they do not pile up
  (at most 12 driver threads and 4 sockets at a time), so only the rate gives it away.
  -> Construct one client when the process starts, keep it, and share it: it is a pool, and safe in
  threads.
"""
    assert paragraph in "\n".join(lines)


def test_json_has_who_it_was_and_when_and_what_was_judged():
    """For programs, all in the order in which they were watched."""
    code, output = report("--json", RECORDED)

    printed = json.loads(output)
    assert (0, 0) == (code, printed["unreadable_lines"])
    assert SUSPECTS == [
        [finding["suspect"] for finding in process["verdict"]["findings"]] for process in printed["processes"]
    ]
    first = printed["processes"][0]
    assert ("zero-code-demo, 97a43bae", "zero-code-demo") == (
        first["title"],
        first["resource"]["service.name"],
    )
    assert ("2026-11-22 20:24:54Z", "2026-11-22 20:25:02Z") == (first["first"], first["last"])
    assert 62 == first["figures"]["check_outs"]


def test_files_are_read_by_any_name_and_what_was_cut_off_is_said(tmp_path):
    """A process was killed while it wrote: its file is read up to the last whole line."""
    for name in ("metrics", "logs"):
        shutil.copy(RECORDED / f"{name}.jsonl", tmp_path / f"{name}.json")
    whole = (tmp_path / "metrics.json").read_bytes()
    (tmp_path / "metrics.json").write_bytes(whole + whole[:1000])

    code, output = report("--json", *tmp_path.iterdir())
    text = report(*tmp_path.iterdir())[1]

    printed = json.loads(output)
    assert (0, 1) == (code, printed["unreadable_lines"])
    assert SUSPECTS == [
        [finding["suspect"] for finding in process["verdict"]["findings"]] for process in printed["processes"]
    ]
    assert "\nLeft out: 1 line of telemetry that made no sense.\n" in text


def test_processes_are_called_by_what_tells_them_apart(tmp_path):
    """The service, the process id where it is known, and the instance where both are the same."""
    (tmp_path / "m.jsonl").write_text(
        metric(5, **{"service.name": "b"})
        + metric(4, **{"service.name": "a", "process.pid": "7"})
        + metric(3, **{"service.name": "c", "process.pid": "1", "service.instance.id": "123456789"})
        + metric(2, **{"service.name": "c", "process.pid": "1"})
        + metric(1)
    )

    titles = [process["title"] for process in json.loads(report("--json", tmp_path)[1])["processes"]]

    assert ["no service.name", "c, pid 1, ?", "c, pid 1, 12345678", "a, pid 7", "b"] == titles


def test_a_time_that_cannot_be_is_shown_as_it_is(tmp_path):
    """Nothing that a file holds is a traceback."""
    (tmp_path / "m.jsonl").write_text(metric(5) + metric(10**20))

    assert "Watched from 1970-01-01 00:00:05Z to second 1e+20.\n" in report(tmp_path)[1]


def test_without_a_path_it_is_where_the_exporter_writes(tmp_path, monkeypatch):
    """That of this environment: what OTEL_RESINSTR_FILE_DIR says, or `resinstr` in the working directory."""
    shutil.copytree(RECORDED, tmp_path / "resinstr")
    monkeypatch.chdir(tmp_path)

    assert report(OTEL_RESINSTR_FILE_DIR="elsewhere") == (
        1,
        "Error: no file *.jsonl in elsewhere: name the files, or the folder that they are in\n",
    )
    assert report(RECORDED) == report()
    assert report(RECORDED) == report(OTEL_RESINSTR_FILE_DIR=str(RECORDED))


def test_what_cannot_be_read_is_said_in_one_line(tmp_path):
    """And the exit code tells a program."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "odd.jsonl").mkdir()

    said = f"Error: no file *.jsonl in {empty}: name the files, or the folder that they are in\n"
    assert (1, said) == report(empty)
    assert (1, f"Error: {tmp_path / 'odd.jsonl'}: Is a directory\n") == report(tmp_path)
    code, output = report(tmp_path / "missing")
    assert 2 == code
    assert f"Path '{tmp_path / 'missing'}' does not exist." in output


def test_files_without_metrics_are_no_success(tmp_path):
    """What came of a process is shown all the same."""
    span = {"name": "s", "startTimeUnixNano": "1000000000", "endTimeUnixNano": "3500000000"}
    request = {"resource": of_resource(**{"service.name": "shop"}), "scopeSpans": [{"spans": [span]}]}
    (tmp_path / "traces.jsonl").write_text(json.dumps({"resourceSpans": [request]}))

    code, output = report(tmp_path)

    assert 1 == code
    assert "\nshop\n  No metric arrived.\n" in output
