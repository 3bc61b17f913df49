# SPDX-License-Identifier: Apache-2.0
"""
The queries and the workbook for Azure, as far as a machine without Azure can tell: nothing was run there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from otel_resinstr import semconv
from otel_resinstr.explain import thresholds
from otel_resinstr.semconv import METRICS
from otelcol import COLLECTOR

ROOT = Path(__file__).parents[2]
KQL = ROOT / "tests" / "kql"
QUERIES = {file.stem: file.read_text() for file in sorted((COLLECTOR / "azure" / "queries").glob("*.kql"))}
# Names of metrics stand in comparisons of the column `name`.
NAMES = re.compile(r"\bname (?:==|in) (\(.*?\)|\"[^\"]+\")", re.DOTALL)


@pytest.fixture(scope="module")
def kusto() -> Path:
    """The folder of Microsoft's parser, with what it needs from npm."""
    if not (KQL / "node_modules").exists():
        if "CI" not in os.environ:
            pytest.skip("NO KQL PARSER: run `npm install --no-package-lock` in tests/kql")
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=KQL, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stderr
    return KQL


def diagnosed(kusto: Path, queries: dict[str, str]) -> dict[str, list[str]]:
    """What the parser finds wrong with each."""
    done = subprocess.run(
        ["node", kusto / "check.js"],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_microsofts_parser_takes_each_query(kusto: Path) -> None:
    """Against the columns that Application Insights documents; a name that is in no table is an error."""
    wrong = {"table": "nothing | take 1", "column": "traces | where nme == 1", "syntax": "traces | | take"}

    found = diagnosed(kusto, {**QUERIES, **wrong})

    assert {name: found[name] for name in QUERIES} == {name: [] for name in QUERIES}
    assert [name for name in wrong if not found[name]] == []


@pytest.mark.parametrize("query", QUERIES)
def test_queries_ask_for_what_the_package_reports(query: str) -> None:
    """Metrics by their names, attributes by their keys."""
    text = QUERIES[query]
    names = {name for found in NAMES.findall(text) for name in re.findall(r'"([^"]+)"', found)}
    keys = set(re.findall(r'customDimensions\["([^"]+)"\]', text))
    attributes = {key for metric in METRICS if metric.name in names for key in metric.attributes}

    assert names <= {metric.name for metric in METRICS}
    theirs = {"instrumentationlibrary.name", "logger_name", "db.system.name", semconv.RESINSTR_EVENT_MESSAGE}
    assert keys - attributes <= theirs


def test_the_suspects_have_the_thresholds_of_the_diagnosis() -> None:
    """One table for the alerts, the diagnosis and this query; five minutes are 300 seconds."""
    text = QUERIES["01-suspects"].partition("extend suspects")[2]

    found = tuple(float(number) for number in re.findall(r"[<>]=? ([\d.]+)", text))

    assert found == (
        thresholds.CHURN_CLIENTS_PER_MINUTE,
        thresholds.CHURN_SHARE_ENDED,
        thresholds.GROWTH_CLIENTS,
        thresholds.CONNECTION_WAIT,
        thresholds.CONNECTION_TIMEOUTS,
        thresholds.SERVER_SELECTION_FAILURES,
        thresholds.LOOP_DELAY,
        0,  # windows of a pool in which it was exhausted; the next test
        thresholds.MEMORY_LEFT,
        thresholds.MAJOR_FAULTS_PER_SECOND,
        thresholds.MEMORY_STALLED,
        thresholds.OOM_KILLS,
        thresholds.CPU_THROTTLED,
        thresholds.DESCRIPTORS,
        0,  # the number of suspects
    )


def test_an_exhausted_pool_is_one_by_the_same_thresholds() -> None:
    """Work that waited for long, or all threads busy and a queue."""
    assert (
        f"waited >= {thresholds.POOL_WAIT:g}"
        f" or (busy / most >= {thresholds.POOL_BUSY:g} and queued > {thresholds.POOL_QUEUED})"
    ) in QUERIES["01-suspects"]


def test_no_query_takes_the_extremes_of_a_point() -> None:
    """The Collector's exporter sends 0 as the smallest and the largest of each point."""
    assert [name for name, text in QUERIES.items() if re.search("valueM(in|ax)", text)] == []


def test_the_workbook_is_made_of_the_queries(tmp_path: Path) -> None:
    """Each is in it once, with its title; whoever changes a query runs `python tools/workbook.py`."""
    tool = _tool()

    tool.main(["--check"])
    items = json.loads((COLLECTOR / "azure" / "workbook.json").read_text())["items"]
    shown = [item["content"] for item in items if item["type"] == 3]
    assert [item["query"] for item in shown] == list(QUERIES.values())
    assert {item["visualization"] for item in shown} == {"table", "timechart"}
    assert len({item["title"] for item in shown}) == len(QUERIES)
    with pytest.raises(SystemExit, match="usage"):
        tool.main(["--chek"])
    (tmp_path / "queries").mkdir()
    (tmp_path / "workbook.json").write_text("{}")
    with pytest.raises(SystemExit, match="is not what the queries say"):
        tool.main(["--check"], tmp_path)


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("workbook", ROOT / "tools" / "workbook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
