# SPDX-License-Identifier: Apache-2.0
"""Finding and starting a Collector."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from otel_resinstr.cli._collector import TESTED, Collector, described, find
from otel_resinstr.cli._failure import Failure

ROOT = Path(__file__).parents[2]

FAKE = """
    import os, sys
    if sys.argv[1:] == ["--version"]:
        print("otelcol-fake version {version}")
        raise SystemExit
    {then}
"""
REFUSED = 'raise SystemExit("unknown type: \\"file\\" for id: \\"file/traces\\"")'
HEALTHY = """
    import http.server
    class Handler(http.server.BaseHTTPRequestHandler):
        ill = True
        def do_GET(self):
            self.send_response(503 if Handler.ill else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            Handler.ill = False
    host, _, port = os.environ["OTELCOL_HEALTH_ENDPOINT"].partition(":")
    http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.fixture
def fake_otelcol(fake):
    return lambda then, version=TESTED, name="otelcol": fake(
        name, FAKE.format(version=version, then=then.strip())
    )


def test_the_tested_version_is_the_one_that_is_built():
    """What the messages recommend is what `make collector` makes."""
    manifest = (ROOT / "collector" / "builder" / "manifest.yaml").read_text()

    assert [TESTED] == re.findall(r"^  version: (\S+)$", manifest, re.MULTILINE)


def test_none_is_the_sink():
    """By option or by variable, also where there is a Collector."""
    assert (None, None) == (find("none", dict(os.environ)), find(None, {"OTELCOL_BIN": "none"}))


def test_the_option_comes_before_the_variable_and_the_path(fake_otelcol, tmp_path):
    """What is said nearest counts."""
    for name in ("otelcol", "named", "in_variable"):
        fake_otelcol(REFUSED, name=name)
    environment = {"PATH": str(tmp_path), "OTELCOL_BIN": str(tmp_path / "in_variable")}

    assert tmp_path / "named" == find("named", environment)
    assert tmp_path / "in_variable" == find(None, environment)
    assert tmp_path / "otelcol" == find(None, {"PATH": str(tmp_path)})


def test_what_was_built_is_found_last(tmp_path):
    """Of several builds the latest; where nothing was built there is none."""
    root = tmp_path / "builds"
    environment = {"PATH": str(tmp_path), "OTELCOL_BUILD_ROOT": str(root)}
    assert None is find(None, environment)

    for age, name in enumerate(("new", "old")):
        build = root / name / "otelcol-resinstr"
        build.parent.mkdir(parents=True)
        build.touch()
        os.utime(build, (1_000_000 - age, 1_000_000 - age))

    assert root / "new" / "otelcol-resinstr" == find(None, environment)


def test_builds_are_looked_for_in_the_clone(tmp_path, otelcol):
    """Without a variable that says where else."""
    found = find(None, {"PATH": str(tmp_path)})

    assert found is None or found.parent.parent == ROOT / "collector" / "_build"


@pytest.mark.parametrize(
    ("option", "environment", "source"),
    [("/nonexistent", {}, "--otelcol"), (None, {"OTELCOL_BIN": "/nonexistent"}, "OTELCOL_BIN")],
)
def test_a_collector_that_was_named_has_to_be_there(option, environment, source):
    """Nothing else is taken instead, and the message says who named it and what to do."""
    with pytest.raises(Failure) as raised:
        find(option, environment)

    first, *remedy = raised.value.message.splitlines()
    assert f"{source}: there is no program /nonexistent" == first
    assert f"The demo is tested with version {TESTED}" in remedy[0]
    assert "--otelcol none" in remedy[1]


def test_a_collector_is_ready_when_its_health_check_says_so(fake_otelcol, programs, tmp_path):
    """Refused and 503 are not yet."""
    collector = Collector(programs, fake_otelcol(HEALTHY), tmp_path)

    assert f"otelcol-fake version {TESTED}, {tmp_path / 'otelcol'}" == collector.description
    assert collector.endpoint.startswith("http://127.0.0.1:")
    collector.stop()


def test_another_version_that_works_is_named(fake_otelcol, programs, tmp_path):
    """It may do; it is said which one it is, and which one is tested."""
    collector = Collector(programs, fake_otelcol(HEALTHY, version="0.170.1"), tmp_path)

    assert (
        f"otelcol-fake version 0.170.1 (tested is {TESTED}), {tmp_path / 'otelcol'}" == collector.description
    )


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (TESTED, ""),
        (f"v{TESTED}", ""),
        ("0.155.9", f" (older than {TESTED}, which is tested)"),
        ("0.9.0", f" (older than {TESTED}, which is tested)"),
        (f"{TESTED}.1-rc", f" (tested is {TESTED})"),
        ("1.0.0", f" (tested is {TESTED})"),
        ("latest", f" (tested is {TESTED})"),
    ],
)
def test_a_version_is_told_beside_the_tested_one(fake_otelcol, tmp_path, version, says):
    """Number by number; what has none may be anything."""
    assert f"otelcol-fake version {version}{says}, {tmp_path / 'otelcol'}" == described(
        fake_otelcol("", version=version)
    )


def test_a_collector_without_a_component_is_a_failure(fake_otelcol, programs, tmp_path):
    """Its own words, its version, and what to do."""
    with pytest.raises(Failure) as raised:
        Collector(programs, fake_otelcol(REFUSED, version="0.42.0"), tmp_path)

    assert [
        f"otelcol-fake version 0.42.0 (older than {TESTED}, which is tested), {tmp_path / 'otelcol'} does not start:",
        '  | unknown type: "file" for id: "file/traces"',
    ] == raised.value.message.splitlines()[:2]
    assert "--otelcol none" in raised.value.message


@pytest.mark.parametrize("program", ["print('hello')", "raise SystemExit(2)"])
def test_what_says_no_version_is_no_collector(fake, programs, tmp_path, program):
    """Some other program of that name."""
    with pytest.raises(Failure, match="is no Collector: it does not say its version"):
        Collector(programs, fake("otelcol", program), tmp_path)


def test_what_cannot_be_run_is_no_collector(programs, tmp_path):
    """A file of another platform, for example."""
    foreign = tmp_path / "otelcol"
    foreign.write_bytes(b"\0foreign")
    foreign.chmod(0o755)

    with pytest.raises(Failure, match="is no Collector"):
        Collector(programs, foreign, tmp_path)


def test_the_real_one_starts_and_stops(otelcol, programs, tmp_path):
    """With its configuration as we ship it; it is told nothing of the developer's own settings."""
    collector = Collector(programs, otelcol, tmp_path)
    collector.stop()

    assert 0 == collector._program.exit_code()
