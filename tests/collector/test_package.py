# SPDX-License-Identifier: Apache-2.0
"""
What the package sends, through each configuration: what comes out is what went in, in the back end's own terms.

An application's requests are recorded once; they are sent again, as they are, to each Collector. So what has to come
out follows from what is on the disk of `local-debug`, exactly and whole.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingestion import Ingestion
from launched import EXAMPLES, LAUNCHER, Program, environment, settings
from mongo import Server, eventually, sockets_to
from otelcol import COLLECTOR, Collector, exposed, running
from promql import exposed_name, label, parsed
from received import KINDS, attributes, points

CONFIG = COLLECTOR / "config"
PREFIX = {"metrics": "resourceMetrics", "traces": "resourceSpans", "logs": "resourceLogs"}
SCOPED = {"metrics": "scopeMetrics", "traces": "scopeSpans", "logs": "scopeLogs"}
RECORDS = {"metrics": "metrics", "traces": "spans", "logs": "logRecords"}

pytestmark = pytest.mark.usefixtures("otelcol")


@pytest.fixture
def run(otelcol: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a Collector of a name in a folder of its own: `run("gateway", {"NAME": "value"}, over=["add-mongodb"])`."""

    @contextmanager
    def run(
        name: str, environ: dict[str, str] | None = None, over: tuple[str, ...] = ()
    ) -> Iterator[Collector]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        files = [CONFIG / f"{each}.yaml" for each in (name, *over)]
        with running(otelcol, files, folder, environ or {}) as collector:
            yield collector

    return run


def records(requests: list[dict[str, Any]], signal: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each metric, span or log record of *requests*, with the attributes of its resource."""
    for request in requests:
        for resource in request[PREFIX[signal]]:
            for scope in resource[SCOPED[signal]]:
                for record in scope[RECORDS[signal]]:
                    yield attributes(resource["resource"]), record


def send_all(collector: Collector, requests: dict[str, list[dict[str, Any]]]) -> None:
    """Send what was recorded, in its order; each request is accepted."""
    for signal, sent in requests.items():
        assert {collector.send(signal, request) for request in sent} == {200}


def as_if_now(value: Any, later: int) -> Any:
    """*value* with each of its times *later* by so many nanoseconds."""
    if isinstance(value, dict):
        return {
            key: str(int(item) + later) if key.lower().endswith("timeunixnano") else as_if_now(item, later)
            for key, item in value.items()
        }
    return [as_if_now(item, later) for item in value] if isinstance(value, list) else value


def value_of(point: dict[str, Any]) -> float:
    return float(point["asDouble"]) if "asDouble" in point else int(point["asInt"])


def as_label(value: Any) -> str:
    """The value of an attribute, in a label: a list (an old SDK's arguments of the command) is JSON."""
    if isinstance(value, dict):
        return json.dumps([item["stringValue"] for item in value["values"]], separators=(",", ":"))
    return str(value)


def in_prometheus(requests: list[dict[str, Any]]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape has to show after *requests*: the last value of each series, by name and labels."""
    series: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for resource, metric in records(requests, "metrics"):
        identity = {"job": resource["service.name"], "instance": resource["service.instance.id"]}
        rest = {
            label(key): as_label(value)
            for key, value in resource.items()
            if key not in ("service.name", "service.instance.id")
        }
        series["target_info", frozenset({**identity, **rest}.items())] = 1
        name = exposed_name(metric)
        for point in points(metric):
            labels = {**identity, **{label(key): str(value) for key, value in attributes(point).items()}}
            if "histogram" not in metric:
                series[name, frozenset(labels.items())] = value_of(point)
                continue
            series[f"{name}_count", frozenset(labels.items())] = int(point["count"])
            series[f"{name}_sum", frozenset(labels.items())] = point["sum"]
            below = 0
            for bound, count in zip([*point["explicitBounds"], math.inf], point["bucketCounts"], strict=True):
                below += int(count)
                le = "+Inf" if bound == math.inf else f"{bound:g}"
                series[f"{name}_bucket", frozenset({**labels, "le": le}.items())] = below
    return series


def test_prometheus_shows_the_last_value_of_each_series(recorded, run) -> None:
    """
    Every series of every metric, with its unit in the name and its attributes as labels, and nothing else.

    `job` and `instance` are the service and the process; the rest of the resource is in `target_info`, once.
    """
    with run("local-prometheus") as collector:
        send_all(collector, recorded.requests)
        text = exposed(f"http://{collector.prometheus}/metrics")
        shown = collector.stdout()

    wanted = in_prometheus(recorded.requests["metrics"])
    found = parsed(text)
    assert set(found) == set(wanted)
    assert found == pytest.approx(wanted)
    assert "mongodb.client.create" in shown  # spans and events are printed


def test_prometheus_knows_the_type_of_each_metric(recorded, run) -> None:
    """A counter is one only if it never goes down; what goes both ways is a gauge."""
    with run("local-prometheus") as collector:
        send_all(collector, {"metrics": recorded.requests["metrics"]})
        text = exposed(f"http://{collector.prometheus}/metrics")

    wanted = {"target_info": "gauge"}
    for _, metric in records(recorded.requests["metrics"], "metrics"):
        monotonic = metric.get("sum", {}).get("isMonotonic", False)
        kind = "histogram" if "histogram" in metric else "counter" if monotonic else "gauge"
        wanted[exposed_name(metric)] = kind
    assert dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)) == wanted


Values = dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, int]]]


def in_azure(requests: list[dict[str, Any]], *, older: bool) -> Values:
    """
    What Azure has to get for *requests*: (value, count) of each series, one for each point.

    Of an application that is *older* than the Collector nobody knows since when it counts: its first values are the
    base of the next ones.
    """
    sent: Values = defaultdict(list)
    former: dict[Any, tuple[float, int]] = {}
    for resource, metric in records(requests, "metrics"):
        for point in points(metric):
            key = metric["name"], frozenset((name, str(value)) for name, value in attributes(point).items())
            histogram = "histogram" in metric
            value, count = (point["sum"], int(point["count"])) if histogram else (value_of(point), 1)
            if histogram or metric.get("sum", {}).get("isMonotonic"):
                series = (resource["service.instance.id"], *key)
                if series not in former and older:
                    former[series] = value, count
                    continue
                before, count_before = former.get(series, (0, 0))
                former[series] = value, count
                value, count = value - before, count - count_before if histogram else 1
            sent[key].append((value, count))
    return sent


@pytest.mark.parametrize("older", [False, True], ids=["a new application", "one older than the Collector"])
def test_azure_gets_counters_as_deltas_and_counts_as_they_are(
    recorded, run, ingestion: Ingestion, older: bool
) -> None:
    """
    Counters and histograms are what came since the point before; connections, clients and bytes are what they are.

    Role and instance are the service and the process, on every envelope. A span becomes a dependency, an event a
    message; no number of anything is lost on the way.
    """
    with run(
        "azure-gateway", {"APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string}
    ) as collector:
        later = 0 if older else time.time_ns() - recorded.since
        requests = as_if_now(recorded.requests, later)
        send_all(collector, requests)
        wanted = in_azure(requests["metrics"], older=older)
        spans = [span for _, span in records(requests["traces"], "traces")]
        events = [record["body"]["stringValue"] for _, record in records(requests["logs"], "logs")]
        total = sum(map(len, wanted.values())) + len(spans) + len(events)
        eventually(lambda: len(ingestion.envelopes) >= total, 30)
        code = collector.stop()

    assert code == 0
    assert len(ingestion.envelopes) == total
    ((resource, _), *_) = records(requests["metrics"], "metrics")
    assert {
        (envelope["tags"]["ai.cloud.role"], envelope["tags"]["ai.cloud.roleInstance"])
        for envelope in ingestion.envelopes
    } == {("shop", resource["service.instance.id"])}

    added = {"deployment.environment.name", "instrumentationlibrary.name", "instrumentationlibrary.version"}
    metrics: Values = defaultdict(list)
    for envelope in ingestion.of("MetricData"):
        data = envelope["data"]["baseData"]
        (metric,) = data["metrics"]
        properties = {
            pair for pair in data["properties"].items() if pair[0] not in added and pair[0] not in resource
        }
        metrics[metric["name"], frozenset(properties)].append((metric["value"], metric["count"]))
    assert set(metrics) == set(wanted)
    for key, values in wanted.items():
        assert sorted(metrics[key]) == [pytest.approx(each) for each in sorted(values)], key

    assert {KINDS[span["kind"]] for span in spans} <= {"INTERNAL", "CLIENT"}
    dependencies = [envelope["data"]["baseData"] for envelope in ingestion.of("RemoteDependencyData")]
    assert Counter(each["name"] for each in dependencies) == Counter(span["name"] for span in spans)
    assert {each["properties"]["process.pid"] for each in dependencies} == {str(resource["process.pid"])}

    messages = [envelope["data"]["baseData"]["message"] for envelope in ingestion.of("MessageData")]
    assert sorted(messages) == sorted(events)


def test_the_gateway_hands_on_what_it_got(recorded, run) -> None:
    """Each point, span and event arrives at the next Collector as it was, once, whatever was batched between."""
    with run("local-debug") as back_end:
        onwards = {"GATEWAY_ENDPOINT": back_end.grpc, "GATEWAY_PLAIN_TEXT": "true"}
        with run("gateway", onwards) as gateway:
            send_all(gateway, recorded.requests)
            assert gateway.stop() == 0  # it hands over what it still has before it ends
        arrived = {signal: back_end.requests(signal) for signal in recorded.requests}

    for signal, sent in recorded.requests.items():
        assert Counter(map(repr, _flat(arrived[signal], signal))) == Counter(
            map(repr, _flat(sent, signal))
        ), signal


def _flat(requests: list[dict[str, Any]], signal: str) -> Iterator[Any]:
    """Records with their resource; a metric in its points, since a batch may cut between two."""
    for resource, record in records(requests, signal):
        if signal != "metrics":
            yield resource, record
            continue
        for point in points(record):
            yield resource, record["name"], record.get("unit"), point


def test_the_servers_and_the_hosts_view_are_beside_ours(otelcol, server: Server, run, tmp_path) -> None:
    """
    The three views of one process agree to the last connection, thread and descriptor.

    The server counts what our clients hold, the monitors' sockets included, and what the overlay itself holds to
    ask: that is the gap between the panels. The host counts the threads that the process reports, and its name
    for them is another.
    """
    asked = {
        "MONGODB_ENDPOINT": server.pool_name,
        "MONGODB_INTERVAL": "1s",
        "HOST_PROCESS_INTERVAL": "1s",
        "HOST_PROCESSES": "^python",
    }
    with run("local-prometheus", asked, over=("add-mongodb", "add-host-process")) as collector:
        program = Program(
            [LAUNCHER, sys.executable, EXAMPLES / "zero_code" / "app.py", "shared", "300"],
            tmp_path,
            environment(HOME=str(tmp_path), MONGODB_URI=server.uri, **settings(collector, "http/protobuf")),
        )
        pid = program.process.pid

        def views() -> dict[str, Any]:
            assert program.process.poll() is None, program.err.read_text()
            found = parsed(exposed(f"http://{collector.prometheus}/metrics"))

            def one(name: str, **labels: str) -> float:
                values = [
                    value
                    for (found_name, found_labels), value in found.items()
                    if found_name == name and set(labels.items()) <= found_labels
                ]
                return sum(values) if values else -1

            return {
                "server": [one("mongodb_connection_count", job="mongodb", type="current")],
                "copies": sum(
                    name == "mongodb_connection_count" and ("type", "current") in labels
                    for name, labels in found
                ),
                "ours": one("mongodb_client_socket_count", job="shop"),
                "threads": one("process_thread_count", job="shop"),
                "host threads": one("host_process_threads", job="host", process_pid=str(pid)),
                "host paging": one("host_system_paging_faults_total", job="host") > 0,
            }

        def agree() -> dict[str, Any] | None:
            shown = views()
            theirs = {
                "server": [
                    sum(sockets_to(server.port, each) for each in (pid, collector.process.pid, "self"))
                ],
                "copies": 1,
                "ours": sockets_to(server.port, pid),
                "threads": shown["host threads"],
                "host threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
                "host paging": True,
            }
            return shown if shown == theirs and shown["ours"] > 0 else None

        try:
            eventually(agree, 90)
        finally:
            program.kill()
