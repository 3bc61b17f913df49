# SPDX-License-Identifier: Apache-2.0
"""What is released, installed as a user does it: the wheel with its extras, in an environment that was empty."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launched import LAUNCHER, PROGRAMS, ROOT, settings, wait_for_names
from otel_resinstr import semconv


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
