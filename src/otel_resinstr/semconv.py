# SPDX-License-Identifier: Apache-2.0
"""Every metric, attribute, span and event that the package emits: name, unit, description, origin.

The names of OpenTelemetry's semantic conventions that are not stable yet are copied here, as instrumentations are
asked to do (https://opentelemetry.io/docs/specs/semconv/non-normative/code-generation/#stability-and-versioning);
`tests/test_semconv.py` holds the copies to the installed conventions. Names that no convention has carry the
precedent that they follow. Nothing here imports anything else of the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SCOPE = "otel_resinstr"
"""The name of the instrumentation scope, and of the logger."""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions that the names below are taken from."""


class Kind(Enum):
    """The instrument that a metric is made with."""

    HISTOGRAM = "Histogram"
    OBSERVABLE_COUNTER = "ObservableCounter"
    OBSERVABLE_GAUGE = "ObservableGauge"
    OBSERVABLE_UP_DOWN_COUNTER = "ObservableUpDownCounter"


class Origin(Enum):
    """Where a name comes from: how stable it is in the conventions, or ours where they have none."""

    STABLE = "stable"
    RELEASE_CANDIDATE = "release candidate"
    DEVELOPMENT = "development"
    OURS = "ours"


@dataclass(frozen=True)
class Metric:
    """A metric: what an instrument is made from, and a row of the README's table."""

    probe: str
    name: str
    kind: Kind
    unit: str
    description: str
    origin: Origin
    attributes: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    """Attributes that only some of the points have."""
    precedent: str = ""
    boundaries: tuple[float, ...] = ()


@dataclass(frozen=True)
class Event:
    """An event: one line in the application's log, one record in OTLP."""

    probe: str
    name: str
    description: str


@dataclass(frozen=True)
class Span:
    """A span that the package makes by itself."""

    probe: str
    name: str
    description: str


# Attributes of the conventions
CODE_FILE_PATH = "code.file.path"
CODE_FUNCTION_NAME = "code.function.name"
CODE_LINE_NUMBER = "code.line.number"
CODE_STACKTRACE = "code.stacktrace"
CPU_MODE = "cpu.mode"
CPYTHON_GC_GENERATION = "cpython.gc.generation"
DB_CLIENT_CONNECTION_POOL_NAME = "db.client.connection.pool.name"
DB_CLIENT_CONNECTION_STATE = "db.client.connection.state"
DB_COLLECTION_NAME = "db.collection.name"
DB_NAMESPACE = "db.namespace"
DB_OPERATION_BATCH_SIZE = "db.operation.batch.size"
DB_OPERATION_NAME = "db.operation.name"
DB_QUERY_TEXT = "db.query.text"
DB_RESPONSE_STATUS_CODE = "db.response.status_code"
DB_SYSTEM_NAME = "db.system.name"
DEPLOYMENT_ENVIRONMENT = "deployment.environment"  # as it was; the detector for App Service has it
DEPLOYMENT_ENVIRONMENT_NAME = "deployment.environment.name"
DISK_IO_DIRECTION = "disk.io.direction"
ERROR_TYPE = "error.type"
NETWORK_CONNECTION_STATE = "network.connection.state"
NETWORK_PEER_ADDRESS = "network.peer.address"
NETWORK_PEER_PORT = "network.peer.port"
NETWORK_TRANSPORT = "network.transport"
PROCESS_CONTEXT_SWITCH_TYPE = "process.context_switch.type"
PROCESS_PID = "process.pid"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
SYSTEM_MEMORY_STATE = "system.memory.state"
SYSTEM_PAGING_DIRECTION = "system.paging.direction"
SYSTEM_PAGING_FAULT_TYPE = "system.paging.fault.type"
SYSTEM_PAGING_STATE = "system.paging.state"
THREAD_NAME = "thread.name"

# Attributes of the conventions as they were, for back ends that do not know the new names
DB_MONGODB_COLLECTION = "db.mongodb.collection"
DB_NAME = "db.name"
DB_OPERATION = "db.operation"
DB_STATEMENT = "db.statement"
DB_SYSTEM = "db.system"
NET_PEER_NAME = "net.peer.name"
NET_PEER_PORT = "net.peer.port"

# The attribute by which Azure Monitor's exporter makes a custom event of a log record
MICROSOFT_CUSTOM_EVENT_NAME = "microsoft.custom_event.name"

# Attributes of ours
ASYNCIO_EVENTLOOP_BLOCKED_CAUSE = "asyncio.eventloop.blocked.cause"
ASYNCIO_EVENTLOOP_BLOCKED_DURATION = "asyncio.eventloop.blocked.duration"
ASYNCIO_EVENTLOOP_BLOCKED_STATE = "asyncio.eventloop.blocked.state"
ASYNCIO_EVENTLOOP_THREAD = "asyncio.eventloop.thread"
ASYNCIO_TASK_NAME = "asyncio.task.name"
CPYTHON_HEAP_GROWTH_BYTES = "cpython.heap.growth.bytes"
CPYTHON_HEAP_GROWTH_DURATION = "cpython.heap.growth.duration"
CPYTHON_HEAP_GROWTH_LINES = "cpython.heap.growth.lines"
CPYTHON_THREAD_GROUP = "cpython.thread.group"
CPYTHON_THREAD_POOL_SATURATED_BUSY = "cpython.thread_pool.saturated.busy"
CPYTHON_THREAD_POOL_SATURATED_DURATION = "cpython.thread_pool.saturated.duration"
CPYTHON_THREAD_POOL_SATURATED_LIMIT = "cpython.thread_pool.saturated.limit"
CPYTHON_THREAD_POOL_SATURATED_LONGEST = "cpython.thread_pool.saturated.longest"
CPYTHON_THREAD_POOL_SATURATED_QUEUED = "cpython.thread_pool.saturated.queued"
CPYTHON_THREAD_POOL_SATURATED_SITES = "cpython.thread_pool.saturated.sites"
CPYTHON_THREAD_POOL_SATURATED_STATE = "cpython.thread_pool.saturated.state"
CPYTHON_THREAD_POOL_SATURATED_THREADS = "cpython.thread_pool.saturated.threads"
MONGODB_CLIENT_CHURN_CLOSED = "mongodb.client.churn.closed"
MONGODB_CLIENT_CHURN_CREATED = "mongodb.client.churn.created"
MONGODB_CLIENT_CHURN_DROPPED = "mongodb.client.churn.dropped"
MONGODB_CLIENT_CHURN_DURATION = "mongodb.client.churn.duration"
MONGODB_CLIENT_CHURN_SOCKETS = "mongodb.client.churn.sockets"
MONGODB_CLIENT_CHURN_THREADS = "mongodb.client.churn.threads"
MONGODB_CLIENT_CLOSE_REASON = "mongodb.client.close.reason"
MONGODB_CLIENT_COMMANDS = "mongodb.client.commands"
MONGODB_CLIENT_CONNECTIONS = "mongodb.client.connections"
MONGODB_CLIENT_LEAK_ACTIVE = "mongodb.client.leak.active"
MONGODB_CLIENT_LEAK_BEFORE = "mongodb.client.leak.before"
MONGODB_CLIENT_LEAK_DURATION = "mongodb.client.leak.duration"
MONGODB_CLIENT_LEAK_SOCKETS = "mongodb.client.leak.sockets"
MONGODB_CLIENT_LEAK_THREADS = "mongodb.client.leak.threads"
MONGODB_CLIENT_SITE = "mongodb.client.site"
MONGODB_CLIENT_SITE_ACTIVE = "mongodb.client.site.active_instance.count"
MONGODB_CLIENT_SOCKET_TYPE = "mongodb.client.socket.type"
MONGODB_CLIENT_TYPE = "mongodb.client.type"
MONGODB_CONNECTION_CHECK_OUTS = "mongodb.connection.check_outs"
MONGODB_CONNECTION_CLOSE_REASON = "mongodb.connection.close.reason"
MONGODB_CONNECTION_USE_TIME = "mongodb.connection.use_time"
MONGODB_POOL_MAX = "mongodb.pool.max"
MONGODB_POOL_PENDING = "mongodb.pool.pending"
MONGODB_POOL_TIMEOUTS = "mongodb.pool.timeouts"
MONGODB_POOL_USED = "mongodb.pool.used"
MONGODB_POOL_WAIT_P99 = "mongodb.pool.wait.p99"
MONGODB_POOL_WAIT_TIME = "mongodb.pool.wait_time"
MONGODB_SERVER_CONNECTION_STATE = "mongodb.server.connection.state"
RESINSTR_CONNECTION_REMOTE = "resinstr.connection.remote"
RESINSTR_CONNECTION_REMOTE_PORT = "resinstr.connection.remote_port"
RESINSTR_CONTAINER_MEMORY_EVENT = "resinstr.container.memory.event"
RESINSTR_EVENT_MESSAGE = "resinstr.event.message"
RESINSTR_EVENT_REPEATED = "resinstr.event.repeated"
RESINSTR_MEMORY_OWNER = "resinstr.memory.owner"
RESINSTR_MEMORY_PRESSURE_CONTAINER = "resinstr.memory.pressure.container"
RESINSTR_MEMORY_PRESSURE_LIMIT = "resinstr.memory.pressure.limit"
RESINSTR_MEMORY_PRESSURE_MAJOR_FAULTS = "resinstr.memory.pressure.major_faults"
RESINSTR_MEMORY_PRESSURE_OOM_KILLS = "resinstr.memory.pressure.oom_kills"
RESINSTR_MEMORY_PRESSURE_OTHERS = "resinstr.memory.pressure.others"
RESINSTR_MEMORY_PRESSURE_PROCESS = "resinstr.memory.pressure.process"
RESINSTR_MEMORY_PRESSURE_SCOPE = "resinstr.memory.pressure.scope"
RESINSTR_MEMORY_PRESSURE_STALL = "resinstr.memory.pressure.stall"
RESINSTR_MEMORY_PRESSURE_USAGE = "resinstr.memory.pressure.usage"
RESINSTR_PRESSURE_KIND = "resinstr.pressure.kind"
RESINSTR_PRESSURE_RESOURCE = "resinstr.pressure.resource"
RESINSTR_PRESSURE_SCOPE = "resinstr.pressure.scope"
RESINSTR_PROBE = "resinstr.probe"
RESINSTR_SNAT_PORT_AGE = "resinstr.snat.port.age"
RESINSTR_SPAN_NAME = "resinstr.span.name"
THREAD_POOL_NAME = "thread_pool.name"
THREAD_POOL_TYPE = "thread_pool.type"

# process: what the operating system says of this process

PROCESS_CPU_TIME = Metric(
    probe="process.cpu",
    name="process.cpu.time",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="s",
    description="Total CPU seconds broken down by different CPU modes.",
    origin=Origin.RELEASE_CANDIDATE,
    attributes=(CPU_MODE,),
)
PROCESS_CPU_UTILIZATION = Metric(
    probe="process.cpu",
    name="process.cpu.utilization",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="1",
    description="Share of the CPUs that the process may use (affinity and cgroup quota), over the last window.",
    origin=Origin.RELEASE_CANDIDATE,
    attributes=(CPU_MODE,),
)
PROCESS_MEMORY_USAGE = Metric(
    probe="process.memory",
    name="process.memory.usage",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="The amount of physical memory in use.",
    origin=Origin.RELEASE_CANDIDATE,
)
PROCESS_MEMORY_VIRTUAL = Metric(
    probe="process.memory",
    name="process.memory.virtual",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="The amount of committed virtual memory.",
    origin=Origin.RELEASE_CANDIDATE,
)
PROCESS_MEMORY_UTILIZATION = Metric(
    probe="process.memory",
    name="process.memory.utilization",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="1",
    description="Physical memory in use, as a share of the smallest limit that binds the process.",
    origin=Origin.DEVELOPMENT,
)
RESINSTR_PROCESS_MEMORY_PEAK = Metric(
    probe="process.memory",
    name="resinstr.process.memory.peak",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="By",
    description="The most physical memory that the process has ever had in use.",
    origin=Origin.OURS,
    precedent="VmHWM of /proc/PID/status, ru_maxrss of getrusage",
)
PROCESS_PAGING_FAULTS = Metric(
    probe="process.faults",
    name="process.paging.faults",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{fault}",
    description="Number of page faults the process has made.",
    origin=Origin.RELEASE_CANDIDATE,
    attributes=(SYSTEM_PAGING_FAULT_TYPE,),
)
PROCESS_THREAD_COUNT = Metric(
    probe="process.threads",
    name="process.thread.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{thread}",
    description="Process threads count.",
    origin=Origin.RELEASE_CANDIDATE,
)
PROCESS_UNIX_FILE_DESCRIPTOR_COUNT = Metric(
    probe="process.file_descriptors",
    name="process.unix.file_descriptor.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{file_descriptor}",
    description="Number of unix file descriptors in use by the process.",
    origin=Origin.RELEASE_CANDIDATE,
)
PROCESS_WINDOWS_HANDLE_COUNT = Metric(
    probe="process.file_descriptors",
    name="process.windows.handle.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{handle}",
    description="Number of handles held by the process.",
    origin=Origin.RELEASE_CANDIDATE,
)
RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT = Metric(
    probe="process.file_descriptors",
    name="resinstr.process.file_descriptor.limit",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{file_descriptor}",
    description="How many file descriptors the process may have open (the soft limit).",
    origin=Origin.OURS,
    precedent="jvm.file_descriptor.limit",
)
PROCESS_CONTEXT_SWITCHES = Metric(
    probe="process.context_switches",
    name="process.context_switches",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{context_switch}",
    description="Number of times the process has been context switched.",
    origin=Origin.RELEASE_CANDIDATE,
    attributes=(PROCESS_CONTEXT_SWITCH_TYPE,),
)
PROCESS_DISK_IO = Metric(
    probe="process.disk_io",
    name="process.disk.io",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="By",
    description="Disk bytes transferred.",
    origin=Origin.RELEASE_CANDIDATE,
    attributes=(DISK_IO_DIRECTION,),
)
PROCESS_UPTIME = Metric(
    probe="process.uptime",
    name="process.uptime",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="s",
    description="The time the process has been running.",
    origin=Origin.RELEASE_CANDIDATE,
)

RESINSTR_PROCESS_MEMORY_USAGE_MAX = Metric(
    probe="process.peaks",
    name="resinstr.process.memory.usage.max",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="By",
    description="The most physical memory in use within the last window, looked at once a second.",
    origin=Origin.OURS,
    precedent="process.memory.usage",
)
RESINSTR_PROCESS_THREAD_COUNT_MAX = Metric(
    probe="process.peaks",
    name="resinstr.process.thread.count.max",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{thread}",
    description="The most threads within the last window, looked at once a second.",
    origin=Origin.OURS,
    precedent="process.thread.count",
)
RESINSTR_PROCESS_CONNECTION_COUNT = Metric(
    probe="process.sockets",
    name="resinstr.process.connection.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    description="TCP connections of the process. Off unless asked for.",
    origin=Origin.OURS,
    attributes=(RESINSTR_CONNECTION_REMOTE_PORT, NETWORK_CONNECTION_STATE),
    precedent="system.network.connection.count",
)
RESINSTR_SNAT_PORT_USAGE = Metric(
    probe="process.sockets",
    name="resinstr.snat.port.usage",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{port}",
    description="Outbound ports that connections to a public address take or took within 240 s. Off unless asked for.",
    origin=Origin.OURS,
    attributes=(RESINSTR_CONNECTION_REMOTE, RESINSTR_SNAT_PORT_AGE),
    precedent="SNAT Connection Count of Azure's load balancers",
)
RESINSTR_SNAT_PORT_LIMIT = Metric(
    probe="process.sockets",
    name="resinstr.snat.port.limit",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{port}",
    description="Outbound ports that there are for one remote end. Off unless asked for.",
    origin=Origin.OURS,
    precedent="Allocated SNAT Ports of Azure's load balancers",
)

# runtime: what CPython says of itself

CPYTHON_GC_COLLECTIONS = Metric(
    probe="runtime.gc",
    name="cpython.gc.collections",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{collection}",
    description="The number of times a generation was collected since interpreter start.",
    origin=Origin.DEVELOPMENT,
    attributes=(CPYTHON_GC_GENERATION,),
)
CPYTHON_GC_COLLECTED_OBJECTS = Metric(
    probe="runtime.gc",
    name="cpython.gc.collected_objects",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{object}",
    description="The total number of objects collected inside a generation since interpreter start.",
    origin=Origin.DEVELOPMENT,
    attributes=(CPYTHON_GC_GENERATION,),
)
CPYTHON_GC_UNCOLLECTABLE_OBJECTS = Metric(
    probe="runtime.gc",
    name="cpython.gc.uncollectable_objects",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{object}",
    description="Objects which were found to be uncollectable inside a generation since interpreter start.",
    origin=Origin.DEVELOPMENT,
    attributes=(CPYTHON_GC_GENERATION,),
)
CPYTHON_GC_PAUSE_TIME = Metric(
    probe="runtime.gc_pauses",
    name="cpython.gc.pause.time",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="s",
    description="Time during which collections held everything up. Off unless asked for.",
    origin=Origin.OURS,
    attributes=(CPYTHON_GC_GENERATION,),
    precedent="dotnet.gc.pause.time",
)
CPYTHON_GC_PAUSE_MAX = Metric(
    probe="runtime.gc_pauses",
    name="cpython.gc.pause.max",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="s",
    description="The longest collection within the last window. Off unless asked for.",
    origin=Origin.OURS,
    precedent="dotnet.gc.pause.time",
)
CPYTHON_GC_OBJECT_COUNT = Metric(
    probe="runtime.objects",
    name="cpython.gc.object.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{object}",
    description="Objects that the garbage collector tracks. Off unless asked for: it walks the heap.",
    origin=Origin.OURS,
    precedent="gc.get_objects",
)
CPYTHON_MEMORY_ALLOCATED_BLOCKS = Metric(
    probe="runtime.heap",
    name="cpython.memory.allocated_blocks",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{block}",
    description="Memory blocks that the interpreter has allocated.",
    origin=Origin.OURS,
    precedent="sys.getallocatedblocks",
)
CPYTHON_MEMORY_TRACED = Metric(
    probe="runtime.heap",
    name="cpython.memory.traced",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="By",
    description="Memory that tracemalloc traces; only while it does.",
    origin=Origin.OURS,
    precedent="tracemalloc.get_traced_memory",
)
CPYTHON_MEMORY_TRACED_PEAK = Metric(
    probe="runtime.heap",
    name="cpython.memory.traced.peak",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="By",
    description="The most memory that tracemalloc has traced; only while it does.",
    origin=Origin.OURS,
    precedent="tracemalloc.get_traced_memory",
)
CPYTHON_THREAD_COUNT = Metric(
    probe="runtime.threads_by_group",
    name="cpython.thread.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{thread}",
    description="Threads by what they are for; native ones are those that the system counts and Python does not.",
    origin=Origin.OURS,
    attributes=(CPYTHON_THREAD_GROUP,),
    precedent="process.thread.count",
)

# host: the machine and the container around the process

SYSTEM_MEMORY_USAGE = Metric(
    probe="host.memory",
    name="system.memory.usage",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="Reports memory in use by state.",
    origin=Origin.DEVELOPMENT,
    attributes=(SYSTEM_MEMORY_STATE,),
)
SYSTEM_MEMORY_UTILIZATION = Metric(
    probe="host.memory",
    name="system.memory.utilization",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="1",
    description="Percentage of memory bytes in use.",
    origin=Origin.DEVELOPMENT,
    attributes=(SYSTEM_MEMORY_STATE,),
)
SYSTEM_MEMORY_LINUX_AVAILABLE = Metric(
    probe="host.memory",
    name="system.memory.linux.available",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="An estimate of how much memory is available for starting new applications, without causing swapping.",
    origin=Origin.DEVELOPMENT,
)
SYSTEM_PAGING_USAGE = Metric(
    probe="host.paging",
    name="system.paging.usage",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="Unix swap or windows pagefile usage.",
    origin=Origin.DEVELOPMENT,
    attributes=(SYSTEM_PAGING_STATE,),
)
SYSTEM_PAGING_FAULTS = Metric(
    probe="host.paging",
    name="system.paging.faults",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{fault}",
    description="The number of page faults.",
    origin=Origin.DEVELOPMENT,
    attributes=(SYSTEM_PAGING_FAULT_TYPE,),
)
SYSTEM_PAGING_OPERATIONS = Metric(
    probe="host.paging",
    name="system.paging.operations",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{operation}",
    description="The number of paging operations.",
    origin=Origin.DEVELOPMENT,
    attributes=(SYSTEM_PAGING_DIRECTION, SYSTEM_PAGING_FAULT_TYPE),
)
CONTAINER_MEMORY_USAGE = Metric(
    probe="host.container",
    name="container.memory.usage",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="Memory usage of the container.",
    origin=Origin.RELEASE_CANDIDATE,
)
CONTAINER_MEMORY_AVAILABLE = Metric(
    probe="host.container",
    name="container.memory.available",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="Container memory available: the limit without the working set.",
    origin=Origin.RELEASE_CANDIDATE,
)
CONTAINER_MEMORY_WORKING_SET = Metric(
    probe="host.container",
    name="container.memory.working_set",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="Container memory working set: the usage without page cache that has not been used of late.",
    origin=Origin.RELEASE_CANDIDATE,
)
RESINSTR_CONTAINER_MEMORY_LIMIT = Metric(
    probe="host.container",
    name="resinstr.container.memory.limit",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="By",
    description="The smallest limit of memory among the process's cgroup and its ancestors.",
    origin=Origin.OURS,
    precedent="k8s.container.memory.limit",
)
RESINSTR_CONTAINER_MEMORY_EVENTS = Metric(
    probe="host.container",
    name="resinstr.container.memory.events",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{event}",
    description="How often the container came up against a limit, found nothing to give back, had a process killed.",
    origin=Origin.OURS,
    attributes=(RESINSTR_CONTAINER_MEMORY_EVENT,),
    precedent="memory.events of cgroups",
)
RESINSTR_CONTAINER_CPU_THROTTLED_TIME = Metric(
    probe="host.container",
    name="resinstr.container.cpu.throttled.time",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="s",
    description="Time during which the container was kept from the CPU because its quota was used up.",
    origin=Origin.OURS,
    precedent="cpu.stat of cgroups",
)
RESINSTR_PRESSURE_STALL_TIME = Metric(
    probe="host.pressure",
    name="resinstr.pressure.stall.time",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="s",
    description="Time during which some, or all (full), tasks could not go on for want of a resource.",
    origin=Origin.OURS,
    attributes=(RESINSTR_PRESSURE_RESOURCE, RESINSTR_PRESSURE_KIND, RESINSTR_PRESSURE_SCOPE),
    precedent="total= of the kernel's pressure stall information",
)
RESINSTR_PRESSURE_STALL_MAX = Metric(
    probe="host.peaks",
    name="resinstr.pressure.stall.max",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="1",
    description="The largest share of a second of the last window in which some task could not go on.",
    origin=Origin.OURS,
    attributes=(RESINSTR_PRESSURE_RESOURCE, RESINSTR_PRESSURE_SCOPE),
    precedent="some of the kernel's pressure stall information",
)
RESINSTR_MEMORY_AVAILABLE_MIN = Metric(
    probe="host.peaks",
    name="resinstr.memory.available.min",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="By",
    description="The least memory within the last window that the machine, or the limit, had left for this process.",
    origin=Origin.OURS,
    precedent="system.memory.linux.available",
)
RESINSTR_MEMORY_USAGE = Metric(
    probe="host.neighbours",
    name="resinstr.memory.usage",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    description="The machine's memory in use by whose it is: this process's, the rest of its container's, others'.",
    origin=Origin.OURS,
    attributes=(RESINSTR_MEMORY_OWNER,),
    precedent="system.memory.usage",
)

# eventloop: how well event loops keep up

ASYNCIO_EVENTLOOP_DELAY_DURATION = Metric(
    probe="eventloop.delay",
    name="asyncio.eventloop.delay.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="How late the event loop runs what is due, time during which it was blocked included.",
    origin=Origin.OURS,
    attributes=(ASYNCIO_EVENTLOOP_THREAD,),
    precedent="go.schedule.duration",
    boundaries=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


def _delay_gauge(statistic: str, description: str) -> Metric:
    return Metric(
        probe="eventloop.delay",
        name=f"asyncio.eventloop.delay.{statistic}",
        kind=Kind.OBSERVABLE_GAUGE,
        unit="s",
        description=f"{description} of the event loop's delay over the last window.",
        origin=Origin.OURS,
        attributes=(ASYNCIO_EVENTLOOP_THREAD,),
        precedent=f"nodejs.eventloop.delay.{statistic}",
    )


ASYNCIO_EVENTLOOP_DELAY_P50 = _delay_gauge("p50", "Median")
ASYNCIO_EVENTLOOP_DELAY_P90 = _delay_gauge("p90", "90th percentile")
ASYNCIO_EVENTLOOP_DELAY_P99 = _delay_gauge("p99", "99th percentile")
ASYNCIO_EVENTLOOP_DELAY_MAX = _delay_gauge("max", "Maximum")

ASYNCIO_EVENTLOOP_BLOCKED = Metric(
    probe="eventloop.blocked",
    name="asyncio.eventloop.blocked",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{block}",
    description="Times the event loop was held longer than the threshold.",
    origin=Origin.OURS,
    attributes=(ASYNCIO_EVENTLOOP_THREAD,),
    precedent="nodejs.eventloop.delay.max",
)
ASYNCIO_EVENTLOOP_UTILIZATION = Metric(
    probe="eventloop.utilization",
    name="asyncio.eventloop.utilization",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="1",
    description="Share of the last window in which the event loop did not wait for I/O.",
    origin=Origin.OURS,
    attributes=(ASYNCIO_EVENTLOOP_THREAD,),
    precedent="nodejs.eventloop.utilization",
)
ASYNCIO_EVENTLOOP_CPU_TIME = Metric(
    probe="eventloop.cpu",
    name="asyncio.eventloop.cpu.time",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="s",
    description="CPU seconds of the event loop's thread while it ran the loop.",
    origin=Origin.OURS,
    attributes=(ASYNCIO_EVENTLOOP_THREAD,),
    precedent="process.cpu.time, nodejs.eventloop.time",
)
ASYNCIO_EVENTLOOP_TASK_COUNT = Metric(
    probe="eventloop.tasks",
    name="asyncio.eventloop.task.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{task}",
    description="Tasks of the event loop that are not done.",
    origin=Origin.OURS,
    attributes=(ASYNCIO_EVENTLOOP_THREAD,),
    precedent="process.thread.count",
)

# threadpool: executors, and limiters of anyio


def _of_thread_pools(name: str, kind: Kind, unit: str, description: str, precedent: str) -> Metric:
    return Metric(
        probe="threadpool.pools",
        name=f"cpython.thread_pool.{name}",
        kind=kind,
        unit=unit,
        description=description,
        origin=Origin.OURS,
        attributes=(THREAD_POOL_NAME, THREAD_POOL_TYPE),
        precedent=precedent,
    )


CPYTHON_THREAD_POOL_THREAD_COUNT = _of_thread_pools(
    "thread.count",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{thread}",
    "Threads that the pools have.",
    "dotnet.thread_pool.thread.count",
)
CPYTHON_THREAD_POOL_THREAD_LIMIT = _of_thread_pools(
    "thread.limit",
    Kind.OBSERVABLE_GAUGE,
    "{thread}",
    "Threads that the pools may have; for a limiter of anyio, its tokens.",
    "dotnet.thread_pool.thread.count",
)
CPYTHON_THREAD_POOL_THREAD_BUSY = _of_thread_pools(
    "thread.busy",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{thread}",
    "Threads that run a work item; for a limiter of anyio, its tokens that are taken.",
    "dotnet.thread_pool.thread.count",
)
CPYTHON_THREAD_POOL_QUEUE_LENGTH = _of_thread_pools(
    "queue.length",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{work_item}",
    "Work items that wait for a thread.",
    "dotnet.thread_pool.queue.length",
)
CPYTHON_THREAD_POOL_WORK_ITEM_COUNT = _of_thread_pools(
    "work_item.count",
    Kind.OBSERVABLE_COUNTER,
    "{work_item}",
    "Work items that were run to their end, whether they returned or raised.",
    "dotnet.thread_pool.work_item.count",
)
CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME = _of_thread_pools(
    "work_item.wait.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "Time that work items have waited from their submission to their start, in total.",
    "executor.idle of Micrometer",
)


def _wait_gauge(statistic: str, description: str) -> Metric:
    return _of_thread_pools(
        f"work_item.wait.{statistic}",
        Kind.OBSERVABLE_GAUGE,
        "s",
        f"{description} of the time that work items waited, over the last window.",
        "executor.idle of Micrometer",
    )


CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50 = _wait_gauge("p50", "Median")
CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99 = _wait_gauge("p99", "99th percentile")
CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX = _wait_gauge("max", "Maximum, what still waits included,")

# mongodb: what pymongo clients do

_DB_BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


def _connection_time(moment: str, description: str) -> Metric:
    return Metric(
        probe="mongodb.pool",
        name=f"db.client.connection.{moment}",
        kind=Kind.HISTOGRAM,
        unit="s",
        description=description,
        origin=Origin.DEVELOPMENT,
        attributes=(DB_CLIENT_CONNECTION_POOL_NAME,),
        boundaries=_DB_BOUNDARIES,
    )


DB_CLIENT_OPERATION_DURATION = Metric(
    probe="mongodb.commands",
    name="db.client.operation.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="Duration of database client operations.",
    origin=Origin.STABLE,
    attributes=(DB_SYSTEM_NAME, DB_OPERATION_NAME, DB_NAMESPACE, SERVER_ADDRESS),
    sometimes=(SERVER_PORT, DB_COLLECTION_NAME, ERROR_TYPE, DB_RESPONSE_STATUS_CODE),
    boundaries=_DB_BOUNDARIES,
)
DB_CLIENT_CONNECTION_COUNT = Metric(
    probe="mongodb.pool",
    name="db.client.connection.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    description="The number of connections that are currently in state described by the `state` attribute.",
    origin=Origin.DEVELOPMENT,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME, DB_CLIENT_CONNECTION_STATE),
)
DB_CLIENT_CONNECTION_MAX = Metric(
    probe="mongodb.pool",
    name="db.client.connection.max",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    description="The maximum number of open connections allowed.",
    origin=Origin.DEVELOPMENT,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME,),
)
DB_CLIENT_CONNECTION_IDLE_MIN = Metric(
    probe="mongodb.pool",
    name="db.client.connection.idle.min",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    description="The minimum number of idle open connections allowed.",
    origin=Origin.DEVELOPMENT,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME,),
)
DB_CLIENT_CONNECTION_PENDING_REQUESTS = Metric(
    probe="mongodb.pool",
    name="db.client.connection.pending_requests",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{request}",
    description="The number of current pending requests for an open connection.",
    origin=Origin.DEVELOPMENT,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME,),
)
DB_CLIENT_CONNECTION_TIMEOUTS = Metric(
    probe="mongodb.pool",
    name="db.client.connection.timeouts",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{timeout}",
    description="The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
    origin=Origin.DEVELOPMENT,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME,),
)
DB_CLIENT_CONNECTION_CREATE_TIME = _connection_time(
    "create_time", "The time it took to create a new connection."
)
DB_CLIENT_CONNECTION_WAIT_TIME = _connection_time(
    "wait_time", "The time it took to obtain an open connection from the pool."
)
DB_CLIENT_CONNECTION_USE_TIME = _connection_time(
    "use_time", "The time between borrowing a connection and returning it to the pool."
)
MONGODB_CONNECTION_CREATED = Metric(
    probe="mongodb.pool",
    name="mongodb.connection.created",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{connection}",
    description="Pool connections that were opened.",
    origin=Origin.OURS,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME,),
    precedent="connectionCreated of the driver specification's CMAP events",
)
MONGODB_CONNECTION_CLOSED = Metric(
    probe="mongodb.pool",
    name="mongodb.connection.closed",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{connection}",
    description="Pool connections that were closed, those included that went with a dropped client.",
    origin=Origin.OURS,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME, MONGODB_CONNECTION_CLOSE_REASON),
    precedent="connectionClosed of the driver specification's CMAP events",
)
MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT = Metric(
    probe="mongodb.clients",
    name="mongodb.client.active_instance.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{instance}",
    description="Clients that exist and have not been closed, those included that were there before the package.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, MONGODB_CLIENT_TYPE),
    precedent="azure.cosmosdb.client.active_instance.count",
)
MONGODB_CLIENT_SOCKET_COUNT = Metric(
    probe="mongodb.clients",
    name="mongodb.client.socket.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    description="Sockets that clients hold, for commands (pool) and for watching servers (monitor).",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, MONGODB_CLIENT_SOCKET_TYPE),
    precedent="db.client.connection.count, which leaves the monitors out",
)
MONGODB_CLIENT_CREATED = Metric(
    probe="mongodb.ledger",
    name="mongodb.client.created",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{instance}",
    description="Clients that were constructed, by the line of the application that did it.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, MONGODB_CLIENT_TYPE, MONGODB_CLIENT_SITE),
    precedent="azure.cosmosdb.client.active_instance.count",
)
MONGODB_CLIENT_CLOSED = Metric(
    probe="mongodb.ledger",
    name="mongodb.client.closed",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{instance}",
    description="Clients that ended: closed, or dropped and collected without having been closed.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, MONGODB_CLIENT_CLOSE_REASON),
    precedent="azure.cosmosdb.client.active_instance.count",
)
MONGODB_SERVER_CONNECTION_COUNT = Metric(
    probe="mongodb.server",
    name="mongodb.server.connection.count",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{connection}",
    description="Connections of the server, from all its clients, as it says itself. Off unless asked for.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, MONGODB_SERVER_CONNECTION_STATE),
    precedent="connections of MongoDB's serverStatus",
)
MONGODB_SERVER_CONNECTION_CREATED = Metric(
    probe="mongodb.server",
    name="mongodb.server.connection.created",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{connection}",
    description="Connections that the server has accepted since it is watched. Off unless asked for.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS,),
    precedent="connections.totalCreated of MongoDB's serverStatus",
)

MONGODB_CONNECTION_CHECK_OUT_FAILURES = Metric(
    probe="mongodb.waits",
    name="mongodb.connection.check_out.failures",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{failure}",
    description="Requests that got no connection: the wait ran out, or none could be opened.",
    origin=Origin.OURS,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME, ERROR_TYPE),
    precedent="connectionCheckOutFailed of the driver specification's CMAP events",
)
MONGODB_CLIENT_CREATE_FAILURES = Metric(
    probe="mongodb.failures",
    name="mongodb.client.create.failures",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{failure}",
    description="Constructors of clients that raised.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, ERROR_TYPE),
    precedent="azure.cosmosdb.client.active_instance.count",
)
MONGODB_CLIENT_SERVER_SELECTION_FAILURES = Metric(
    probe="mongodb.failures",
    name="mongodb.client.server_selection.failures",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{failure}",
    description="Operations for which no server could be selected, most often since none was reachable in time.",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS, ERROR_TYPE),
    precedent="the messages of the driver specification's server selection log",
)
MONGODB_POOL_CLEARED = Metric(
    probe="mongodb.failures",
    name="mongodb.pool.cleared",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{clear}",
    description="Times the driver gave up all connections of a pool, by the class of the error that made it.",
    origin=Origin.OURS,
    attributes=(DB_CLIENT_CONNECTION_POOL_NAME, ERROR_TYPE),
    precedent="poolCleared of the driver specification's CMAP events",
)
MONGODB_SERVER_HEARTBEAT_DURATION = Metric(
    probe="mongodb.heartbeat",
    name="mongodb.server.heartbeat.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="How long a server took to answer a heartbeat that was not awaited, or to fail to (`error.type`).",
    origin=Origin.OURS,
    attributes=(SERVER_ADDRESS,),
    sometimes=(ERROR_TYPE,),
    precedent="the events of the driver specification's server monitoring",
    boundaries=_DB_BOUNDARIES,
)
RESINSTR_SPAN_SUPPRESSED = Metric(
    probe="mongodb.lifecycle",
    name="resinstr.span.suppressed",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{span}",
    description="Spans of lives that were left out, since more ended at once than the rate allows.",
    origin=Origin.OURS,
    attributes=(RESINSTR_SPAN_NAME,),
    precedent="otel.sdk.span.started, which says what was sampled",
)

MONGODB_COMMAND = Span(
    probe="mongodb.commands",
    name="{db.operation.name} {db.collection.name}",
    description="A command: CLIENT; with `mongodb.pool.wait_time`, what it had waited for its connection.",
)
MONGODB_CLIENT_CREATE = Span(
    probe="mongodb.ledger",
    name="mongodb.client.create",
    description="The construction of a client: INTERNAL, with the line that did it.",
)
MONGODB_CONNECTION_CREATE = Span(
    probe="mongodb.pool",
    name="mongodb.connection.create",
    description="The opening of a pool connection: CLIENT; TCP, TLS, handshake and authentication.",
)
MONGODB_CONNECTION_WAIT = Span(
    probe="mongodb.waits",
    name="mongodb.connection.wait",
    description="The wait for a connection that took longer than the threshold, or was in vain: INTERNAL.",
)
MONGODB_CLIENT = Span(
    probe="mongodb.lifecycle",
    name="mongodb.client",
    description="The life of a client, told at its end: INTERNAL; how it ended, and a link to its creation.",
)
MONGODB_CONNECTION = Span(
    probe="mongodb.lifecycle",
    name="mongodb.connection",
    description="The life of a pool connection, told at its end: CLIENT; how it ended, how much it was used.",
)

MONGODB_CLIENT_CHURN = Event(
    probe="mongodb.ledger",
    name="mongodb.client.churn",
    description="One line of code constructs client after client: how many, how they end, what they cost.",
)
MONGODB_POOL_EXHAUSTED = Event(
    probe="mongodb.waits",
    name="mongodb.pool.exhausted",
    description="Requests wait for a connection, for seconds on end or in vain: how many, how long, what to do.",
)
MONGODB_SERVER_UNREACHABLE = Event(
    probe="mongodb.failures",
    name="mongodb.server.unreachable",
    description="A server does not answer heartbeats (`mongodb.heartbeat`), or none could be selected: which error.",
)
MONGODB_POOL_CLEARED_EVENT = Event(
    probe="mongodb.failures",
    name="mongodb.pool.cleared",
    description="The driver gave up all connections to a server, and after which error.",
)
MONGODB_CLIENT_LEAK = Event(
    probe="mongodb.ledger",
    name="mongodb.client.leak",
    description="The clients of one line of code keep growing in number: now, a minute or an hour ago, what they cost.",
)
ASYNCIO_EVENTLOOP_BLOCKED_EVENT = Event(
    probe="eventloop.blocked",
    name="asyncio.eventloop.blocked",
    description="An event loop does not turn: for how long, and by which line, task and trace; also while it lasts.",
)
CPYTHON_THREAD_POOL_SATURATED = Event(
    probe="threadpool.saturation",
    name="cpython.thread_pool.saturated",
    description="Work waits for a thread: for how long, how much, and what the threads do; also when it is over.",
)
CPYTHON_HEAP_GROWTH = Event(
    probe="runtime.heap",
    name="cpython.heap.growth",
    description="The ten lines of code whose memory grew most; when `otel_resinstr.heap_growth()` is called.",
)
RESINSTR_MEMORY_PRESSURE = Event(
    probe="host.shortage",
    name="resinstr.memory.pressure",
    description="Memory is short, in the container or on the machine: by which figures, whose it is, what to do.",
)
RESINSTR_PROBE_DISABLED = Event(
    probe="*",
    name="resinstr.probe.disabled",
    description="A probe broke, or cannot work in this process, and was stopped; all else goes on.",
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
SPANS: tuple[Span, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Span))
EVENTS: tuple[Event, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Event))
