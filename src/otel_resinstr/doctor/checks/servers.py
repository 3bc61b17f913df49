# SPDX-License-Identifier: Apache-2.0
"""What the server's way to make and to end processes does to telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from otel_resinstr.doctor.finding import ERROR, NOTE, WARNING, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr.doctor.context import Context
    from otel_resinstr.doctor.finding import Finding

FLUSH = "OTEL_RESINSTR_FLUSH_ON_SIGTERM"

PRELOAD = Kind(
    "servers.preload",
    WARNING,
    "gunicorn loads the application before it forks (--preload): clients that it makes then are not safe in workers, "
    "and what was recorded before the fork arrives once from each worker.",
    "Leave --preload out, or make MongoClient and what else is recorded in the hook post_fork.",
    "https://pymongo.readthedocs.io/en/stable/faq.html#is-pymongo-fork-safe",
)
SIGTERM = Kind(
    "servers.sigterm",
    WARNING,
    "{server} ends by SIGTERM without the exit of Python: the last metrics, spans and events are lost.",
    "{remedy}",
)
SPAWNED = Kind(
    "servers.spawned",
    ERROR,
    "uvicorn spawns its workers, and opentelemetry-instrumentation {version} does not reach them.",
    "pip install --upgrade opentelemetry-instrumentation opentelemetry-distro (0.63b0 or newer).",
    "https://github.com/open-telemetry/opentelemetry-python-contrib/pull/4469",
)
IDENTITY = Kind(
    "servers.identity",
    WARNING,
    "With opentelemetry-sdk {version} the workers that gunicorn forks have the identity of their parent: their series "
    "fall together.",
    "pip install --upgrade opentelemetry-sdk (1.44.0 or newer), with all that belongs to it.",
)
OWN_IDENTITY = Kind(
    "servers.own-identity",
    NOTE,
    "service.instance.id in OTEL_RESOURCE_ATTRIBUTES is that of the master only: each worker has one of its own.",
    "Tell workers apart by process.pid (OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=process).",
)
SETTINGS_UNREAD = Kind(
    "servers.settings-unread",
    NOTE,
    "{file} could not be read: what it says of workers and of preload is not known.",
    "Run the doctor in the folder that the command runs in.",
)


def check(context: Context) -> Iterator[Finding]:
    """By the command line, and what is installed; the server is not started."""
    server = context.command.server
    if server is None:
        return
    versions = context.report.versions if context.report else {}
    if server.unread:
        yield SETTINGS_UNREAD.found("", file=server.unread)
    if server.preload:
        yield PRELOAD.found(server.model)
    if server.runs_uvicorn and (context.setting(FLUSH) or "").lower() not in ("1", "true"):
        named = "uvicorn" if server.name == "uvicorn" else f"gunicorn's {server.worker_class}"
        yield SIGTERM.found(
            "uvicorn sends itself the signal again when it has shut down", server=named, remedy=_FLUSH
        )
    launcher, sdk = versions.get("opentelemetry-instrumentation"), versions.get("opentelemetry-sdk")
    if server.name == "uvicorn" and server.several and _older(launcher, "0.63b0"):
        yield SPAWNED.found(server.model, version=launcher)
    if server.name == "gunicorn" and _older(sdk, "1.44.0"):
        yield IDENTITY.found(server.model, version=sdk)
    if server.name == "gunicorn" and "service.instance.id" in (
        context.setting("OTEL_RESOURCE_ATTRIBUTES") or ""
    ):
        yield OWN_IDENTITY.found()


_FLUSH = f"Set {FLUSH}=1; or call otel_resinstr.flush() where the application's lifespan ends, as docs/exits.md shows."


def _older(version: str | None, than: str) -> bool:
    try:
        return Version(version or "") < Version(than)
    except InvalidVersion:
        return False
