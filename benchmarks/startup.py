# SPDX-License-Identifier: Apache-2.0
"""`import otel_resinstr; otel_resinstr.instrument()` in a fresh interpreter that has imported psutil already."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import pairwise
from typing import Any

from benchmarks.measuring import Report, Row, environ, interleaved

ROUNDS = 25

# In stages, which prints the seconds of each. What is imported in the first one is what any package has to import
# that has an instrumentor; under `opentelemetry-instrument` it is there before any of them is loaded.
OURS = """
import psutil
from json import dumps
from time import perf_counter
times = [perf_counter()]
import opentelemetry._logs, opentelemetry.metrics, opentelemetry.trace
import opentelemetry.instrumentation.instrumentor, opentelemetry.instrumentation.utils
times.append(perf_counter())
import otel_resinstr
times.append(perf_counter())
otel_resinstr.instrument()
times.append(perf_counter())
print(dumps(times))
"""

CONTRIB = """
import psutil
from json import dumps
from time import perf_counter
times = [perf_counter()]
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
SystemMetricsInstrumentor().instrument()
times.append(perf_counter())
print(dumps(times))
"""


class Interpreter:
    """Fresh interpreters that find their modules compiled."""

    def __init__(self, compiled: str) -> None:
        self._environ = environ(PYTHONPYCACHEPREFIX=compiled)
        self.stages: list[list[float]] = []

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        return subprocess.run(
            [sys.executable, *arguments], env=self._environ, capture_output=True, text=True, check=True
        )

    def times(self, code: str) -> list[float]:
        """The seconds of each stage of *code*."""
        times = json.loads(self.start("-c", code).stdout)
        return [end - begin for begin, end in pairwise(times)]

    def ours(self) -> float:
        """All stages of ours; each is kept."""
        self.stages.append(self.times(OURS))
        return sum(self.stages[-1])

    def contrib(self) -> float:
        """The one stage of contrib's."""
        return sum(self.times(CONTRIB))

    def imports(self) -> Counter[str]:
        """Seconds by package for the modules that are imported after psutil, each without those that it imports."""
        log = self.start("-X", "importtime", "-c", "import psutil; import otel_resinstr").stderr
        seconds: Counter[str] = Counter()
        for line in log.partition(" psutil\n")[2].splitlines():
            own, _, name = line.removeprefix("import time:").split("|")
            package = name.strip().partition(".")[0]
            seconds["stdlib" if package in sys.stdlib_module_names else package] += int(own) / 1e6
        return seconds


def run() -> Report:
    """Measure, and say what came out."""
    with tempfile.TemporaryDirectory() as compiled:
        python = Interpreter(compiled)
        totals = interleaved({"ours": python.ours, "contrib": python.contrib}, ROUNDS)
        imports = python.imports()
    opentelemetry, package, instrument = map(list, zip(*python.stages[1:], strict=True))
    own: list[Any] = [sum(stage) for stage in zip(package, instrument, strict=True)]
    return Report(
        "startup: import and instrument(), psutil imported already",
        [
            Row("ours, only psutil imported", totals["ours"], "ms", at_most=0.08),
            Row("  of it OpenTelemetry's own packages", opentelemetry, "ms"),
            Row("  of it our package", package, "ms"),
            Row("  of it instrument()", instrument, "ms"),
            Row("ours, OpenTelemetry's imported too", own, "ms", at_most=0.08),
            Row("contrib system_metrics, only psutil imported", totals["contrib"], "ms"),
        ],
        note="Imports, each module by itself, in ms: "
        + ", ".join(f"{package} {1000 * seconds:.0f}" for package, seconds in imports.most_common(8)),
    )
