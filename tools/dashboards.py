# SPDX-License-Identifier: Apache-2.0
"""Writes the Grafana dashboards of `collector/grafana/` from the panels below; with --check, fails where they differ.

A panel is a line of what is asked and a line of why one would. The rest of a dashboard (the grid, the variables, the
data source that is chosen and never written down) is the same for all and made here.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "collector" / "grafana"
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 7  # three panels a row of Grafana's 24 columns


@dataclass(frozen=True)
class Panel:
    """A graph: what it is called, its unit, why it is looked at, and each expression by its legend."""

    title: str
    unit: str
    says: str
    expressions: dict[str, str]


@dataclass(frozen=True)
class Dashboard:
    """Panels by rows."""

    uid: str
    title: str
    says: str
    rows: dict[str, list[Panel]] = field(default_factory=dict)


def chosen(name: str, more: str = "") -> str:
    """The series of *name* that the variables choose."""
    return f'{name}{{job=~"$job", instance=~"$instance"{", " + more if more else ""}}}'


def total(name: str, *by: str, more: str = "") -> str:
    """What goes up and down, added up over everything but the process and *by*."""
    return f"sum by ({', '.join(('job', 'instance', *by))}) ({chosen(name, more)})"


def highest(name: str, *by: str, more: str = "") -> str:
    """What must not be added up."""
    return f"max by ({', '.join(('job', 'instance', *by))}) ({chosen(name, more)})"


def rate(name: str, *by: str, more: str = "") -> str:
    """What only goes up, a second."""
    return f"sum by ({', '.join(('job', 'instance', *by))}) (rate({chosen(name, more)}[$__rate_interval]))"


def quantile(share: float, name: str, *by: str) -> str:
    """A quantile of a histogram."""
    labels = ", ".join(("job", "instance", *by, "le"))
    return (
        f"histogram_quantile({share}, sum by ({labels}) (rate({chosen(name + '_bucket')}[$__rate_interval])))"
    )


def mean(name: str, *by: str) -> str:
    """The mean of a histogram."""
    return f"{rate(name + '_sum', *by)} / {rate(name + '_count', *by)}"


WHO = "{{job}} {{instance}}"
POOL = "db_client_connection_pool_name"
LOOP = "asyncio_eventloop_thread"
THREAD_POOL = "thread_pool_name"

PROCESS = Dashboard(
    "resinstr-process",
    "Python processes",
    "What each process uses and waits for: the system's, CPython's, the container's and the host's view of it.",
    {
        "Process": [
            Panel(
                "CPU",
                "percentunit",
                "Share of the CPUs that the process may use (affinity and cgroup quota). At 1 it waits for its turn.",
                {f"{WHO} {{{{cpu_mode}}}}": highest("process_cpu_utilization_ratio", "cpu_mode")},
            ),
            Panel(
                "CPU time",
                "s",
                "CPU seconds a second. Compare it with the calls of the same time: a client per call shows here first.",
                {f"{WHO} {{{{cpu_mode}}}}": rate("process_cpu_time_seconds_total", "cpu_mode")},
            ),
            Panel(
                "Memory, of the limit that binds",
                "percentunit",
                "A share of the smallest limit. Alone it is no fault: look at what is left, and at major faults.",
                {WHO: highest("process_memory_utilization_ratio")},
            ),
            Panel(
                "Memory",
                "bytes",
                "Physical memory in use, the most that it ever was, and what was committed.",
                {
                    f"{WHO} physical": total("process_memory_usage_bytes"),
                    f"{WHO} of the window at most": highest("resinstr_process_memory_usage_max_bytes"),
                    f"{WHO} ever at most": highest("resinstr_process_memory_peak_bytes"),
                    f"{WHO} virtual": total("process_memory_virtual_bytes"),
                },
            ),
            Panel(
                "Page faults",
                "cps",
                "A major fault is a read from the disk for memory that was there before: steady ones are thrashing.",
                {
                    f"{WHO} {{{{system_paging_fault_type}}}}": rate(
                        "process_paging_faults_total", "system_paging_fault_type"
                    )
                },
            ),
            Panel(
                "Threads",
                "short",
                "As the system counts them. If they climb, the next panel says whose they are.",
                {
                    f"{WHO} now": total("process_thread_count"),
                    f"{WHO} of the window at most": highest("resinstr_process_thread_count_max"),
                },
            ),
            Panel(
                "Threads by what they are for",
                "short",
                "Of the driver there are 3 for each client: pymongo.* that climb are clients that nobody closes.",
                {
                    f"{WHO} {{{{cpython_thread_group}}}}": total(
                        "cpython_thread_count", "cpython_thread_group"
                    )
                },
            ),
            Panel(
                "File descriptors",
                "short",
                "Open ones, or handles on Windows, and how many there may be. At the limit nothing can be opened.",
                {
                    f"{WHO} open": f"{total('process_unix_file_descriptor_count')}"
                    f" or {total('process_windows_handle_count')}",
                    f"{WHO} limit": highest("resinstr_process_file_descriptor_limit"),
                },
            ),
            Panel(
                "TCP connections",
                "short",
                "By the port at the other end and their state. Only where it was asked for.",
                {
                    f"{WHO} {{{{resinstr_connection_remote_port}}}} {{{{network_connection_state}}}}": total(
                        "resinstr_process_connection_count",
                        "resinstr_connection_remote_port",
                        "network_connection_state",
                    )
                },
            ),
            Panel(
                "Outbound ports (SNAT)",
                "short",
                "That connections to one public address take, or took a moment ago, and how many there are. At the"
                " limit nothing more can be opened to it. Only where it was asked for.",
                {
                    f"{WHO} {{{{resinstr_connection_remote}}}} {{{{resinstr_snat_port_age}}}}": highest(
                        "resinstr_snat_port_usage", "resinstr_connection_remote", "resinstr_snat_port_age"
                    ),
                    f"{WHO} limit": highest("resinstr_snat_port_limit"),
                },
            ),
            Panel(
                "Context switches",
                "cps",
                "Involuntary ones are turns that were taken away: more is to run than there are CPUs.",
                {
                    f"{WHO} {{{{process_context_switch_type}}}}": rate(
                        "process_context_switches_total", "process_context_switch_type"
                    )
                },
            ),
            Panel(
                "Disk",
                "Bps",
                "Bytes that really went to and from a disk.",
                {
                    f"{WHO} {{{{disk_io_direction}}}}": rate(
                        "process_disk_io_bytes_total", "disk_io_direction"
                    )
                },
            ),
            Panel(
                "Uptime",
                "s",
                "A fall is a restart: what changed in the other panels then?",
                {WHO: highest("process_uptime_seconds")},
            ),
        ],
        "Python": [
            Panel(
                "Garbage collections",
                "cps",
                "Generation 2 looks at everything that is alive.",
                {
                    f"{WHO} generation {{{{cpython_gc_generation}}}}": rate(
                        "cpython_gc_collections_total", "cpython_gc_generation"
                    )
                },
            ),
            Panel(
                "Time in garbage collection",
                "s",
                "Seconds a second in which nothing else of the process ran.",
                {
                    f"{WHO} generation {{{{cpython_gc_generation}}}}": rate(
                        "cpython_gc_pause_time_seconds_total", "cpython_gc_generation"
                    )
                },
            ),
            Panel(
                "Longest pause of the garbage collector",
                "s",
                "Every request waits as long. Beside a late event loop it says whether the collector was it.",
                {WHO: highest("cpython_gc_pause_max_seconds")},
            ),
            Panel(
                "Objects collected",
                "cps",
                "Uncollectable ones stay for ever.",
                {
                    f"{WHO} collected": rate("cpython_gc_collected_objects_total"),
                    f"{WHO} uncollectable": rate("cpython_gc_uncollectable_objects_total"),
                },
            ),
            Panel(
                "Blocks of memory",
                "short",
                "What CPython has given out. If it climbs with the process's memory, Python objects are kept.",
                {WHO: total("cpython_memory_allocated_blocks")},
            ),
            Panel(
                "Objects",
                "short",
                "Only where it was asked for: counting them walks the heap.",
                {WHO: total("cpython_gc_object_count")},
            ),
            Panel(
                "Traced memory",
                "bytes",
                "Only while tracemalloc is tracing.",
                {
                    f"{WHO} now": highest("cpython_memory_traced_bytes"),
                    f"{WHO} peak": highest("cpython_memory_traced_peak_bytes"),
                },
            ),
        ],
        "Container and host": [
            Panel(
                "Container memory",
                "bytes",
                "Of the cgroup. What can be given back at once is not in the working set.",
                {
                    f"{WHO} used": total("container_memory_usage_bytes"),
                    f"{WHO} working set": total("container_memory_working_set_bytes"),
                    f"{WHO} available": total("container_memory_available_bytes"),
                    f"{WHO} limit": highest("resinstr_container_memory_limit_bytes"),
                },
            ),
            Panel(
                "Container memory events",
                "cps",
                "max: it was at its limit and had to give back; oom_kill: something in it was killed for that.",
                {
                    f"{WHO} {{{{resinstr_container_memory_event}}}}": rate(
                        "resinstr_container_memory_events_total", "resinstr_container_memory_event"
                    )
                },
            ),
            Panel(
                "CPU quota: throttled",
                "s",
                "Seconds a second, over all threads, in which they had work to do and were not let.",
                {WHO: rate("resinstr_container_cpu_throttled_time_seconds_total")},
            ),
            Panel(
                "Pressure",
                "percentunit",
                "Share of the time in which something (some) or everything (full) waited for memory, CPU or disk.",
                {
                    f"{WHO} {{{{resinstr_pressure_scope}}}} {{{{resinstr_pressure_resource}}}}"
                    " {{resinstr_pressure_kind}}": rate(
                        "resinstr_pressure_stall_time_seconds_total",
                        "resinstr_pressure_scope",
                        "resinstr_pressure_resource",
                        "resinstr_pressure_kind",
                    )
                },
            ),
            Panel(
                "Pressure, the worst second",
                "percentunit",
                "Share of that second in which something waited. A stall does not show in a mean of a minute.",
                {
                    f"{WHO} {{{{resinstr_pressure_scope}}}} {{{{resinstr_pressure_resource}}}}": highest(
                        "resinstr_pressure_stall_max_ratio",
                        "resinstr_pressure_scope",
                        "resinstr_pressure_resource",
                    )
                },
            ),
            Panel(
                "Whose memory it is",
                "bytes",
                "This process's, the rest of its container's, others': a second slot beside the first is the others'.",
                {
                    f"{WHO} {{{{resinstr_memory_owner}}}}": total(
                        "resinstr_memory_usage_bytes", "resinstr_memory_owner"
                    )
                },
            ),
            Panel(
                "Memory left, at least",
                "bytes",
                "Of the machine, or of the limit, whichever is less, in the worst second.",
                {WHO: highest("resinstr_memory_available_min_bytes")},
            ),
            Panel(
                "Host memory",
                "bytes",
                "Available is what can be had without swapping; free alone says little.",
                {
                    f"{WHO} {{{{system_memory_state}}}}": total(
                        "system_memory_usage_bytes", "system_memory_state"
                    ),
                    f"{WHO} available": total("system_memory_linux_available_bytes"),
                },
            ),
            Panel(
                "Host memory, shares",
                "percentunit",
                "Cached memory counts as used here, and is given back when it is needed.",
                {
                    f"{WHO} {{{{system_memory_state}}}}": highest(
                        "system_memory_utilization_ratio", "system_memory_state"
                    )
                },
            ),
            Panel(
                "Swap",
                "bytes",
                "That it is used is no fault; that it is read and written all the time is.",
                {
                    f"{WHO} {{{{system_paging_state}}}}": total(
                        "system_paging_usage_bytes", "system_paging_state"
                    )
                },
            ),
            Panel(
                "Host paging",
                "cps",
                "Pages in and out, and faults, of everything on the machine.",
                {
                    f"{WHO} {{{{system_paging_direction}}}} {{{{system_paging_fault_type}}}}": rate(
                        "system_paging_operations_total",
                        "system_paging_direction",
                        "system_paging_fault_type",
                    ),
                    f"{WHO} faults {{{{system_paging_fault_type}}}}": rate(
                        "system_paging_faults_total", "system_paging_fault_type"
                    ),
                },
            ),
            Panel(
                "Memory, as the host sees it",
                "bytes",
                "Needs the overlay add-host-process. By the id of the process; beside `Memory` above.",
                {
                    "{{process_pid}} physical": "sum by (process_pid) (host_process_memory_usage_bytes)",
                    "{{process_pid}} virtual": "sum by (process_pid) (host_process_memory_virtual_bytes)",
                },
            ),
        ],
    },
)

MONGODB = Dashboard(
    "resinstr-mongodb",
    "MongoDB clients",
    "Who makes clients, how they end, what they hold, and what is waited for.",
    {
        "Clients": [
            Panel(
                "Clients constructed, by line",
                "cpm",
                "A minute. An application makes one for each cluster when it starts; a line that goes on is a client"
                " per call.",
                {
                    f"{WHO} {{{{mongodb_client_site}}}}": "60 * "
                    + rate("mongodb_client_created_total", "mongodb_client_site")
                },
            ),
            Panel(
                "Clients ended",
                "cpm",
                "A minute. closed: somebody called close(); dropped: the garbage collector found it.",
                {
                    f"{WHO} {{{{mongodb_client_close_reason}}}}": "60 * "
                    + rate("mongodb_client_closed_total", "mongodb_client_close_reason")
                },
            ),
            Panel(
                "Clients at a time",
                "short",
                "If it climbs, clients are kept: each holds 3 threads and 3 sockets or more.",
                {
                    f"{WHO} {{{{mongodb_client_type}}}}": total(
                        "mongodb_client_active_instance_count", "mongodb_client_type"
                    )
                },
            ),
            Panel(
                "Sockets that clients hold",
                "short",
                "For commands (pool) and for watching servers (monitor); the server counts both.",
                {
                    f"{WHO} {{{{mongodb_client_socket_type}}}}": total(
                        "mongodb_client_socket_count", "mongodb_client_socket_type"
                    )
                },
            ),
            Panel(
                "Server selection failures",
                "cps",
                "No server could be had for an operation: it is down, unreachable, or not the one that was asked for.",
                {
                    f"{WHO} {{{{error_type}}}}": rate(
                        "mongodb_client_server_selection_failures_total", "error_type"
                    )
                },
            ),
            Panel(
                "Constructors that failed",
                "cpm",
                "A minute. A URI that cannot be read, or a name that cannot be resolved: no client comes of it.",
                {
                    f"{WHO} {{{{error_type}}}}": "60 * "
                    + rate("mongodb_client_create_failures_total", "error_type")
                },
            ),
            Panel(
                "Spans of lives left out",
                "cpm",
                "A minute. More ended at once than the rate allows; the metrics count all of them.",
                {
                    f"{WHO} {{{{resinstr_span_name}}}}": "60 * "
                    + rate("resinstr_span_suppressed_total", "resinstr_span_name")
                },
            ),
        ],
        "Pools": [
            Panel(
                "Connections",
                "short",
                "In use, idle, and how many there may be at most. In use at the most, with waits beside it: the pool"
                " is too small, or held too long.",
                {
                    f"{WHO} {{{{{POOL}}}}} {{{{db_client_connection_state}}}}": total(
                        "db_client_connection_count", POOL, "db_client_connection_state"
                    ),
                    f"{WHO} {{{{{POOL}}}}} max": total("db_client_connection_max", POOL),
                    f"{WHO} {{{{{POOL}}}}} idle min": total("db_client_connection_idle_min", POOL),
                },
            ),
            Panel(
                "Waiting for a connection",
                "short",
                "Callers that wait at this moment.",
                {f"{WHO} {{{{{POOL}}}}}": total("db_client_connection_pending_requests", POOL)},
            ),
            Panel(
                "Waits that ran out",
                "cps",
                "Each is an error in the application.",
                {f"{WHO} {{{{{POOL}}}}}": rate("db_client_connection_timeouts_total", POOL)},
            ),
            Panel(
                "No connection",
                "cps",
                "Requests that got none: the wait ran out, or none could be opened.",
                {
                    f"{WHO} {{{{{POOL}}}}} {{{{error_type}}}}": rate(
                        "mongodb_connection_check_out_failures_total", POOL, "error_type"
                    )
                },
            ),
            Panel(
                "Pools cleared",
                "cpm",
                "A minute. The driver gave up all connections of a pool after an error: a failover, a broken network.",
                {
                    f"{WHO} {{{{{POOL}}}}} {{{{error_type}}}}": "60 * "
                    + rate("mongodb_pool_cleared_total", POOL, "error_type")
                },
            ),
            Panel(
                "Time waited for a connection",
                "s",
                "99 % of the check-outs were faster.",
                {f"{WHO} {{{{{POOL}}}}}": quantile(0.99, "db_client_connection_wait_time_seconds", POOL)},
            ),
            Panel(
                "Time to open a connection",
                "s",
                "TCP, TLS, handshake and authentication, in the mean: what each client per call pays again.",
                {f"{WHO} {{{{{POOL}}}}}": mean("db_client_connection_create_time_seconds", POOL)},
            ),
            Panel(
                "Time a connection is in use",
                "s",
                "99 % were given back sooner. Long with short commands: something else is done while it is held.",
                {f"{WHO} {{{{{POOL}}}}}": quantile(0.99, "db_client_connection_use_time_seconds", POOL)},
            ),
            Panel(
                "Connections opened",
                "cps",
                "In a healthy application next to none after the start.",
                {f"{WHO} {{{{{POOL}}}}}": rate("mongodb_connection_created_total", POOL)},
            ),
            Panel(
                "Connections closed",
                "cps",
                "dropped: with a client that nobody closed.",
                {
                    f"{WHO} {{{{{POOL}}}}} {{{{mongodb_connection_close_reason}}}}": rate(
                        "mongodb_connection_closed_total", POOL, "mongodb_connection_close_reason"
                    )
                },
            ),
        ],
        "Commands": [
            Panel(
                "Commands",
                "ops",
                "By what they do.",
                {
                    f"{WHO} {{{{db_operation_name}}}} {{{{error_type}}}}": rate(
                        "db_client_operation_duration_seconds_count", "db_operation_name", "error_type"
                    )
                },
            ),
            Panel(
                "Duration of commands",
                "s",
                "99 % were faster, as the client sees it, the network included.",
                {
                    f"{WHO} {{{{db_operation_name}}}}": quantile(
                        0.99, "db_client_operation_duration_seconds", "db_operation_name"
                    )
                },
            ),
        ],
        "Server": [
            Panel(
                "Connections: the server's count and the clients'",
                "short",
                "Needs the overlay add-mongodb for the first. What the server has more is of the overlay itself, of"
                " shells, of other members and of applications without the package.",
                {
                    "{{instance}} server says": 'max by (instance) (mongodb_connection_count{type="current"})',
                    "all clients say": f"sum({chosen('mongodb_client_socket_count')})",
                },
            ),
            Panel(
                "Heartbeats",
                "s",
                "Time of the checks that the driver makes of each server, in the mean; with error_type, of those"
                " that failed.",
                {
                    f"{WHO} {{{{server_address}}}} {{{{error_type}}}}": mean(
                        "mongodb_server_heartbeat_duration_seconds", "server_address", "error_type"
                    )
                },
            ),
            Panel(
                "Connections, as a client was told by the server",
                "short",
                "Only where it was asked for (serverStatus).",
                {
                    f"{WHO} {{{{mongodb_server_connection_state}}}}": highest(
                        "mongodb_server_connection_count", "mongodb_server_connection_state"
                    )
                },
            ),
            Panel(
                "Connections that the server accepted",
                "cps",
                "Only where it was asked for (serverStatus). Of all clients of the server.",
                {WHO: rate("mongodb_server_connection_created_total")},
            ),
        ],
    },
)

EVENTLOOP = Dashboard(
    "resinstr-eventloop",
    "Event loops and thread pools",
    "Whether what is due is run in time, and whether work waits for a thread.",
    {
        "Event loops": [
            Panel(
                "Delay, at worst",
                "s",
                "How late a loop ran what was due. From 0.1 s on people notice; the event asyncio.eventloop.blocked"
                " names the line.",
                {f"{WHO} {{{{{LOOP}}}}}": highest("asyncio_eventloop_delay_max_seconds", LOOP)},
            ),
            Panel(
                "Delay, quantiles",
                "s",
                "Of the last window.",
                {
                    f"{WHO} {{{{{LOOP}}}}} p50": highest("asyncio_eventloop_delay_p50_seconds", LOOP),
                    f"{WHO} {{{{{LOOP}}}}} p90": highest("asyncio_eventloop_delay_p90_seconds", LOOP),
                    f"{WHO} {{{{{LOOP}}}}} p99": highest("asyncio_eventloop_delay_p99_seconds", LOOP),
                },
            ),
            Panel(
                "Delay, 99 % over time",
                "s",
                "From the histogram: the one to add up over processes.",
                {f"{WHO} {{{{{LOOP}}}}}": quantile(0.99, "asyncio_eventloop_delay_duration_seconds", LOOP)},
            ),
            Panel(
                "Blocks",
                "cpm",
                "Times a minute that a loop was held longer than the threshold.",
                {f"{WHO} {{{{{LOOP}}}}}": f"60 * {rate('asyncio_eventloop_blocked_total', LOOP)}"},
            ),
            Panel(
                "Utilization",
                "percentunit",
                "Share of the time in which a loop does not wait for I/O. At 1 it is behind.",
                {f"{WHO} {{{{{LOOP}}}}}": highest("asyncio_eventloop_utilization_ratio", LOOP)},
            ),
            Panel(
                "CPU of the loop's thread",
                "s",
                "Seconds a second. High utilization with little of it: the loop waits for something that is no I/O of"
                " its own, a lock, the GIL or a blocking call.",
                {f"{WHO} {{{{{LOOP}}}}}": rate("asyncio_eventloop_cpu_time_seconds_total", LOOP)},
            ),
            Panel(
                "Tasks",
                "short",
                "Not done yet. If they climb, more is started than gets finished.",
                {f"{WHO} {{{{{LOOP}}}}}": total("asyncio_eventloop_task_count", LOOP)},
            ),
        ],
        "Thread pools": [
            Panel(
                "Threads",
                "short",
                "Busy ones, those there are, and how many there may be. Busy at the limit, with a queue beside it: it"
                " is exhausted.",
                {
                    f"{WHO} {{{{{THREAD_POOL}}}}} busy": total(
                        "cpython_thread_pool_thread_busy", THREAD_POOL, "thread_pool_type"
                    ),
                    f"{WHO} {{{{{THREAD_POOL}}}}} there": total(
                        "cpython_thread_pool_thread_count", THREAD_POOL, "thread_pool_type"
                    ),
                    f"{WHO} {{{{{THREAD_POOL}}}}} limit": highest(
                        "cpython_thread_pool_thread_limit", THREAD_POOL, "thread_pool_type"
                    ),
                },
            ),
            Panel(
                "Queue",
                "short",
                "Work that waits for a thread.",
                {
                    f"{WHO} {{{{{THREAD_POOL}}}}}": total(
                        "cpython_thread_pool_queue_length", THREAD_POOL, "thread_pool_type"
                    )
                },
            ),
            Panel(
                "Work done",
                "ops",
                "Finished a second.",
                {
                    f"{WHO} {{{{{THREAD_POOL}}}}}": rate(
                        "cpython_thread_pool_work_item_count_total", THREAD_POOL, "thread_pool_type"
                    )
                },
            ),
            Panel(
                "Time waited for a thread",
                "s",
                "In the mean, from being handed over to being started.",
                {
                    f"{WHO} {{{{{THREAD_POOL}}}}}": rate(
                        "cpython_thread_pool_work_item_wait_time_seconds_total",
                        THREAD_POOL,
                        "thread_pool_type",
                    )
                    + " / "
                    + rate("cpython_thread_pool_work_item_count_total", THREAD_POOL, "thread_pool_type")
                },
            ),
            Panel(
                "Time waited for a thread, quantiles",
                "s",
                "Of the last window.",
                {
                    f"{WHO} {{{{{THREAD_POOL}}}}} {name}": highest(
                        f"cpython_thread_pool_work_item_wait_{name}_seconds", THREAD_POOL, "thread_pool_type"
                    )
                    for name in ("p50", "p99", "max")
                },
            ),
        ],
    },
)

DASHBOARDS = {"process": PROCESS, "mongodb": MONGODB, "eventloop": EVENTLOOP}


def as_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana reads from a file."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in dashboard.rows.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
                "panels": [],
            }
        )
        y += 1
        for number, panel in enumerate(row):
            place = {
                "x": number % 3 * WIDTH,
                "y": y + number // 3 * HEIGHT,
                "w": WIDTH,
                "h": HEIGHT,
            }
            panels.append({"id": len(panels) + 1, "gridPos": place, **_graph(panel)})
        y += -(-len(row) // 3) * HEIGHT
    return {
        "id": None,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["opentelemetry", "python", "resinstr"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "links": [
            {
                "type": "dashboards",
                "title": "More",
                "tags": ["resinstr"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                    "refresh": 1,
                },
                _variable("job", "Service", "label_values(process_uptime_seconds, job)"),
                _variable(
                    "instance", "Process", 'label_values(process_uptime_seconds{job=~"$job"}, instance)'
                ),
            ]
        },
        "panels": panels,
    }


def _graph(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": DATA_SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 5, "showPoints": "auto"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": DATA_SOURCE, "expr": expr, "legendFormat": legend}
            for number, (legend, expr) in enumerate(panel.expressions.items())
        ],
    }


def _variable(name: str, shown: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": shown,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }


def main(arguments: list[str], folder: Path = FOLDER) -> None:
    """Write them, or compare them with what is there."""
    if arguments not in ([], ["--check"]):
        sys.exit("usage: dashboards.py [--check]")
    for name, dashboard in DASHBOARDS.items():
        file = folder / f"{name}.json"
        wanted = json.dumps(as_grafana(dashboard), indent=1) + "\n"
        if arguments and wanted != file.read_text(encoding="utf-8"):
            sys.exit(f"{file.name} is not what the code says: run python tools/dashboards.py")
        file.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
