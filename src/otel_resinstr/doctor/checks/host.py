# SPDX-License-Identifier: Apache-2.0
"""What the machine and the container tell of themselves, and what not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr.doctor.finding import NOTE, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

NO_PRESSURE = Kind(
    "host.no-pressure",
    NOTE,
    "The kernel does not tell of pressure: resinstr.pressure.* is absent.",
    "Start the kernel with psi=1, if it is yours; in a sandbox (gVisor, App Service) there is none.",
    "https://docs.kernel.org/accounting/psi.html",
)
NO_CGROUP = Kind(
    "host.no-cgroup",
    NOTE,
    "The container's memory or CPU is not told: container.* is absent, and the machine's limits are taken for ours.",
    "Mount /sys/fs/cgroup into the container (the default), unless the process runs in none.",
)
UNREADABLE = Kind(
    "host.unreadable",
    NOTE,
    "Some of what the machine tells of itself cannot be read: what rests on it is absent.",
    "Let the command read /proc as the default is in containers; elsewhere than on Linux there is none.",
)


def check(context: Context) -> Iterator[Finding]:
    """Each place once that is missing, by what it is."""
    missing = [
        source for source in context.sources() if source.reason is not None and source.name != "swap space"
    ]
    by_kind: dict[Kind, list[str]] = {}
    for source in missing:
        if source.name.startswith("pressure"):
            kind = NO_PRESSURE
        elif "cgroup" in source.name or "container" in source.name:
            kind = NO_CGROUP
        else:
            kind = UNREADABLE
        by_kind.setdefault(kind, []).append(f"{source.name} ({source.place}): {source.reason}")
    for kind, evidence in by_kind.items():
        yield kind.found("; ".join(evidence))
