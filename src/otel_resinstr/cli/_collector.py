# SPDX-License-Identifier: Apache-2.0
"""A real Collector for the demo: finds one, starts it on free ports of loopback, and says what is wrong with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from otel_resinstr.cli._environment import neutral
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._files import shipped
from otel_resinstr.cli._programs import start_on_free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_resinstr.cli._programs import Program, Programs

TESTED = "0.156.0"
"""The version that `collector/` builds, and that its configuration is tested with."""

SINK = "none"
"""What --otelcol takes where the sink is to be used even if there is a Collector."""

READY_WITHIN = 20.0
_NAMES = ("otelcol-resinstr", "otelcol-contrib", "otelcol", "otelcol-k8s")
_REMEDY = (
    f"The demo is tested with version {TESTED}: `otelcol` or `otelcol-contrib`, or what `make collector` builds.\n"
    "Name another one with --otelcol PATH, or do without: with --otelcol none the demo receives OTLP itself."
)


def find(option: str | None, environment: Mapping[str, str], remedy: str = _REMEDY) -> Path | None:
    """The Collector that the user names, or the first one that is there; None if there is none, or `none` is named."""
    named = option or environment.get("OTELCOL_BIN")
    if named == SINK:
        return None
    if named:
        path = shutil.which(named, path=environment.get("PATH"))
        if path is None:
            source = "--otelcol" if option else "OTELCOL_BIN"
            raise Failure(f"{source}: there is no program {named}\n{remedy}")
        return Path(path).absolute()
    on_path = (shutil.which(name, path=environment.get("PATH")) for name in _NAMES)
    first = next(filter(None, on_path), None)
    return Path(first).absolute() if first else _built(environment)


def _built(environment: Mapping[str, str]) -> Path | None:
    """What `make collector` has built; the latest, if there are several."""
    root = environment.get("OTELCOL_BUILD_ROOT")
    builds = (Path(root) if root else shipped("collector/config").parent / "_build").glob(
        "*/otelcol-resinstr"
    )
    return max(builds, key=lambda build: build.stat().st_mtime, default=None)


class Collector:
    """A Collector that receives OTLP and keeps it as lines in *folder*."""

    def __init__(self, programs: Programs, otelcol: Path, folder: Path) -> None:
        """Start *otelcol* with ``local-debug.yaml`` and wait until it is ready."""
        self.description = described(otelcol)

        def start(ports: list[int]) -> Program:
            http, grpc, health, metrics = ports
            return programs.start(
                self.description,
                [otelcol, "--config", shipped("collector/config/local-debug.yaml")],
                folder / "collector.log",
                {
                    **neutral(os.environ),
                    "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
                    "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http}",
                    "OTELCOL_DEBUG_VERBOSITY": "basic",
                    "OTELCOL_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
                    "OTELCOL_METRICS_PORT": str(metrics),
                    "OTELCOL_OUT": str(folder),
                },
                folder,
            )

        self._program, [http, *_] = start_on_free_ports(4, start, _is_healthy, READY_WITHIN, _REMEDY)
        self.endpoint = f"http://127.0.0.1:{http}"

    def stop(self) -> None:
        """End it. All that it has received is in its files: they have no buffer."""
        self._program.stop()


def described(otelcol: Path, remedy: str = _REMEDY) -> str:
    """As it says itself, and where it is: ``otelcol-contrib version 0.159.0 (tested is 0.156.0), /usr/bin/...``.

    An older one than that may lack what the configurations need, so it says ``(older than 0.156.0, which is tested)``.
    """
    try:
        said = subprocess.run(  # noqa: S603  a program that the user has named, or installed under its name
            [otelcol, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
            env=neutral(os.environ),
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    version = said.partition("\n")[0].strip()
    if " version " not in version:
        raise Failure(f"{otelcol} is no Collector: it does not say its version\n{remedy}")
    return f"{version}{_beside_tested(version.rpartition(' ')[2])}, {otelcol}"


def _beside_tested(version: str) -> str:
    if version.removeprefix("v") == TESTED:
        return ""
    numbers, tested = ([int(part) for part in re.findall(r"\d+", text)[:3]] for text in (version, TESTED))
    older = numbers and numbers < tested
    return f" (older than {TESTED}, which is tested)" if older else f" (tested is {TESTED})"


def _is_healthy(ports: list[int]) -> bool:
    _, _, health, _ = ports
    return is_healthy(f"127.0.0.1:{health}")


def is_healthy(endpoint: str) -> bool:
    """Whether a Collector whose health check is at *endpoint* (host:port) is ready."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{endpoint}", timeout=1):
            return True
    except OSError:  # refused, or 503: not yet
        return False
