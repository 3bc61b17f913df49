# SPDX-License-Identifier: Apache-2.0
"""A program that the launcher starts in place of the command: it says what came of it, and sends what it is asked to.

It is run by its path, by the interpreter of the command and without `site`, which it imports itself when it has put
its ear to the launcher's log. That may be in an environment without our package: it imports the standard library
only, and what the launcher has imported. It ends without the SDK's exit: nothing more is sent.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import site
import sys
import threading
import time
from typing import IO, Any

HEARD = ("azure", "opentelemetry", "otel_resinstr")
TOLD = (
    "APPLICATIONINSIGHTS_",
    "AZURE_",
    "FUNCTIONS_",
    "GRPC_",
    "OTEL_",
    "REQUESTS_",
    "SSL_CERT_",
    "WEBSITE_",
    "ApplicationInsightsAgent_",
)
"""What variables begin with that are told; what has to do with proxies is, as well."""

WITHIN = 5.0
"""Seconds for an export."""


class Ear(logging.Handler):
    """Keeps what is logged, without passing it on: it would be exported."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[dict[str, Any]] = []
        for name in HEARD:
            logger = logging.getLogger(name)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record* as what can be told."""
        error = record.exc_info[1] if record.exc_info else None
        self.heard.append(
            {
                "logger": record.name,
                "level": record.levelno,
                "message": record.getMessage(),
                "error": "" if error is None else f"{type(error).__name__}: {error}",
                "thread": record.threadName,
            }
        )


def report(ear: Ear, given: str | None) -> dict[str, Any]:
    """What there is once the launcher, whose folder was *given* to the path, has done its work."""
    from importlib.metadata import distributions  # noqa: PLC0415  after `site`: where packages are is known then

    found: dict[str, Any] = {}
    for distribution in distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")
        found.setdefault(name, distribution)  # the first on the path is the one that is imported
    entry_points = [
        {
            "group": entry.group,
            "name": entry.name,
            "value": entry.value,
            "distribution": name,
            # What others name would be made once more, such as an exporter.
            "instrumented": entry.group == "opentelemetry_instrumentor" and _instrumented(entry.value),
        }
        for name, distribution in found.items()
        for entry in distribution.entry_points
        if entry.group.startswith("opentelemetry_")
    ]
    return {
        "executable": sys.executable,
        "python": sys.version.partition(" ")[0],
        "prefix": sys.prefix,
        "environ": {name: value for name, value in os.environ.items() if _is_told(name)},
        "distributions": {
            name: {"version": distribution.version, "requires": distribution.requires or []}
            for name, distribution in found.items()
        },
        "entry_points": entry_points,
        "launcher": {"given": given, "imported": _imported()},
        "providers": _providers(),
        "service": _service(),
        "exporters": [{"signal": signal, "class": _class(exporter)} for signal, exporter in _exporters()],
        "duplicates": _duplicates(),
        "log": ear.heard,
    }


def _is_told(name: str) -> bool:
    return name.startswith(TOLD) or name.lower().endswith("_proxy") or name == "PYTHONPATH"


def _class(thing: object) -> str:
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def _instrumented(value: str) -> bool:
    """Whether the instrumentor that an entry point names is at work; what was not imported is not."""
    module, _, name = value.partition(":")
    made = getattr(sys.modules.get(module), name, None)
    try:
        return bool(made().is_instrumented_by_opentelemetry)  # type: ignore[misc]  # there is one of each class
    except Exception:  # noqa: BLE001  no instrumentor, or one of somebody's
        return False


def given_to_path() -> str | None:
    """The folder of the launcher's package that it has put on the path; older ones take it away later."""
    ending = os.path.join("opentelemetry", "instrumentation", "auto_instrumentation")  # noqa: PTH118  a name
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return next((os.path.realpath(path) for path in paths if path.endswith(ending)), None)


def _imported() -> str | None:
    """The folder of the launcher's package that is imported."""
    imported = sys.modules.get("opentelemetry.instrumentation.auto_instrumentation")
    file = getattr(imported, "__file__", None)
    return os.path.realpath(os.path.dirname(file)) if file else None  # noqa: PTH120  a name


def _providers() -> dict[str, str]:
    modules = (
        ("traces", "opentelemetry.trace", "get_tracer_provider"),
        ("metrics", "opentelemetry.metrics", "get_meter_provider"),
        ("logs", "opentelemetry._logs", "get_logger_provider"),
    )
    found = {}
    for signal, module, getter in modules:
        get = getattr(sys.modules.get(module), getter, None)
        if get is not None:
            found[signal] = _class(get())
    return found


def _service() -> str | None:
    """The name of the service, as it would be sent."""
    trace = sys.modules.get("opentelemetry.trace")
    resource = None if trace is None else getattr(trace.get_tracer_provider(), "resource", None)
    return None if resource is None else resource.attributes.get("service.name")


def _duplicates() -> list[dict[str, Any]]:
    """What our package finds to be there twice, where it is there and knows how to look."""
    try:
        from otel_resinstr import duplicates  # noqa: PLC0415  may be absent
    except ImportError:
        return []
    found = duplicates.find(os.environ, launcher=True, code=False)
    return [{"kind": each.kind, "what": each.what, "subject": each.subject} for each in found]


def _exporters() -> list[tuple[str, Any]]:
    """The exporters that are alive, whoever has made them, by signal.

    Looked for among all objects: the providers keep them in private attributes.
    """
    kinds = (
        ("traces", "opentelemetry.sdk.trace.export", ("SpanExporter",)),
        ("metrics", "opentelemetry.sdk.metrics.export", ("MetricExporter", "MetricReader")),
        ("logs", "opentelemetry.sdk._logs.export", ("LogRecordExporter", "LogExporter")),
    )
    classes = {
        base: signal
        for signal, module, names in kinds
        for name in names
        if (base := getattr(sys.modules.get(module), name, None)) is not None
    }
    found = []
    for thing in gc.get_objects():
        kind = type(thing)  # not isinstance: it would ask proxies of other libraries, which may raise
        signal = next((classes[base] for base in kind.__mro__ if base in classes), None)
        # It drives another exporter.
        if signal and kind.__name__ != "PeriodicExportingMetricReader":
            found.append((signal, thing))
    order = list(classes.values())
    return sorted(found, key=lambda each: (order.index(each[0]), _class(each[1])))


def export(ear: Ear, within: float) -> list[dict[str, Any]]:
    """Send an empty request with each exporter of OTLP, and say what came of it; None for no answer in time."""
    results: dict[str, Any] = {}

    def send(thread: str, exporter: Any, nothing: Any) -> None:
        try:
            results[thread] = exporter.export(nothing).name
        except Exception as error:  # noqa: BLE001  whatever it is, it is what is asked for
            results[thread] = f"{type(error).__name__}: {error}"

    # The exporters' log leaves out what repeats, and would be silent on the second signal.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("opentelemetry.exporter."):
            logging.getLogger(name).filters.clear()
    sent = []
    for number, (signal, exporter) in enumerate(_exporters()):
        if not type(exporter).__module__.startswith("opentelemetry.exporter.otlp.proto."):
            continue
        thread = f"doctor-{number}"
        sender = threading.Thread(
            target=send, args=(thread, exporter, _nothing(signal)), name=thread, daemon=True
        )
        sent.append((signal, exporter, sender))
        sender.start()
    deadline = time.monotonic() + within
    for _, _, sender in sent:
        sender.join(max(0.0, deadline - time.monotonic()))
    return [
        {
            "signal": signal,
            "class": _class(exporter),
            "result": results.get(sender.name),
            "said": [heard["message"] for heard in ear.heard if heard["thread"] == sender.name],
        }
        for signal, exporter, sender in sent
    ]


def _nothing(signal: str) -> Any:
    if signal == "metrics":
        return sys.modules["opentelemetry.sdk.metrics.export"].MetricsData(resource_metrics=[])
    return []


def main(token: str, ear: Ear, given: str | None, questions: IO[str], answers: IO[str]) -> None:
    """Say what there is, in a line that begins with *token*; then, for each line of seconds, what came of an export."""

    def answer(said: Any) -> None:
        # What the exporter to the console or a library prints may stand before it.
        answers.write(f"\n{token}{json.dumps(said)}\n")
        answers.flush()

    answer(report(ear, given))
    for within in questions:
        answer(export(ear, float(within)))


if __name__ == "__main__":  # pragma: no cover  coverage begins in `site.main`
    if not getattr(sys.flags, "safe_path", False):  # PYTHONSAFEPATH, from Python 3.11
        del sys.path[0]  # our modules' folder: their names are those of other packages
    _ear, _given = Ear(), given_to_path()
    site.main()
    main(sys.argv[1], _ear, _given, sys.stdin, sys.stdout)
    os._exit(0)
