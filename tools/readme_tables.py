# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of README.md and docs/doctor.md from what the code says of itself; with --check, fails where
they differ.

What stands between `<!-- metrics -->` and `<!-- /metrics -->`, `events`, `settings` and `findings` likewise, is
replaced.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from otel_resinstr.doctor.checks import CHECKS, kinds
from otel_resinstr.semconv import EVENTS, METRICS, SPANS, Event, Metric, Origin, Span
from otel_resinstr.settings import Settings

README = Path(__file__).parents[1] / "README.md"
DOCTOR = Path(__file__).parents[1] / "docs" / "doctor.md"


def metrics() -> str:
    """A table of the metrics for each subject, with a row for each metric in the order of the records."""
    parts = []
    for subject, of_subject in groupby(METRICS, key=lambda metric: metric.probe.partition(".")[0]):
        rows = [metric_row(metric) for metric in of_subject]
        parts.append(
            f"**{subject}**\n\n{table(('probe', 'metric', 'instrument', 'unit', 'says', 'origin'), rows)}"
        )
    return "\n".join(parts)


def metric_row(metric: Metric) -> tuple[str, ...]:
    """What the README says of *metric*."""
    says = metric.description
    if metric.attributes:
        says += " By " + ", ".join(map(code, metric.attributes)) + "."
    if metric.sometimes:
        says += " Where there is one, by " + ", ".join(map(code, metric.sometimes)) + "."
    origin = metric.origin.value
    if metric.origin is Origin.OURS:
        origin += f", after {metric.precedent}"
    return code(metric.probe), code(metric.name), metric.kind.value, metric.unit, says, origin


def events() -> str:
    """A table of the spans and the events."""
    records: tuple[Span | Event, ...] = (*SPANS, *EVENTS)
    rows = [
        (
            "any" if record.probe == "*" else code(record.probe),
            "event" if isinstance(record, Event) else "span",
            code(record.name),
            record.description,
        )
        for record in records
    ]
    return table(("probe", "", "name", "says"), rows)


def settings() -> str:
    """A table of the settings."""
    rows = [
        (
            code(setting.metadata["variable"]),
            shown(setting),
            setting.metadata["accepts"],
            setting.metadata["meaning"],
        )
        for setting in dataclasses.fields(Settings)
    ]
    return table(("variable", "default", "accepts", "meaning"), rows)


def shown(setting: dataclasses.Field[object]) -> str:
    """A default as it would be written into the environment."""
    if isinstance(setting.default, bool):
        return str(int(setting.default)) if setting.metadata["accepts"].startswith("1 or ") else "nothing"
    if isinstance(setting.default, tuple):
        return ",".join(setting.default) or "nothing"
    return "nothing" if setting.default is None else str(setting.default)


def code(text: str) -> str:
    """*text* as Markdown shows names."""
    return f"`{text}`"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def findings() -> str:
    """A table for each theme of what the doctor may find."""
    parts = []
    for theme in CHECKS:
        rows = [
            (code(kind.id), kind.severity.value, words(kind.what), words(kind.remedy))
            for kind in kinds(theme)
        ]
        says = (theme.__doc__ or "").strip()
        parts.append(
            f"**{theme.__name__.rpartition('.')[2]}**: {says}\n\n{table(('id', '', 'what', 'remedy'), rows)}"
        )
    return "\n".join(parts)


def words(template: str) -> str:
    """*template* with what differs from case to case in italics."""
    return re.sub(r"\{(\w+)[^}]*\}", r"*\1*", template)


TABLES = {"metrics": metrics, "events": events, "settings": settings}
FINDINGS = {"findings": findings}


def with_tables(text: str, tables: dict[str, Callable[[], str]], page: str) -> str:
    """*text* with the tables as they have to be; fails where a marker is missing or is there twice."""
    for name, made in tables.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(between.findall(text)) != 1:
            sys.exit(f"{page}: <!-- {name} --> and <!-- /{name} --> have to be there once")
        inner = made()
        text = between.sub(lambda found, inner=inner: found[1] + inner + found[2], text)
    return text


def main(arguments: list[str], readme: Path = README, doctor: Path = DOCTOR) -> None:
    """Write or check *readme* and *doctor*."""
    if arguments not in ([], ["--check"]):
        sys.exit("usage: python tools/readme_tables.py [--check]")
    for page, tables in ((readme, TABLES), (doctor, FINDINGS)):
        text = page.read_text(encoding="utf-8")
        wanted = with_tables(text, tables, page.name)
        if arguments and wanted != text:
            sys.exit(f"{page.name} is not what the code says: run python tools/readme_tables.py")
        if not arguments and wanted != text:  # others may be reading it
            page.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
