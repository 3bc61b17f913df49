# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own, under the launcher, whose telemetry goes to a Collector."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launched import LAUNCHER, ROOT, Program, environment, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelcol import Collector, RunCollector

NO_NETWORK = ("error sending request", "dns error", "Failed to fetch", "Connection refused", "timed out")


@pytest.fixture
def collector(run_collector: RunCollector) -> Iterator[Collector]:
    """A Collector with the configuration for debugging, which is what users get."""
    with run_collector() as collector:
        yield collector


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs; none of them is left after the test."""
    started: list[Program] = []

    def start(*command: Any, **environ: str) -> Program:
        folder = tmp_path / f"program{len(started)}"
        folder.mkdir()
        started.append(
            Program([str(part) for part in command], folder, environment(HOME=str(folder), **environ))
        )
        return started[-1]

    try:
        yield start
    finally:
        for program in started:
            program.kill()


@pytest.fixture
def instrumented(collector: Collector, start_program: Callable[..., Program]) -> Callable[..., Program]:
    """Start a program under the launcher of this environment; what it reports goes to the Collector."""

    def start(*command: Any, protocol: str = "http/protobuf", **environ: str) -> Program:
        return start_program(LAUNCHER, *command, **{**settings(collector, protocol), **environ})

    return start


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def wheel(uv, tmp_path_factory):
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel
