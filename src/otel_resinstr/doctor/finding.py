# SPDX-License-Identifier: Apache-2.0
"""What a check finds, and what may be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Severity(Enum):
    """How bad it is."""

    ERROR = "error"
    """Telemetry is lost, or wrong."""
    WARNING = "warning"
    """Some of it is missing, or will be lost in a case that is usual."""
    NOTE = "note"
    """Good to know; there may be nothing to mend."""


ERROR, WARNING, NOTE = Severity


@dataclass(frozen=True)
class Kind:
    """A mistake that the doctor knows. In *what* and *remedy* stand the `{words}` that differ from case to case."""

    id: str
    severity: Severity
    what: str
    remedy: str
    link: str | None = None
    """Where it is explained."""

    def found(self, evidence: str = "", **words: object) -> Finding:
        """The mistake as it was found; *evidence* says by what."""
        return Finding(self, self.what.format_map(words), evidence, self.remedy.format_map(words))


@dataclass(frozen=True)
class Finding:
    """A mistake that was found."""

    kind: Kind
    what: str
    evidence: str
    remedy: str

    @property
    def to_mend(self) -> bool:
        """Whether there is something to do: a note needs nothing."""
        return self.kind.severity is not NOTE

    def without(self, hide: Callable[[str], str]) -> Finding:
        """The same, with secrets hidden."""
        return Finding(self.kind, hide(self.what), hide(self.evidence), hide(self.remedy))

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.kind.id,
            "severity": self.kind.severity.value,
            "what": self.what,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "link": self.kind.link,
        }
