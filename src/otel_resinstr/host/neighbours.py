# SPDX-License-Identifier: Apache-2.0
"""Whose the machine's memory is: this process's, the rest of its container's, or others'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import RESINSTR_MEMORY_OWNER, RESINSTR_MEMORY_USAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.host.reading import HostReading


class Neighbours:
    """The memory in use on the machine, in bytes, by whose it is.

    ``process`` is what this process has resident, ``container`` the working set of its cgroup beyond that, ``others``
    the rest: the kernel, other containers, a second slot of the same application on one plan. In use is what is not
    available, so that page cache is nobody's. The three overlap where processes share memory: right to some percent.

    Cost: two files, 20 µs, beyond those that the container's metrics are made from. ``container`` is absent where
    there is none, ``others`` where the machine, or the container, does not tell.
    """

    name = "host.neighbours"

    def __init__(self, reading: HostReading) -> None:
        self._reading = reading

    def start(self, lease: Lease) -> None:
        """Observe the metric."""
        lease.observe(RESINSTR_MEMORY_USAGE, self._by_owner)

    def _by_owner(self) -> Iterable[Observation]:
        return [
            Observation(size, {RESINSTR_MEMORY_OWNER: owner}) for owner, size in owners(self._reading).items()
        ]


def owners(reading: HostReading) -> dict[str, int]:
    """How many bytes are whose: of ``process``, ``container`` and ``others`` what is known."""
    own, container, machine = reading.own(), reading.container(), reading.memory()
    if own is None:
        return {}
    shares = {"process": own}
    ours: int | None = own
    if container is not None:
        ours = container.working_set
        if ours is not None:
            shares["container"] = max(0, ours - own)
    if ours is not None and machine is not None and machine.available is not None:
        shares["others"] = max(0, machine.total - machine.available - max(own, ours))
    return shares
