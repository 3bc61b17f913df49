# SPDX-License-Identifier: Apache-2.0
"""Which packages are installed where the command runs, and whether they go together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from otel_resinstr.doctor.finding import ERROR, WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

NOT_INSTALLED = Kind(
    "versions.not-installed",
    ERROR,
    "otel-resinstr is not installed where the command runs.",
    "Install it there: {interpreter} -m pip install 'otel-resinstr[otlp,mongodb]'",
)
NO_SDK = Kind(
    "versions.no-sdk",
    ERROR,
    "There is no OpenTelemetry SDK where the command runs: nothing is measured and nothing is sent.",
    "Install it there: {interpreter} -m pip install 'otel-resinstr[otlp]'",
)
MIXED = Kind(
    "versions.mixed",
    ERROR,
    "Versions of OpenTelemetry are installed that were not made for each other.",
    "Let pip choose all of them at once, in one line: pip install --upgrade {packages}",
    "https://github.com/open-telemetry/opentelemetry-python#install",
)
PYMONGO_UNWATCHED = Kind(
    "versions.pymongo-unwatched",
    ERROR,
    "pymongo {version} is too old: its clients are not watched.",
    "pip install 'pymongo>=4.11'",
)
PYMONGO_UNTESTED = Kind(
    "versions.pymongo-untested",
    WARNING,
    "pymongo {version} blocks event loops of its own where there is an AsyncMongoClient, and that is reported.",
    "pip install 'pymongo>=4.11'",
)

_OURS_TO_CHECK = re.compile("opentelemetry-.*|azure-monitor-opentelemetry.*|otel-resinstr")
_WATCHED, _TESTED = Version("4.9"), Version("4.11")


def check(context: Context) -> Iterator[Finding]:
    """All versions of a release of OpenTelemetry belong together: its packages pin each other."""
    report = context.report
    if report is None:
        return
    if "otel-resinstr" not in report.versions:
        yield NOT_INSTALLED.found(f"of {report.prefix}", interpreter=report.executable)
    if "opentelemetry-sdk" not in report.versions:
        yield NO_SDK.found(f"of {report.prefix}", interpreter=report.executable)
    unmet = list(_unmet(report.requirements, report.versions))
    if unmet:
        packages = sorted({package for *both, _ in unmet for package in both})
        yield MIXED.found("; ".join(why for *_, why in unmet), packages=" ".join(packages))
    pymongo = _version(report.versions.get("pymongo"))
    if pymongo is not None and pymongo < _TESTED:
        kind = PYMONGO_UNWATCHED if pymongo < _WATCHED else PYMONGO_UNTESTED
        yield kind.found("", version=pymongo)


def _unmet(requirements: dict[str, list[str]], versions: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each package that needs another in a version that is not the one installed, that other, and why."""
    for name, texts in sorted(requirements.items()):
        if not _OURS_TO_CHECK.fullmatch(name):
            continue
        for text in texts:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            needed = canonicalize_name(requirement.name)
            installed = _version(versions.get(needed))
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and installed and not requirement.specifier.contains(installed, prereleases=True):
                why = f"{name} {versions.get(name)} needs {needed}{requirement.specifier}, not {installed}"
                yield name, needed, why


def _version(text: str | None) -> Version | None:
    try:
        return Version(text or "")
    except InvalidVersion:
        return None
