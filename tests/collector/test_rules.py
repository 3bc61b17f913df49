# SPDX-License-Identifier: Apache-2.0
"""
The alerts: one for each suspect, with the thresholds of the diagnosis, on where they should be and nowhere else.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from otel_resinstr.explain import thresholds
from otelcol import COLLECTOR

FOLDER = COLLECTOR / "prometheus"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}

# The numbers that an alert compares with, in the order in which they stand there.
COMPARED = {
    "MongoClientPerCall": (thresholds.CHURN_CLIENTS_PER_MINUTE, thresholds.CHURN_SHARE_ENDED),
    "MongoClientsKept": (thresholds.GROWTH_CLIENTS,),
    "MongoPoolExhausted": (thresholds.CONNECTION_WAIT, thresholds.CONNECTION_TIMEOUTS),
    "MongoServerUnreachable": (thresholds.SERVER_SELECTION_FAILURES,),
    "EventLoopBlocked": (thresholds.LOOP_DELAY,),
    "ThreadPoolExhausted": (thresholds.POOL_WAIT, thresholds.POOL_BUSY, thresholds.POOL_QUEUED),
    "ShortOfMemory": (
        thresholds.MEMORY_LEFT,
        thresholds.MAJOR_FAULTS_PER_SECOND,
        thresholds.MEMORY_STALLED,
    ),
    "KilledForMemory": (thresholds.OOM_KILLS,),
    "CpuThrottled": (thresholds.CPU_THROTTLED,),
    "ShortOfDescriptors": (thresholds.DESCRIPTORS,),
    "CollectorLosesTelemetry": (0,),
    "CollectorRefusesTelemetry": (0,),
}


def test_the_thresholds_are_those_of_the_diagnosis() -> None:
    """What an alert calls too much is what the diagnosis calls so: there is one table."""
    found = {
        name: tuple(float(number) for number in re.findall(r"[<>]=? ([\d.]+)", rule["expr"]))
        for name, rule in ALERTS.items()
    }

    assert found == COMPARED


def test_each_suspect_of_the_diagnosis_has_an_alert() -> None:
    """By the diagnosis's own name for it."""
    modules = Path(thresholds.__file__).parent.joinpath("suspects").glob("[!_]*.py")

    suspects = {rule["labels"].get("suspect") for rule in ALERTS.values()}

    assert {module.stem for module in modules} <= suspects


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_what_to_do(name: str) -> None:
    """Who it is about in one line, and where to look next; severity for whoever routes it."""
    rule = ALERTS[name]

    assert "{{ $labels." in rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 60
    assert rule["labels"]["severity"] in ("warning", "critical")


INTERVAL = "30s"
SAMPLES = 30  # a quarter of an hour


def counter(per_second: float) -> str:
    """A counter that grows steadily."""
    return f"0+{per_second * 30:g}x{SAMPLES}"


def late(value: float) -> str:
    """A counter that appears with what it counts, two minutes and a half before the end, and stays there."""
    return f"_x25 {value:g}x5"


def gauge(value: float) -> str:
    """The same value all the time."""
    return f"{value:g}x{SAMPLES}"


class Case(NamedTuple):
    """Series (without job and instance), and whether the alert fires on them."""

    alert: str
    says: str
    fires: bool
    series: dict[str, str]


ENOUGH = 1.1
LITTLE = 0.9
POOL = 'db_client_connection_pool_name="db:27017"'
CHURN = thresholds.CHURN_CLIENTS_PER_MINUTE / 60
SHARE = thresholds.CHURN_SHARE_ENDED
BUCKET = f"db_client_connection_wait_time_seconds_bucket{{{POOL}, le="
THREADS = 'thread_pool_name="worker"'
MAJOR = 'system_paging_faults_total{system_paging_fault_type="major"}'
LEFT = "resinstr_memory_available_min_bytes"
LIMIT = "resinstr_container_memory_limit_bytes"
LEFT_OF_MACHINE = "system_memory_linux_available_bytes"
USED, FREE = (f'system_memory_usage_bytes{{system_memory_state="{state}"}}' for state in ("used", "free"))
MIB = 2**20
STALLED = (
    "resinstr_pressure_stall_time_seconds_total"
    '{resinstr_pressure_resource="memory", resinstr_pressure_kind="some", resinstr_pressure_scope="container"}'
)
OOM = 'resinstr_container_memory_events_total{resinstr_container_memory_event="oom_kill"}'
CREATED, CLOSED = (
    'mongodb_client_created_total{mongodb_client_site="app.py:1 f"}',
    'mongodb_client_closed_total{mongodb_client_close_reason="closed"}',
)


def waits(over: float) -> dict[str, str]:
    """Check-outs of which a share takes longer than the threshold, twice as long at most."""
    limit = thresholds.CONNECTION_WAIT
    return {
        f'{BUCKET}"{limit:g}"}}': counter(100 * (1 - over)),
        f'{BUCKET}"{2 * limit:g}"}}': counter(100),
        f'{BUCKET}"+Inf"}}': counter(100),
    }


CASES = [
    Case(
        "MongoClientPerCall",
        "closed after each call",
        True,
        {CREATED: counter(CHURN * ENOUGH), CLOSED: counter(CHURN)},
    ),
    Case(
        "MongoClientPerCall",
        "too few",
        False,
        {CREATED: counter(CHURN * LITTLE), CLOSED: counter(CHURN * LITTLE)},
    ),
    Case(
        "MongoClientPerCall",
        "most of them stay",
        False,
        {CREATED: counter(CHURN * 2), CLOSED: counter(CHURN * 2 * SHARE * LITTLE)},
    ),
    Case("MongoClientPerCall", "one at the start", False, {CREATED: gauge(1), CLOSED: gauge(0)}),
    Case(
        "MongoClientsKept", "more and more", True, {"mongodb_client_active_instance_count": f"0+1x{SAMPLES}"}
    ),
    Case(
        "MongoClientsKept",
        "many, but not more",
        False,
        {"mongodb_client_active_instance_count": gauge(thresholds.GROWTH_CLIENTS * 5)},
    ),
    Case(
        "MongoClientsKept",
        "a few more",
        False,
        {
            "mongodb_client_active_instance_count": f"0+{thresholds.GROWTH_CLIENTS * LITTLE / SAMPLES:g}x{SAMPLES}"
        },
    ),
    Case("MongoPoolExhausted", "2 % wait too long", True, waits(0.02)),
    Case("MongoPoolExhausted", "0.5 % do", False, waits(0.005)),
    Case(
        "MongoPoolExhausted",
        "a wait ran out",
        True,
        {f"db_client_connection_timeouts_total{{{POOL}}}": counter(0.01)},
    ),
    Case(
        "MongoPoolExhausted",
        "waits ran out before the first export",
        True,
        {f"db_client_connection_timeouts_total{{{POOL}}}": late(3)},
    ),
    Case(
        "MongoPoolExhausted",
        "none did lately",
        False,
        {f"db_client_connection_timeouts_total{{{POOL}}}": gauge(3)},
    ),
    Case(
        "MongoServerUnreachable",
        "it fails",
        True,
        {'mongodb_client_server_selection_failures_total{error_type="X"}': counter(0.1)},
    ),
    Case(
        "MongoServerUnreachable",
        "a short outage: the counter appears with it, and stays there",
        True,
        {'mongodb_client_server_selection_failures_total{error_type="X"}': late(37)},
    ),
    Case(
        "MongoServerUnreachable",
        "another error, beside one of long ago",
        True,
        {
            'mongodb_client_server_selection_failures_total{error_type="X"}': gauge(1),
            'mongodb_client_server_selection_failures_total{error_type="Y"}': late(1),
        },
    ),
    Case(
        "MongoServerUnreachable",
        "after a restart under the same name",
        True,
        {'mongodb_client_server_selection_failures_total{error_type="X"}': "37x25 1x5"},
    ),
    Case(
        "MongoServerUnreachable",
        "it failed once, long ago",
        False,
        {'mongodb_client_server_selection_failures_total{error_type="X"}': gauge(1)},
    ),
    Case(
        "EventLoopBlocked",
        "too late",
        True,
        {
            'asyncio_eventloop_delay_max_seconds{asyncio_eventloop_thread="main"}': gauge(
                thresholds.LOOP_DELAY * ENOUGH
            )
        },
    ),
    Case(
        "EventLoopBlocked",
        "in time",
        False,
        {
            'asyncio_eventloop_delay_max_seconds{asyncio_eventloop_thread="main"}': gauge(
                thresholds.LOOP_DELAY * LITTLE
            )
        },
    ),
    Case(
        "ThreadPoolExhausted",
        "all busy, and a queue",
        True,
        {
            f"cpython_thread_pool_thread_busy{{{THREADS}}}": gauge(4),
            f"cpython_thread_pool_thread_limit{{{THREADS}}}": gauge(4),
            f"cpython_thread_pool_queue_length{{{THREADS}}}": gauge(1),
        },
    ),
    Case(
        "ThreadPoolExhausted",
        "work waited too long",
        True,
        {
            f"cpython_thread_pool_work_item_wait_max_seconds{{{THREADS}}}": gauge(
                thresholds.POOL_WAIT * ENOUGH
            )
        },
    ),
    Case(
        "ThreadPoolExhausted",
        "work waited a while",
        False,
        {
            f"cpython_thread_pool_work_item_wait_max_seconds{{{THREADS}}}": gauge(
                thresholds.POOL_WAIT * LITTLE
            )
        },
    ),
    Case(
        "ThreadPoolExhausted",
        "all busy, no queue",
        False,
        {
            f"cpython_thread_pool_thread_busy{{{THREADS}}}": gauge(4),
            f"cpython_thread_pool_thread_limit{{{THREADS}}}": gauge(4),
            f"cpython_thread_pool_queue_length{{{THREADS}}}": gauge(0),
        },
    ),
    Case(
        "ThreadPoolExhausted",
        "a queue, but a thread is free",
        False,
        {
            f"cpython_thread_pool_thread_busy{{{THREADS}}}": gauge(3),
            f"cpython_thread_pool_thread_limit{{{THREADS}}}": gauge(4),
            f"cpython_thread_pool_queue_length{{{THREADS}}}": gauge(1),
        },
    ),
    Case(
        "ShortOfMemory",
        "a limit: docs/memory.md, other workers have most of it, and tasks stall",
        True,
        {
            "process_memory_utilization_ratio": gauge(0.23),
            LEFT: gauge(12 * MIB),
            LIMIT: gauge(512 * MIB),
            LEFT_OF_MACHINE: gauge(6000 * MIB),
            USED: gauge(6144 * MIB),
            FREE: gauge(6144 * MIB),
            STALLED: counter(0.3),
        },
    ),
    Case(
        "ShortOfMemory",
        "a neighbour: docs/memory.md, no limit and no pressure files, and the machine reads back",
        True,
        {
            "process_memory_utilization_ratio": gauge(0.06),
            LEFT: gauge(120 * MIB),
            LEFT_OF_MACHINE: gauge(300 * MIB),
            USED: gauge(3284 * MIB),
            FREE: gauge(300 * MIB),
            MAJOR: counter(250),
        },
    ),
    Case(
        "ShortOfMemory",
        "a neighbour, and a limit that is far away",
        True,
        {
            LEFT: gauge(120 * MIB),
            LIMIT: gauge(512 * MIB),
            LEFT_OF_MACHINE: gauge(120 * MIB),
            USED: gauge(3464 * MIB),
            FREE: gauge(120 * MIB),
            MAJOR: counter(thresholds.MAJOR_FAULTS_PER_SECOND * ENOUGH),
        },
    ),
    Case(
        "ShortOfMemory",
        "not Linux: the machine's memory is all that is known",
        True,
        {
            LEFT: gauge(thresholds.MEMORY_LEFT * LITTLE * 1000 * MIB),
            USED: gauge(900 * MIB),
            FREE: gauge(100 * MIB),
            STALLED: counter(thresholds.MEMORY_STALLED * ENOUGH),
        },
    ),
    Case(
        "ShortOfMemory",
        "little is left, and nothing waits",
        False,
        {
            LEFT: gauge(thresholds.MEMORY_LEFT * LITTLE * 512 * MIB),
            LIMIT: gauge(512 * MIB),
            MAJOR: counter(thresholds.MAJOR_FAULTS_PER_SECOND * LITTLE),
            STALLED: counter(thresholds.MEMORY_STALLED * LITTLE),
        },
    ),
    Case(
        "ShortOfMemory",
        "enough is left, and the machine reads and waits",
        False,
        {
            LEFT: gauge(thresholds.MEMORY_LEFT * ENOUGH * 512 * MIB),
            LIMIT: gauge(512 * MIB),
            LEFT_OF_MACHINE: gauge(6000 * MIB),
            USED: gauge(6144 * MIB),
            FREE: gauge(6144 * MIB),
            MAJOR: counter(thresholds.MAJOR_FAULTS_PER_SECOND * ENOUGH),
            STALLED: counter(thresholds.MEMORY_STALLED * ENOUGH),
        },
    ),
    Case("KilledForMemory", "a kill", True, {OOM: counter(0.01)}),
    Case("KilledForMemory", "a kill before the first export", True, {OOM: late(1)}),
    Case("KilledForMemory", "none lately", False, {OOM: gauge(2)}),
    Case(
        "CpuThrottled",
        "too much",
        True,
        {"resinstr_container_cpu_throttled_time_seconds_total": counter(thresholds.CPU_THROTTLED * ENOUGH)},
    ),
    Case(
        "CpuThrottled",
        "little",
        False,
        {"resinstr_container_cpu_throttled_time_seconds_total": counter(thresholds.CPU_THROTTLED * LITTLE)},
    ),
    Case(
        "ShortOfDescriptors",
        "nearly all",
        True,
        {
            "process_unix_file_descriptor_count": gauge(thresholds.DESCRIPTORS * ENOUGH * 1000),
            "resinstr_process_file_descriptor_limit": gauge(1000),
        },
    ),
    Case(
        "ShortOfDescriptors",
        "many",
        False,
        {
            "process_unix_file_descriptor_count": gauge(thresholds.DESCRIPTORS * LITTLE * 1000),
            "resinstr_process_file_descriptor_limit": gauge(1000),
        },
    ),
    Case(
        "CollectorLosesTelemetry",
        "spans refused, points not queued",
        True,
        {
            'otelcol_exporter_send_failed_spans{exporter="otlp_grpc"}': counter(1),
            'otelcol_exporter_enqueue_failed_metric_points_total{exporter="otlp_grpc"}': counter(1),
        },
    ),
    Case(
        "CollectorLosesTelemetry",
        "one request, and the counter with it",
        True,
        {'otelcol_exporter_send_failed_spans{exporter="otlp_grpc"}': late(512)},
    ),
    Case(
        "CollectorLosesTelemetry",
        "some, long ago",
        False,
        {'otelcol_exporter_send_failed_spans{exporter="otlp_grpc"}': gauge(512)},
    ),
    Case(
        "CollectorLosesTelemetry",
        "all sent",
        False,
        {'otelcol_exporter_send_failed_spans{exporter="otlp_grpc"}': gauge(0)},
    ),
    Case(
        "CollectorRefusesTelemetry",
        "short of memory",
        True,
        {
            'otelcol_receiver_refused_spans_total{receiver="otlp"}': counter(1),
            'otelcol_receiver_refused_log_records_total{receiver="otlp"}': gauge(0),
        },
    ),
    Case(
        "CollectorRefusesTelemetry",
        "one request, and the counter with it",
        True,
        {'otelcol_receiver_refused_spans_total{receiver="otlp"}': late(512)},
    ),
    Case(
        "CollectorRefusesTelemetry",
        "all taken",
        False,
        {'otelcol_receiver_refused_spans_total{receiver="otlp"}': gauge(0)},
    ),
]


def test_each_alert_is_tested_both_ways() -> None:
    """Where it has to fire, and close by, where it must not."""
    tested = {(case.alert, case.fires) for case in CASES}

    assert tested == {(name, fires) for name in ALERTS for fires in (True, False)}


def as_promtool(case: Case) -> dict[str, Any]:
    """*case* in promtool's form: after a quarter of an hour it fires once, or not at all."""
    return {
        "name": f"{case.alert}: {case.says}",
        "interval": INTERVAL,
        "input_series": [
            {"series": _with_identity(series), "values": values} for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}}) or vector(0)',
                "eval_time": "15m",
                "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
            },
            # And no other alert.
            {
                "expr": f'count(ALERTS{{alertname!="{case.alert}", alertstate="firing"}}) or vector(0)',
                "eval_time": "15m",
                "exp_samples": [{"labels": "{}", "value": 0}],
            },
        ],
    }


def _with_identity(series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{job="shop", instance="1", {labels or "}"}'


def test_each_alert_fires_where_it_should_and_nowhere_else(prometheus_programs: Path, tmp_path: Path) -> None:
    """promtool runs the shipped rules on a quarter of an hour of synthetic series for each case."""
    file = tmp_path / "tests.yaml"
    rules = [str(FOLDER / name) for name in ("rules.yaml", "alerts.yaml")]
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": rules,
                "evaluation_interval": INTERVAL,
                "group_eval_order": [
                    "resinstr-figures",
                    "resinstr-collector-figures",
                    "resinstr-suspects",
                    "resinstr-collector",
                ],
                "tests": [as_promtool(case) for case in CASES],
            }
        )
    )

    checked = _promtool(prometheus_programs, "check", "rules", *rules)
    tested = _promtool(prometheus_programs, "test", "rules", str(file))

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


def _promtool(programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs / "promtool", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
