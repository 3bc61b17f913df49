# SPDX-License-Identifier: Apache-2.0
"""
A real Collector for tests: where its binary is, and how to run one on free loopback ports.

A plugin of pytest: its fixtures are there for all tests.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COLLECTOR = Path(__file__).parents[1] / "collector"
LOCAL_DEBUG = COLLECTOR / "config" / "local-debug.yaml"
ENDPOINTS = (
    "OTLP_GRPC_ENDPOINT",
    "OTLP_HTTP_ENDPOINT",
    "OTELCOL_HEALTH_ENDPOINT",
    "OTELCOL_ZPAGES_ENDPOINT",
    "PROMETHEUS_ENDPOINT",
)
# Far more than they need, for a machine that does ten other things.
READY_WITHIN = 60.0
STOPPED_WITHIN = 60.0
ANSWERED_WITHIN = 60.0


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NotReadyError(Exception):
    """The Collector ended, or was not ready in time; the message is its log."""


@dataclass(frozen=True)
class Collector:
    """A running Collector: its addresses (host:port), what it wrote, and how to stop it."""

    process: subprocess.Popen[bytes]
    grpc: str
    http: str
    health: str
    metrics: str
    prometheus: str
    out: Path
    stdout_file: Path
    log_file: Path

    def requests(self, signal: str) -> list[dict[str, Any]]:
        """The export requests kept for *signal* (traces, metrics or logs), oldest first."""
        file = self.out / f"{signal}.jsonl"
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        # What stands after the last line's end is a line that is being written.
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def stdout(self) -> str:
        """What the debug exporter printed so far."""
        return self.stdout_file.read_text()

    def log(self) -> str:
        """The Collector's own log so far."""
        return self.log_file.read_text()

    def send(self, signal: str, request: Mapping[str, Any]) -> int:
        """Send an export request of OTLP/JSON, and return the status of the answer."""
        return self.send_encoded(signal, json.dumps(request).encode(), "application/json")

    def send_encoded(self, signal: str, body: bytes, content_type: str) -> int:
        """Send *body* as it is, and return the status of the answer."""
        asked = urllib.request.Request(
            f"http://{self.http}/v1/{signal}", body, {"Content-Type": content_type}
        )
        try:
            with _DIRECT.open(asked, timeout=ANSWERED_WITHIN) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def counted(self) -> dict[str, float]:
        """What it counted of itself so far: `otelcol_receiver_accepted_spans` and so on, over all labels."""
        return _summed(f"http://{self.metrics}/metrics")

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        self.process.kill()
        self.process.wait(STOPPED_WITHIN)

    def stop(self) -> int:
        """Ask it to stop (SIGTERM) and return its exit code."""
        self.process.terminate()
        return self.process.wait(STOPPED_WITHIN)


RunCollector = Callable[..., AbstractContextManager[Collector]]


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """The Collector's binary: $OTELCOL_BIN, or what `make -C collector build` built."""
    named = os.environ.get("OTELCOL_BIN")
    binary = Path(named) if named else _built()
    if binary is not None and binary.is_file():
        return binary
    reason = f"NO COLLECTOR at {binary}: run `make -C collector build`, or set OTELCOL_BIN"
    if named or "CI" in os.environ:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def collector_environment(tmp_path: Path) -> dict[str, str]:
    """All a Collector gets as environment: free loopback ports and a folder of the test."""
    return _environment(tmp_path)


@pytest.fixture
def run_collector(otelcol: Path, tmp_path: Path) -> RunCollector:
    """Runs a Collector for the length of a `with` block: `run_collector(config, {"NAME": "value"})`."""

    def run(
        config: Path | Sequence[Path] = LOCAL_DEBUG, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Collector]:
        return running(otelcol, config, tmp_path, environment or {})

    return run


@contextmanager
def running(
    otelcol: Path, config: Path | Sequence[Path], folder: Path, environment: Mapping[str, str]
) -> Iterator[Collector]:
    """A Collector that runs for the length of a `with` block, with *folder* for what it writes."""
    collector = _started(otelcol, [config] if isinstance(config, Path) else config, folder, environment)
    try:
        yield collector
    finally:
        _ended(collector.process)


def _built() -> Path | None:
    # A surrounding make must not pass its flags on: with -n or -w the output would be another.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    try:
        made = subprocess.run(
            ["make", "-s", "--no-print-directory", "-C", str(COLLECTOR), "path"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(made.stdout.strip())


def _environment(folder: Path) -> dict[str, str]:
    # All ports are held until the last is known, so no two are the same.
    with ExitStack() as held:
        servers = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(len(ENDPOINTS) + 1)
        ]
        ports = [server.getsockname()[1] for server in servers]
    return {
        **{name: f"127.0.0.1:{port}" for name, port in zip(ENDPOINTS, ports, strict=False)},
        "GATEWAY_QUEUE": str(folder / "otel-queue"),
        "OTELCOL_METRICS_PORT": str(ports[-1]),
        "OTELCOL_OUT": str(folder / "otel-out"),
    }


def _started(otelcol: Path, config: Sequence[Path], folder: Path, overrides: Mapping[str, str]) -> Collector:
    # Between our look for free ports and their use another process may take one: then look again.
    for _ in range(3):
        collector = _launched(otelcol, config, folder, {**_environment(folder), **overrides})
        if _becomes_ready(collector):
            return collector
        _ended(collector.process)
        if "address already in use" not in collector.log():
            break
    raise NotReadyError(collector.log())


def _launched(
    otelcol: Path, config: Sequence[Path], folder: Path, environment: Mapping[str, str]
) -> Collector:
    stdout_file, log_file = folder / "collector.stdout", folder / "collector.log"
    with stdout_file.open("wb") as stdout, log_file.open("wb") as log:
        process = subprocess.Popen(
            [otelcol, *(f"--config={file}" for file in config)],
            env=environment,
            cwd=folder,
            stdout=stdout,
            stderr=log,
        )
    return Collector(
        process=process,
        grpc=environment["OTLP_GRPC_ENDPOINT"],
        http=environment["OTLP_HTTP_ENDPOINT"],
        health=environment["OTELCOL_HEALTH_ENDPOINT"],
        metrics=f"127.0.0.1:{environment['OTELCOL_METRICS_PORT']}",
        prometheus=environment["PROMETHEUS_ENDPOINT"],
        out=Path(environment["OTELCOL_OUT"]),
        stdout_file=stdout_file,
        log_file=log_file,
    )


def exposed(address: str) -> str:
    """What a Prometheus would scrape at *address*."""
    with _DIRECT.open(address, timeout=ANSWERED_WITHIN) as answer:
        return answer.read().decode()


def _summed(address: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in exposed(address).splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0].removesuffix("_total")
            found[name] = found.get(name, 0.0) + float(value)
    return found


def _becomes_ready(collector: Collector) -> bool:
    deadline = time.monotonic() + READY_WITHIN
    while collector.process.poll() is None and time.monotonic() < deadline:
        try:
            with _DIRECT.open(f"http://{collector.health}", timeout=1):
                return True
        except OSError:  # refused, or 503: not yet
            time.sleep(0.02)
    return False


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
