# SPDX-License-Identifier: Apache-2.0
"""
A real Prometheus, and promtool.

A plugin of pytest: its fixture is there for all tests.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mongo import eventually

ROOT = Path(__file__).parents[1]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="session")
def prometheus_programs() -> Path:
    """The folder of prometheus and promtool."""
    done = subprocess.run(
        ["sh", ROOT / "tools" / "prometheus.sh", "unpack" if "CI" in os.environ else "find"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode == 0:
        return Path(done.stdout.strip())
    if "CI" in os.environ:
        pytest.fail(done.stderr, pytrace=False)
    pytest.skip(f"NO PROMETHEUS: {done.stderr}")


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now: `metric` and `value`."""
        asked = urllib.parse.urlencode({"query": expression})
        try:
            with _DIRECT.open(f"{self._address}/api/v1/query?{asked}", timeout=30) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with _DIRECT.open(f"{self._address}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def running(programs: Path, config: Path, folder: Path, replaced: Mapping[str, str]) -> Iterator[Prometheus]:
    """One with *config* and the rules beside it, in which some text, such as addresses, is *replaced*."""
    text = config.read_text()
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    used = folder / "prometheus.yaml"
    used.write_text(text)
    for rules in config.parent.glob("*.yaml"):
        if rules != config:
            (folder / rules.name).write_text(rules.read_text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                programs / "prometheus",
                f"--config.file={used}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: process.poll() is not None or prometheus.is_ready(), 60)
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)
