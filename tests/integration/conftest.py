# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own, under the launcher, whose telemetry goes to a Collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from launched import LAUNCHER, Program, environment, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otelcol import Collector, RunCollector


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
