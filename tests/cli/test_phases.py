# SPDX-License-Identifier: Apache-2.0
"""Running the application."""

from __future__ import annotations

import ast
import itertools

import pytest

pytest.importorskip("pymongo")
pytest.importorskip("opentelemetry.distro")

from otel_resinstr.cli import _phases
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._mongodb import Connections
from otel_resinstr.cli._phases import HEALTHY, PHASES, Phase, application, beyond, launcher, run
from otel_resinstr.cli._sink import Sink


class FakeServer:
    """Sees one number of connections after the other."""

    def __init__(self, before, *seen):
        self._before = before
        self._seen = itertools.chain(seen, itertools.repeat(seen[-1]))

    def settled(self):
        return self._before

    def connections(self):
        return next(self._seen)


@pytest.fixture
def start(programs, tmp_path, monkeypatch):
    sink = Sink(tmp_path)
    monkeypatch.setattr(_phases, "SAMPLE_EVERY", 0.01)

    def start(
        phase=HEALTHY,
        server=None,
        uri="mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1",
        tell=lambda _: None,
    ):
        server = server or FakeServer(None, None)
        return run(
            phase,
            tell,
            seconds=0.1,
            programs=programs,
            server=server,
            uri=uri,
            endpoint=sink.endpoint,
            logs=tmp_path,
        )

    yield start
    sink.stop()


def test_the_application_knows_nothing_of_us():
    """It imports what its own work needs; each phase is an argument that it takes."""
    tree = ast.parse(application().read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    imported = {module.partition(".")[0] for module in modules}

    assert {"__future__", "asyncio", "functools", "os", "pymongo", "sys", "time"} == imported
    assert [] == [phase.name for phase in PHASES if f'"{phase.name}"' not in application().read_text()]


def test_a_missing_launcher_says_what_to_install(tmp_path):
    """It comes with the extra."""
    with pytest.raises(
        Failure, match=r"there is no .*opentelemetry-instrument\n.*pip install 'otel-resinstr\[demo\]'"
    ):
        launcher(tmp_path)


def test_an_application_that_fails_is_reported_with_its_last_words(start, monkeypatch):
    """Its exit code and its traceback; what the server sees is what is beyond the connections from before."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")  # is not passed on
    server = FakeServer(Connections(4, 10), Connections(4, 10), None, Connections(7, 19), Connections(5, 21))
    told = []

    ended = start(Phase("no such phase", ""), server, tell=told.append)

    assert 1 == ended.exit_code
    assert "KeyError: 'no such phase'" in ended.last_words
    assert (3, 11) == (ended.connections_peak, ended.connections_accepted)
    assert sorted(told) == told


@pytest.mark.parametrize(
    ("before", "seen", "found"),
    [
        (Connections(4, 10), [Connections(7, 19), Connections(5, 21)], (3, 11)),
        (None, [Connections(7, 19)], (None, None)),
        (Connections(4, 10), [], (None, None)),
        (Connections(4, None), [Connections(6, 19)], (2, None)),
        (Connections(4, 10), [Connections(6, None)], (2, None)),
    ],
)
def test_what_the_server_does_not_say_is_unknown(before, seen, found):
    """Before, meanwhile, or of the total only; what was there before is not the application's."""
    assert found == beyond(before, seen)


def test_an_application_that_does_not_end_is_stopped(start, monkeypatch, mongodb):
    """It has some seconds beyond its time, and no exit code."""
    monkeypatch.setattr(_phases, "GRACE", 0)

    assert None is start(uri=mongodb).exit_code
