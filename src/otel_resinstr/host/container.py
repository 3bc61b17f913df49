# SPDX-License-Identifier: Apache-2.0
"""The container around the process: how much memory it may have, and how often it came up against that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._increases import Increases
from otel_resinstr.semconv import (
    CONTAINER_MEMORY_AVAILABLE,
    CONTAINER_MEMORY_USAGE,
    CONTAINER_MEMORY_WORKING_SET,
    RESINSTR_CONTAINER_CPU_THROTTLED_TIME,
    RESINSTR_CONTAINER_MEMORY_EVENT,
    RESINSTR_CONTAINER_MEMORY_EVENTS,
    RESINSTR_CONTAINER_MEMORY_LIMIT,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.host.reading import HostReading


class Container:
    """Memory of the cgroup whose limit binds the process (its own, if there is no limit), its events, its throttling.

    The working set is the usage without page cache that has not been used of late; available is the limit without the
    working set. The events are those of ``memory.events``: ``high`` and ``max`` came up against a limit, ``oom`` found
    nothing to give back, ``oom_kill`` killed a process, which may be a worker that nobody misses. Version 1 of cgroups
    has ``max`` (its ``failcnt``) and ``oom_kill`` only. Events and throttled time count since the probe began; where
    another limit comes to bind, they go on with what happens there from then on.
    https://opentelemetry.io/docs/specs/semconv/system/container-metrics/ and
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files

    Cost: four short files, 40 µs, and every ten seconds the limits of the ancestors. Outside of a container, in the
    root of the cgroups, and on other systems than Linux there are no points; without a limit there is neither a limit
    nor anything available.
    """

    name = "host.container"

    def __init__(self, reading: HostReading) -> None:
        self._reading = reading
        self._event_counts: Increases[str] = Increases()
        self._throttled_time: Increases[str] = Increases()

    def start(self, lease: Lease) -> None:
        """Observe the six metrics; a forked child counts from 0."""
        self._begin()
        lease.after_fork(self._begin)
        lease.observe(CONTAINER_MEMORY_USAGE, self._usage)
        lease.observe(CONTAINER_MEMORY_AVAILABLE, self._available)
        lease.observe(CONTAINER_MEMORY_WORKING_SET, self._working_set)
        lease.observe(RESINSTR_CONTAINER_MEMORY_LIMIT, self._limit)
        lease.observe(RESINSTR_CONTAINER_MEMORY_EVENTS, self._events)
        lease.observe(RESINSTR_CONTAINER_CPU_THROTTLED_TIME, self._throttled)

    def _begin(self) -> None:
        events, throttled = self._reading.memory_events(), self._reading.throttled()
        self._event_counts.restart(events.counts, events.where)
        self._throttled_time.restart(throttled.counts, throttled.where)

    def _usage(self) -> int | None:
        container = self._reading.container()
        return None if container is None else container.usage

    def _working_set(self) -> int | None:
        container = self._reading.container()
        return None if container is None else container.working_set

    def _limit(self) -> int | None:
        container = self._reading.container()
        return None if container is None else container.limit

    def _available(self) -> int | None:
        container = self._reading.container()
        if container is None or container.limit is None or container.working_set is None:
            return None
        return max(0, container.limit - container.working_set)

    def _events(self) -> Iterable[Observation]:
        events = self._reading.memory_events()
        return [
            Observation(count, {RESINSTR_CONTAINER_MEMORY_EVENT: event})
            for event, count in self._event_counts.of(events.counts, events.where).items()
        ]

    def _throttled(self) -> float | None:
        throttled = self._reading.throttled()
        return self._throttled_time.of(throttled.counts, throttled.where).get("throttled")
