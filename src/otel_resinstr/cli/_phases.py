# SPDX-License-Identifier: Apache-2.0
"""The phases of the demo: the same application, each time in another way, in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_resinstr.cli._environment import neutral
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._files import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_resinstr.cli._mongodb import Connections, Server
    from otel_resinstr.cli._programs import Programs

PHASE = "demo.phase"
"""The resource attribute that tells the phases apart in what arrives."""

SAMPLE_EVERY = 0.25
GRACE = 30.0
"""Seconds that an application may need beyond its time: to start, and to hand over its last telemetry."""


@dataclass(frozen=True)
class Phase:
    """One way to write the application."""

    name: str
    """What the application takes as its argument."""
    title: str


HEALTHY = Phase("shared", "one shared client")
PHASES = (
    HEALTHY,
    Phase("closed", "a client per call, closed"),
    Phase("dropped", "a client per call, dropped"),
    Phase("kept", "a client per call, kept"),
    Phase("blocked", "a blocked event loop"),
)


@dataclass(frozen=True)
class Run:
    """How a phase went, as seen from outside of the application."""

    phase: Phase
    exit_code: int | None
    """None: it did not end in time."""
    last_words: str
    connections_peak: int | None
    """As the server sees them, beyond those that were there before; None if it does not say."""
    connections_accepted: int | None


def application() -> Path:
    """The unmodified application."""
    return shipped("examples/zero_code/app.py")


def launcher(beside: Path | None = None) -> Path:
    """`opentelemetry-instrument` of this environment, by default that of the interpreter."""
    path = (beside or Path(sys.executable).parent) / "opentelemetry-instrument"
    if not path.exists():
        raise Failure(f"there is no {path}\nInstall what the demo needs: pip install 'otel-resinstr[demo]'")
    return path


def run(  # noqa: PLR0913  what a phase needs
    phase: Phase,
    tell: Callable[[float], None],
    *,
    seconds: float,
    programs: Programs,
    server: Server,
    uri: str,
    endpoint: str,
    logs: Path,
) -> Run:
    """Run the application as *phase* says for *seconds*, and ask *server* meanwhile how many connections it sees.

    *tell* is told every now and then how many seconds have passed.
    """
    before = server.settled()
    application_ = programs.start(
        f"the application ({phase.name})",
        [launcher(), sys.executable, application(), phase.name, str(seconds)],
        logs / f"app-{phase.name}.log",
        _environment(phase, uri, endpoint),
        logs,
    )
    start = time.monotonic()
    seen: list[Connections] = []
    while application_.exit_code() is None and time.monotonic() - start < seconds + GRACE:
        time.sleep(SAMPLE_EVERY)
        if (now := server.connections()) is not None:
            seen.append(now)
        tell(time.monotonic() - start)
    exit_code = application_.exit_code()
    application_.stop()
    return Run(phase, exit_code, application_.last_words(), *beyond(before, seen))


def beyond(before: Connections | None, seen: Sequence[Connections]) -> tuple[int | None, int | None]:
    """How many connections there were at most, and how many the server accepted, not counting those *before*."""
    if before is None or not seen:
        return None, None
    peak, last = max(now.current for now in seen), seen[-1].accepted
    if before.accepted is None or last is None:
        return peak - before.current, None
    return peak - before.current, last - before.accepted


def _environment(phase: Phase, uri: str, endpoint: str) -> dict[str, str]:
    """All of it is OpenTelemetry's own; none is a setting of ours."""
    return {
        **neutral(os.environ),
        "MONGODB_URI": uri,  # not an argument: others can read those, and it may hold a password
        "OTEL_SERVICE_NAME": "zero-code-demo",
        "OTEL_RESOURCE_ATTRIBUTES": f"{PHASE}={phase.name}",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        # By default a minute, and 5 s: too long for a phase of some seconds.
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
        "OTEL_BLRP_SCHEDULE_DELAY": "1000",
    }
