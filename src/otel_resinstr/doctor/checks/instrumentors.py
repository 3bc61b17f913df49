# SPDX-License-Identifier: Apache-2.0
"""Which of our instrumentors are at work, and why others are not."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from otel_resinstr.doctor.checks.launcher import GAVE_UP
from otel_resinstr.doctor.finding import ERROR, WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

VARIABLE = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"

DISABLED = Kind(
    "instrumentors.disabled",
    WARNING,
    f"{VARIABLE} turns off {{names}}.",
    f"Take {{items}} out of {VARIABLE}, unless it is meant.",
)
UNKNOWN = Kind(
    "instrumentors.unknown",
    WARNING,
    f"{VARIABLE}: {{name}} is the name of no instrumentor and has no effect.",
    "Did you mean {close}?",
)
SKIPPED = Kind(
    "instrumentors.skipped",
    ERROR,
    "The launcher did not start {names}.",
    "Mend what the launcher says of it; `opentelemetry-instrument` prints it at start.",
)
CONFLICT = Kind(
    "instrumentors.conflict",
    WARNING,
    "The instrumentation {name} was not started: the library that it is for is there in a version that it does not "
    "know.",
    "Install versions that go together, or turn it off: " + VARIABLE + "={name}",
)

# What a launcher says of a library that is there in another version; older ones say it in other words.
_CONFLICT = re.compile(
    r"(?:Skipping instrumentation )?(\w+)\b.*(?:falls? outside|but found: \"(?!None|\[\]))"
)


def check(context: Context) -> Iterator[Finding]:
    """What is turned off, on purpose or by a misspelt name, and what did not start."""
    if context.report is None:
        return
    instrumentors = context.report.named("instrumentor")
    ours = [name for name, entry in instrumentors.items() if entry.distribution == "otel-resinstr"]
    items = [item.strip() for item in (context.setting(VARIABLE) or "").split(",") if item.strip()]
    disabled = ours if "*" in items else [name for name in ours if name in items]
    if disabled:
        named = [item for item in items if item == "*" or item in ours]
        yield DISABLED.found("", names=_listed(disabled), items=_listed(named))
    for item in items:
        likely = _meant(item, ours)
        if item not in instrumentors and likely:
            yield UNKNOWN.found("", name=item, close=_listed(likely, "or"))
    skipped = [name for name in ours if name not in disabled and not instrumentors[name].instrumented]
    # Where the launcher gave up, that is a finding of its own, and the reason.
    gave_up = any(heard.message == GAVE_UP for heard in context.report.log)
    if skipped and context.report.launcher_imported and not gave_up:
        said = [heard for heard in context.report.log if any(name in heard.message for name in skipped)]
        evidence = dict.fromkeys(heard.error or heard.message for heard in said)
        yield SKIPPED.found("; ".join(evidence), names=_listed(skipped))
    for heard in context.report.log:
        conflict = _CONFLICT.match(heard.message)
        if conflict is not None and conflict[1] in instrumentors:
            yield CONFLICT.found(heard.message, name=conflict[1])


def _meant(item: str, ours: list[str]) -> list[str]:
    """Which of *ours* a name may stand for. Of others nothing can be said: they need not be installed."""
    name = item.lower().replace("-", "_")
    if name in ("resinstr", "otel_resinstr"):
        return ours
    return difflib.get_close_matches(f"resinstr_{name.removeprefix('resinstr_')}", ours, n=1, cutoff=0.8)


def _listed(names: list[str], word: str = "and") -> str:
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
