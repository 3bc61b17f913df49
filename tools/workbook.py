# SPDX-License-Identifier: Apache-2.0
"""Writes the Azure workbook `collector/azure/workbook.json` from the queries beside it; with --check, compares.

The first three lines of a query are its title, what it says, and how it is shown (`table` or `timechart`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "collector" / "azure"
INTRODUCTION = """\
# Which suspect is it?

What `otel-resinstr` reports of Python services with MongoDB. Start with the suspects; what is below says why.
"""


class Query(NamedTuple):
    """A query, and what its head says of it."""

    name: str
    title: str
    says: str
    shown: str
    text: str


def queries(folder: Path) -> list[Query]:
    """The queries of *folder*, in the order of their names."""
    found = []
    for file in sorted((folder / "queries").glob("*.kql")):
        text = file.read_text(encoding="utf-8")
        title, says, shown = (line.removeprefix("// ") for line in text.splitlines()[:3])
        found.append(Query(file.stem, title, says, shown, text))
    return found


def workbook(folder: Path) -> dict[str, Any]:
    """What Azure takes as the template of a workbook ("Advanced editor", "Gallery template")."""
    time_range = {
        "id": "time",
        "version": "KqlParameterItem/1.0",
        "name": "TimeRange",
        "label": "Time",
        "type": 4,
        "isRequired": True,
        "value": {"durationMs": 3600000},
        "typeSettings": {
            "selectableValues": [{"durationMs": hours * 3600000} for hours in (1, 4, 12, 24, 72, 168)],
            "allowCustom": True,
        },
    }
    return {
        "version": "Notebook/1.0",
        "items": [
            {"type": 1, "content": {"json": INTRODUCTION}, "name": "introduction"},
            {
                "type": 9,
                "content": {"version": "KqlParameterItem/1.0", "parameters": [time_range], "style": "pills"},
                "name": "parameters",
            },
            *(_item(query) for query in queries(folder)),
        ],
        "$schema": "https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json",
    }


def _item(query: Query) -> dict[str, Any]:
    return {
        "type": 3,
        "content": {
            "version": "KqlItem/1.0",
            "query": query.text,
            "size": 0,
            "title": query.title,
            "noDataMessage": f"Nothing of it arrived. {query.says}",
            "timeContextFromParameter": "TimeRange",
            "queryType": 0,
            "resourceType": "microsoft.insights/components",
            "visualization": query.shown,
        },
        "name": query.name,
    }


def main(arguments: list[str], folder: Path = FOLDER) -> None:
    """Write it, or compare it with what is there."""
    if arguments not in ([], ["--check"]):
        sys.exit("usage: workbook.py [--check]")
    file = folder / "workbook.json"
    wanted = json.dumps(workbook(folder), indent=1) + "\n"
    if arguments and wanted != file.read_text(encoding="utf-8"):
        sys.exit("workbook.json is not what the queries say: run python tools/workbook.py")
    file.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
