# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own, that are stopped whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from mongo import eventually
from received import shapes

if TYPE_CHECKING:
    from otelcol import Collector

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PROGRAMS = ROOT / "tests" / "integration" / "programs"
LAUNCHER = Path(sys.executable).with_name("opentelemetry-instrument")
INTERVAL = 0.5  # seconds between two collections
PATIENCE = 120.0  # seconds in which a program ends, on a machine that is busy

# What is left of the environment: no settings, no path to our sources, no tracing of lines, no proxy.
KEPT = ("LANG", "LC_ALL", "PATH", "SYSTEMROOT", "TMPDIR")

SETTINGS = {
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_METRIC_EXPORT_INTERVAL": str(int(INTERVAL * 1000)),
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process",
    # Not compared here, and slow to load.
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo,system_metrics",
    "OTEL_RESINSTR_CPU_WINDOW": "0.2",
    "OTEL_RESINSTR_MONGODB_CHURN_WINDOW": "10",  # half a second counts as more than a moment
    "OTEL_RESINSTR_MONGODB_SERVER_INTERVAL": "0.5",
}


def environment(**more: str) -> dict[str, str]:
    """What a program gets."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def settings(collector: Collector, protocol: str) -> dict[str, str]:
    """The launcher's settings for *collector*."""
    endpoint = collector.grpc if protocol == "grpc" else collector.http
    return {
        **SETTINGS,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}",
    }


class Program:
    """A program that runs, with the processes that it has started."""

    def __init__(self, command: list[Any], folder: Path, environ: dict[str, str]) -> None:
        self.out, self.err = folder / "program.stdout", folder / "program.stderr"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=environ, cwd=folder
            )
        self._tree: dict[int, psutil.Process] = {}

    def children(self) -> list[psutil.Process]:
        """The processes that it has started, and those that they have."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children(recursive=True)
            self._tree.update((child.pid, child) for child in found)
        return [child for child in self._tree.values() if child.is_running()]

    def says(self) -> str:
        """What it has printed so far, for people."""
        assert self.process.poll() in (None, 0), self.err.read_text()
        return self.out.read_text()

    def finish(self) -> int:
        """End its standard input, and return its exit code."""
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        self.children()
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it, and everything that it has started, whatever they do."""
        left = self.children()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(left, timeout=10)
        self.process.stdin.close()


def wait_for_names(collector: Collector, program: Program, wanted: dict[str, set[str]]) -> None:
    """Until all names have arrived that are *wanted* of each signal, or what is missing is said."""

    def missing() -> dict[str, set[str]]:
        found = shapes(collector)
        return {
            signal: names - {*found[signal]} for signal, names in wanted.items() if names - {*found[signal]}
        }

    with contextlib.suppress(AssertionError):
        eventually(lambda: program.process.poll() is not None or not missing(), seconds=20)
    if missing() or program.process.poll() is not None:
        said = program.err.read_text()
        raise AssertionError(f"missing: {missing()}; ended: {program.process.poll()}; it said: {said}")


def answer(port):
    """Which process answers; None where none does."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    try:
        connection.request("GET", "/")
        return int(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
