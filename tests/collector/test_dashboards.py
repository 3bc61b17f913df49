# SPDX-License-Identifier: Apache-2.0
"""
What the dashboards, rules and alerts ask for is there: each of their expressions, in a real Prometheus.

Nobody opens them in Grafana here: what Grafana draws is not tested, only what it is told to draw.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mongo import Server, eventually
from otel_resinstr.semconv import METRICS, Kind, Metric
from otelcol import COLLECTOR, exposed
from otelcol import running as running_collector
from prometheus import Prometheus
from prometheus import running as running_prometheus
from promql import name_of, parsed

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((COLLECTOR / "grafana").glob("*.json"))
RULES = COLLECTOR / "prometheus"


# The first of them starts three programs, and a busy machine may take its time for each.
waits_long = pytest.mark.timeout(400)

# What the overlays and the Collector bring.
THEIRS = re.compile(r"mongodb_connection_count|host_process_memory_(usage|virtual)_bytes|resinstr:.+")

# Attributes of which an expression picks a value.
PICKED = {
    "resinstr.container.memory.event": "oom_kill",
    "resinstr.pressure.kind": "some",
    "resinstr.pressure.resource": "memory",
    "system.paging.fault.type": "major",
}


def exposed_names(metric: Metric) -> set[str]:
    """The names of the series that a metric becomes."""
    base = name_of(
        metric.name,
        metric.unit,
        monotonic=metric.kind is Kind.OBSERVABLE_COUNTER,
        gauge=metric.kind is Kind.OBSERVABLE_GAUGE,
    )
    if metric.kind is Kind.HISTOGRAM:
        return {f"{base}_bucket", f"{base}_count", f"{base}_sum"}
    return {base}


def panels(file: Path) -> list[dict[str, Any]]:
    """The graphs of a dashboard."""
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def rules() -> dict[str, str]:
    """The expressions of the recording rules and alerts, by name."""
    return {
        rule.get("record") or rule["alert"]: rule["expr"]
        for file in ("rules.yaml", "alerts.yaml")
        for group in yaml.safe_load((RULES / file).read_text())["groups"]
        for rule in group["rules"]
    }


EXPRESSIONS = {
    **{
        f"{file.stem}: {panel['title']} {target['refId']}": target["expr"]
        for file in DASHBOARDS
        for panel in panels(file)
        for target in panel["targets"]
    },
    **rules(),
}


def names_in(expression: str) -> set[str]:
    """The metrics that *expression* asks for."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|(by|on) \([^)]*\)', " ", expression)
    found = re.findall(r"[A-Za-z_:][\w:]*\b(?!\s*\()", bare)
    return {name for name in found if name not in ("and", "or", "unless", "offset", "m")}


@pytest.fixture(scope="module")
def tool() -> Any:
    """The program that writes the dashboards."""
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "tools" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["dashboards"] = module  # where dataclasses look for the types that they name
    spec.loader.exec_module(module)
    return module


def test_the_dashboards_are_what_the_tool_writes(tool: Any, tmp_path: Path) -> None:
    """Whoever changes a panel runs `python tools/dashboards.py`; a file that was changed by hand is noticed."""
    tool.main(["--check"])

    tool.main([], tmp_path)
    assert [file.name for file in DASHBOARDS] == sorted(file.name for file in tmp_path.glob("*"))
    (tmp_path / "process.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"process\.json is not what the code says"):
        tool.main(["--check"], tmp_path)
    with pytest.raises(SystemExit, match="usage"):
        tool.main(["--chek"])


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_each_panel_can_be_read_by_somebody_new(file: Path) -> None:
    """It has a title, a unit and a reason; its data source is the one that is chosen above."""
    dashboard = json.loads(file.read_text())

    titles = [panel["title"] for panel in panels(file)]
    assert len(titles) == len(set(titles))
    for panel in panels(file):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len(panel["description"]) > 15, panel["title"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        assert all(target["legendFormat"] for target in panel["targets"])
    (source, *others) = dashboard["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert [variable["name"] for variable in others] == ["job", "instance"]
    assert {variable["datasource"]["uid"] for variable in others} == {"${datasource}"}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_no_two_panels_share_a_place(file: Path) -> None:
    """Nothing lies over anything else, and all of it is within Grafana's 24 columns."""
    cells = [
        (x, y)
        for panel in json.loads(file.read_text())["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_each_metric_of_the_package_has_a_panel() -> None:
    """A metric that nobody can see is of no use: a new one is entered in tools/dashboards.py."""
    asked = set().union(*map(names_in, EXPRESSIONS.values()))

    without = {metric.name for metric in METRICS if not exposed_names(metric) & asked}

    assert without == set()


def test_nothing_is_asked_for_that_nobody_reports() -> None:
    """Each name is one of the package's, with its unit, or of an overlay, or recorded by a rule."""
    known = set().union(*map(exposed_names, METRICS)) | set(rules())
    asked = set().union(*map(names_in, EXPRESSIONS.values()))

    assert {name for name in asked - known if not THEIRS.fullmatch(name)} == set()


def test_legends_name_labels_that_are_there() -> None:
    """A label in a legend is one that the expression keeps, or the legend would be the same for all."""
    for file in DASHBOARDS:
        for panel in panels(file):
            for target in panel["targets"]:
                kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
                shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                assert shown <= kept, panel["title"]


def everything(count: int) -> dict[str, Any]:
    """A request of a process that reports every metric there is, for the *count*th time."""
    now = str(time.time_ns())
    metrics = []
    for metric in METRICS:
        point: dict[str, Any] = {
            "attributes": [
                {"key": key, "value": {"stringValue": PICKED.get(key, "x")}} for key in metric.attributes
            ],
            "startTimeUnixNano": "1",
            "timeUnixNano": now,
        }
        data: dict[str, Any] = {"dataPoints": [point]}
        if metric.kind is Kind.HISTOGRAM:
            point |= {"count": str(count), "sum": 0.1 * count, "explicitBounds": [1.0]}
            point["bucketCounts"] = [str(count), "0"]
            kind, data["aggregationTemporality"] = "histogram", 2
        elif metric.kind is Kind.OBSERVABLE_GAUGE:
            kind, point["asDouble"] = "gauge", 0.5
        else:
            kind, point["asInt"] = "sum", str(count)
            data |= {"aggregationTemporality": 2, "isMonotonic": metric.kind is Kind.OBSERVABLE_COUNTER}
        metrics.append({"name": metric.name, "unit": metric.unit, kind: data})
    identity = {"service.name": "everything", "service.instance.id": "1"}
    resource = [{"key": key, "value": {"stringValue": value}} for key, value in identity.items()]
    return {
        "resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [{"metrics": metrics}]}]
    }


@pytest.fixture(scope="module")
def scraped(
    otelcol: Path,
    prometheus_programs: Path,
    recorded: Any,
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """
    A Prometheus with the shipped configuration that has scraped the Collector with both overlays for some seconds.

    Two processes report to it: the recorded application, as it did, and one that reports all metrics there are.
    """
    folder = tmp_path_factory.mktemp("scraped")
    files = [COLLECTOR / "config" / f"{name}.yaml" for name in ("local-prometheus", "add-mongodb")]
    files.append(COLLECTOR / "config" / "add-host-process.yaml")
    environment = {
        "MONGODB_ENDPOINT": server.pool_name,
        "MONGODB_INTERVAL": "1s",
        "HOST_PROCESS_INTERVAL": "1s",
    }
    with running_collector(otelcol, files, folder, environment) as collector:
        replaced = {
            "127.0.0.1:9464": collector.prometheus,
            "127.0.0.1:13134": collector.metrics,
            "15s": "1s",
        }
        with running_prometheus(
            prometheus_programs, RULES / "prometheus.yaml", folder, replaced
        ) as prometheus:
            requests = recorded.requests["metrics"]
            for number in range(4):
                # The last ones have everything that the application ever reported.
                assert collector.send("metrics", requests[len(requests) - 4 + number]) == 200
                assert collector.send("metrics", everything(number + 1)) == 200
                scrapes = _scrapes(prometheus)
                eventually(lambda before=scrapes: _scrapes(prometheus) > before, 60)
            eventually(lambda: prometheus.query("mongodb_connection_count"), 60)
            assert parsed(exposed(f"http://{collector.prometheus}/metrics"))
            wanted = {name for name in rules() if ":" in name} - NOT_YET
            with contextlib.suppress(AssertionError):
                eventually(lambda: wanted <= _recorded_names(prometheus), 90)
            assert _recorded_names(prometheus) == wanted
            yield prometheus


# The Collector has no series of what was lost before something is; tests/collector/test_failures.py loses something.
NOT_YET = {"resinstr:collector_lost:increase5m", "CollectorLosesTelemetry"}


def _recorded_names(prometheus: Prometheus) -> set[str]:
    return {series["metric"]["__name__"] for series in prometheus.query('{__name__=~"resinstr:.+"}')}


def _scrapes(prometheus: Prometheus) -> float:
    found = prometheus.query('count_over_time(up{job="applications"}[5m])')
    return float(found[0]["value"][1]) if found else 0.0


def asked_now(expression: str, job: str = ".+") -> str:
    """
    *expression* with the variables filled in, that has series also where nothing is wrong.

    A comparison leaves out what it does not hold for; with `bool` it says 0 or 1 for each.
    """
    filled = (
        expression.replace("$__rate_interval", "1m")
        .replace('"$job"', f'"{job}"')
        .replace('"$instance"', '".+"')
    )
    return re.sub(r"([<>]=?) ", r"\1 bool ", filled).replace("offset 5m", "offset 1s")


@waits_long
def test_each_expression_has_series(scraped: Prometheus) -> None:
    """Of a process that reports all there is, no panel, rule or alert is empty."""
    empty = [
        name
        for name, expression in EXPRESSIONS.items()
        if name not in NOT_YET and not scraped.query(asked_now(expression))
    ]

    assert empty == []


@waits_long
def test_each_panel_shows_what_the_application_reported(scraped: Prometheus) -> None:
    """Of the recorded application each panel has series for which it reported what the panel asks for."""
    reported = {
        series["metric"]["__name__"] for series in scraped.query('{job="shop", __name__!~"resinstr:.+"}')
    }
    assert len(reported) > 30

    shown, empty = 0, []
    for name, expression in EXPRESSIONS.items():
        if "$job" in expression and names_in(expression) <= reported:
            shown += 1
            if not scraped.query(asked_now(expression, "shop")):
                empty.append(name)
    assert empty == []
    assert shown > 20
