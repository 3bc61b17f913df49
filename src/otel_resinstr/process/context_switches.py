# SPDX-License-Identifier: Apache-2.0
"""Context switches: whether the process waits, or others are given the CPU in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import PROCESS_CONTEXT_SWITCH_TYPE, PROCESS_CONTEXT_SWITCHES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading


class ContextSwitches:
    """Voluntary switches, at which a thread had to wait, and involuntary ones, at which it could have gone on.

    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processcontext_switches

    Cost: one system call. Absent on Windows, which does not tell them apart.
    """

    name = "process.context_switches"

    def __init__(self, reading: ProcessReading) -> None:
        self._reading = reading

    def start(self, lease: Lease) -> None:
        """Observe the metric."""
        lease.observe(PROCESS_CONTEXT_SWITCHES, self._switches)

    def _switches(self) -> Iterable[Observation] | None:
        switches = self._reading.switches()
        if switches is None:
            return None
        return (
            Observation(switches.voluntary, {PROCESS_CONTEXT_SWITCH_TYPE: "voluntary"}),
            Observation(switches.involuntary, {PROCESS_CONTEXT_SWITCH_TYPE: "involuntary"}),
        )
