# SPDX-License-Identifier: Apache-2.0
"""What the checks look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otel_resinstr.doctor.command import Command
    from otel_resinstr.doctor.launched import Export, Exporter, Report
    from otel_resinstr.host.reading import Source


@dataclass(frozen=True)
class Context:
    """All there is to know of a command, and two questions that are asked only if a check wants to know."""

    command: Command
    given: Mapping[str, str]
    """The environment that the doctor was started in."""
    report: Report | None
    """What the process in the command's place said; None if it said nothing."""
    last_words: str
    """The end of what it printed."""
    sources: Callable[[], Sequence[Source]]
    """What can be read of the machine and the container."""
    export: Callable[[], Sequence[Export]]
    """Has the process send an empty request with each exporter of OTLP."""
    arrived: set[Exporter] = field(default_factory=set)
    """The exporters whose export was taken, which a check learns on the way."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment as the command has it: with the launcher's options, and what a distro has set."""
        if self.report is None:
            return self.given
        return {**self.given, **self.report.environ}

    def setting(self, name: str) -> str | None:
        """A variable of the environment; an empty one is an unset one, as OpenTelemetry's specification has it."""
        return self.environ.get(name, "").strip() or None
