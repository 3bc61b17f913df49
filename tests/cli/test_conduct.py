# SPDX-License-Identifier: Apache-2.0
"""The demo from start to end."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("pymongo")
pytest.importorskip("rich")
pytest.importorskip("opentelemetry.distro")

from rich.console import Console

from otel_resinstr.cli._conduct import demo, judge, new_folder, phases_as_json, run_all
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._phases import HEALTHY, PHASES, Phase, Run

RECORDED = Path(__file__).parents[1] / "explain" / "data" / "demo"


def ended(phase, exit_code=0):
    return Run(phase, exit_code, "", 3, 3)


def test_telemetry_is_thrown_away_unless_a_folder_is_named():
    """A folder of its own, gone at the end."""
    with ExitStack() as stack:
        folder = new_folder(None, stack)
        (folder / "metrics.jsonl").touch()
        assert Path(tempfile.gettempdir()) == folder.parent

    assert not folder.exists()


def test_a_folder_that_is_named_is_made_and_kept(tmp_path):
    """With its parents; one that is there and empty will do."""
    out = tmp_path / "a" / "b"
    with ExitStack() as stack:
        assert [out, out] == [new_folder(out, stack), new_folder(out, stack)]

    assert out.is_dir()


def test_telemetry_of_two_runs_is_not_mixed(tmp_path):
    """A folder with something in it is refused."""
    (tmp_path / "metrics.jsonl").touch()

    with ExitStack() as stack, pytest.raises(Failure, match=r"is not empty, .* name another folder"):
        new_folder(tmp_path, stack)


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path):
    """With the system's reason."""
    (tmp_path / "file").touch()

    with ExitStack() as stack, pytest.raises(Failure, match=r"--out .*/file/out: Not a directory"):
        new_folder(tmp_path / "file" / "out", stack)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_to_a_person_only(terminal):
    """On a terminal the phase that runs, and how many there are; into a file nothing."""
    output = io.StringIO()
    told = Console(file=output, force_terminal=terminal, width=100)

    def run(phase, tell):
        tell(1.5)
        return ended(phase)

    runs = run_all(PHASES, run, 8.0, told)

    assert list(PHASES) == [done.phase for done in runs]
    shown = [f"{number} of 5: {phase.title}" in output.getvalue() for number, phase in enumerate(PHASES, 1)]
    assert ([True] * 5 if terminal else [False] * 5) == shown
    assert terminal or not output.getvalue()


def test_what_arrived_is_judged_phase_by_phase():
    """Each by its own telemetry, and the wrong ways beside the right one: so a client has a price."""
    results, unreadable = judge([ended(phase) for phase in PHASES], RECORDED)

    assert 0 == unreadable
    assert [True] * 5 == [result.complete for result in results]
    assert [[], ["client_churn"], ["client_churn"], ["client_growth"], ["loop_blocked"]] == [
        [finding.suspect for finding in result.verdict.findings] for result in results
    ]
    assert "each costs 4.6 ms of CPU more than sharing one" in results[1].verdict.sentences[0]


def test_json_says_how_each_phase_went():
    """What the server saw and how the application ended, beside what was judged."""
    runs = [ended(phase) for phase in PHASES[:2]]
    results, _ = judge(runs, RECORDED)

    shared, closed = phases_as_json(runs, results)

    assert ("shared", 0, True) == (shared["phase"], shared["exit_code"], shared["complete"])
    assert {
        "connections_peak": runs[0].connections_peak,
        "connections_accepted": runs[0].connections_accepted,
    } == shared["server"]
    assert ["client_churn"] == [finding["suspect"] for finding in closed["verdict"]["findings"]]


def test_a_phase_of_which_nothing_arrived_is_not_complete(tmp_path):
    """Even if its application ended well."""
    [result], unreadable = judge([ended(HEALTHY)], tmp_path)

    assert (False, None, None, 0) == (result.complete, result.figures, result.verdict, unreadable)


def test_one_phase_for_real(tmp_path, capfd, mongodb):
    """A server, the sink, the application, and what it all printed: the result alone on standard output."""
    out = tmp_path / "out"

    complete = demo(
        otelcol="none", mongodb_uri=mongodb, out=out, as_json=False, seconds=1.0, phases=PHASES[:1]
    )

    output, told = capfd.readouterr()
    assert complete, output
    assert "No suspect fits: 1 client for " in output
    assert "MongoDB      SecantusDB" in told
    assert "Telemetry    received by the demo's own sink, not a Collector" in told
    assert f"Telemetry and logs: kept in {out}" in told
    assert {"app-shared.log", "metrics.jsonl", "traces.jsonl"} <= {file.name for file in out.iterdir()}


def test_a_phase_that_fails_makes_the_demo_fail(capfd, mongodb):
    """The others go on, and what is wrong is in the result."""
    complete = demo(
        otelcol="none",
        mongodb_uri=mongodb,
        out=None,
        as_json=True,
        seconds=1.0,
        phases=[Phase("no such phase", "not there")],
    )

    output, told = capfd.readouterr()
    [phase] = json.loads(output)["phases"]
    assert (False, False, 1) == (complete, phase["complete"], phase["exit_code"])
    assert "Telemetry and logs: thrown away; --out DIR keeps them" in told
