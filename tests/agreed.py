# SPDX-License-Identifier: Apache-2.0
"""The metrics that dashboards and queries may ask for: the package's, and those that it is going to have."""

from __future__ import annotations

from typing import NamedTuple

from otel_resinstr.semconv import METRICS, Kind


class Shape(NamedTuple):
    """What matters of a metric here."""

    kind: Kind
    unit: str
    attributes: tuple[str, ...] = ()


_POOL = ("thread_pool.name", "thread_pool.type")
_LOOP = ("asyncio.eventloop.thread",)
_GAUGE, _UP_DOWN, _COUNTER = (
    Kind.OBSERVABLE_GAUGE,
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    Kind.OBSERVABLE_COUNTER,
)
# Names that have been agreed on and that have a panel already; where the package has one, its own shape counts.
AGREED = {
    "cpython.gc.collections": Shape(_COUNTER, "{collection}", ("cpython.gc.generation",)),
    "cpython.gc.collected_objects": Shape(_COUNTER, "{object}", ("cpython.gc.generation",)),
    "cpython.gc.uncollectable_objects": Shape(_COUNTER, "{object}", ("cpython.gc.generation",)),
    "cpython.gc.pause.time": Shape(_COUNTER, "s", ("cpython.gc.generation",)),
    "cpython.gc.pause.max": Shape(_GAUGE, "s"),
    "cpython.memory.allocated_blocks": Shape(_UP_DOWN, "{block}"),
    "cpython.memory.traced": Shape(_GAUGE, "By"),
    "cpython.memory.traced.peak": Shape(_GAUGE, "By"),
    "cpython.gc.object.count": Shape(_UP_DOWN, "{object}"),
    "system.memory.usage": Shape(_UP_DOWN, "By", ("system.memory.state",)),
    "system.memory.utilization": Shape(_GAUGE, "1", ("system.memory.state",)),
    "system.memory.linux.available": Shape(_UP_DOWN, "By"),
    "system.paging.usage": Shape(_UP_DOWN, "By", ("system.paging.state",)),
    "system.paging.faults": Shape(_COUNTER, "{fault}", ("system.paging.fault.type",)),
    "system.paging.operations": Shape(
        _COUNTER, "{operation}", ("system.paging.direction", "system.paging.fault.type")
    ),
    "container.memory.usage": Shape(_UP_DOWN, "By"),
    "container.memory.available": Shape(_UP_DOWN, "By"),
    "container.memory.working_set": Shape(_UP_DOWN, "By"),
    "resinstr.container.memory.limit": Shape(_GAUGE, "By"),
    "resinstr.container.memory.events": Shape(_COUNTER, "{event}", ("resinstr.container.memory.event",)),
    "resinstr.container.cpu.throttled.time": Shape(_COUNTER, "s"),
    "resinstr.pressure.stall.time": Shape(
        _COUNTER,
        "s",
        ("resinstr.pressure.resource", "resinstr.pressure.kind", "resinstr.pressure.scope"),
    ),
    "asyncio.eventloop.utilization": Shape(_GAUGE, "1", _LOOP),
    "asyncio.eventloop.cpu.time": Shape(_COUNTER, "s", _LOOP),
    "asyncio.eventloop.task.count": Shape(_UP_DOWN, "{task}", _LOOP),
    "cpython.thread_pool.thread.count": Shape(_UP_DOWN, "{thread}", _POOL),
    "cpython.thread_pool.thread.limit": Shape(_GAUGE, "{thread}", _POOL),
    "cpython.thread_pool.thread.busy": Shape(_UP_DOWN, "{thread}", _POOL),
    "cpython.thread_pool.queue.length": Shape(_UP_DOWN, "{work_item}", _POOL),
    "cpython.thread_pool.work_item.count": Shape(_COUNTER, "{work_item}", _POOL),
    "cpython.thread_pool.work_item.wait.time": Shape(_COUNTER, "s", _POOL),
    "cpython.thread_pool.work_item.wait.p50": Shape(_GAUGE, "s", _POOL),
    "cpython.thread_pool.work_item.wait.p99": Shape(_GAUGE, "s", _POOL),
    "cpython.thread_pool.work_item.wait.max": Shape(_GAUGE, "s", _POOL),
    "db.client.operation.duration": Shape(
        Kind.HISTOGRAM, "s", ("db.operation.name", "db.namespace", "db.collection.name", "error.type")
    ),
    "mongodb.client.server_selection.failures": Shape(_COUNTER, "{failure}", ("error.type",)),
    "mongodb.server.heartbeat.duration": Shape(Kind.HISTOGRAM, "s", ("server.address", "error.type")),
    "mongodb.server.connection.count": Shape(_GAUGE, "{connection}", ("mongodb.server.connection.state",)),
    "mongodb.server.connection.created": Shape(_COUNTER, "{connection}"),
}
OURS = {**AGREED, **{metric.name: Shape(metric.kind, metric.unit, metric.attributes) for metric in METRICS}}
