# SPDX-License-Identifier: Apache-2.0
"""What is released, installed as a user does it: the wheel with its extras, in an environment that was empty."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launched import LAUNCHER, PROGRAMS, ROOT, settings, wait_for_names
from otel_resinstr import semconv

NO_NETWORK = ("error sending request", "dns error", "Failed to fetch", "Connection refused", "timed out")


@pytest.fixture(scope="module")
def uv():
    """Runs uv, and returns when it has succeeded."""
    program = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("NO UV: `make test` installs it")

    def uv(*arguments):
        # The user's own settings, such as which index to use, are needed here.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "COV"))}
        environ.pop("VIRTUAL_ENV", None)
        done = subprocess.run(
            [program, *arguments],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        if done.returncode and "CI" not in os.environ and any(sign in done.stderr for sign in NO_NETWORK):
            pytest.skip(
                f"NO NETWORK, or no index: uv {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}"
            )
        assert 0 == done.returncode, done.stderr

    return uv


@pytest.fixture(scope="module")
def wheel(uv, tmp_path_factory):
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.usefixtures("server")
def test_the_wheel_in_an_empty_environment_reports(uv, wheel, collector, server, start_program, tmp_path):
    """`pip install otel-resinstr[otlp,mongodb]`, then the application under the launcher: everything arrives."""
    venv = tmp_path / "venv"
    uv("venv", "--python", sys.executable, venv)
    python = venv / Path(sys.executable).parent.name / Path(sys.executable).name
    requirement = f"otel-resinstr[otlp,mongodb] @ {wheel.as_uri()}"
    uv("pip", "install", "--python", python, "--constraints", ROOT / "constraints.txt", requirement)

    program = start_program(
        python.with_name(LAUNCHER.name),
        python,
        PROGRAMS / "everything.py",
        MONGODB_URI=server.uri,
        **settings(collector, "grpc"),
    )
    wait_for_names(
        collector,
        program,
        {
            "metrics": {
                "process.memory.usage",
                "cpython.thread.count",
                "asyncio.eventloop.delay.max",
                "mongodb.client.created",
            },
            "spans": {span.name for span in semconv.SPANS},
            "events": {"mongodb.client.churn", "asyncio.eventloop.blocked"},
        },
    )

    assert 0 == program.finish()
