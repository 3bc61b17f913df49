# SPDX-License-Identifier: Apache-2.0
"""``OTEL_METRICS_EXPORTER=resinstr_file``, traces and logs likewise: OTLP/JSON lines in files.

One export request a line, as the Collector's file exporter writes them:
https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/. `otel_resinstr.explain.readings` reads them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry.exporter.otlp.json.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.json.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans
except ImportError as error:
    raise ImportError(
        "the exporter resinstr_file needs the encoders of OTLP/JSON: "
        "pip install 'otel-resinstr[file]', which needs opentelemetry-sdk 1.45 or newer"
    ) from error

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_resinstr._lines import Lines
from otel_resinstr.settings import Settings, file_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

_MEGABYTE = 10**6
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_logger = logging.getLogger("otel_resinstr")
_warned: set[str] = set()


class _Requests:
    """Writes the export requests of one signal; never raises."""

    def __init__(self, signal: str, encode: Callable[[Any], Any], settings: Settings | None) -> None:
        chosen = settings or Settings.from_environment()
        self._lines = Lines(file_folder(chosen), signal, chosen.file_megabytes * _MEGABYTE)
        self._encode = encode

    def write(self, data: Any) -> bool:
        """Whether *data* has been written: it is tried once, and a failure is reported once in the process."""
        try:
            request = self._encode(data).to_dict()
            if request:
                self._lines.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        except Exception as failure:  # noqa: BLE001  telemetry is lost, and nothing else
            self._warn_once(failure)
            return False
        return True

    def _warn_once(self, failure: Exception) -> None:
        folder = self._lines.folder
        kind = f"{type(failure)} {getattr(failure, 'errno', None)} {folder}"
        # The warning may itself be a log record that is to be written here.
        if kind not in _warned:
            _warned.add(kind)
            with contextlib.suppress(Exception):  # a filter or handler of the application's that raises
                _logger.warning("telemetry is not written to %s, and is lost: %s", folder, _why(failure))


def _why(failure: Exception) -> str:
    """What went wrong, and what to do about it."""
    if not isinstance(failure, OSError):
        # Its text may hold a value that the application has put into a span.
        return f"{type(failure).__name__}; please report this"
    if failure.errno in _FULL:
        return (
            f"{failure}; make room there, let OTEL_RESINSTR_FILE_MEGABYTES say how much there is, "
            "or OTEL_RESINSTR_FILE_DIR where there is more"
        )
    return f"{failure}; set OTEL_RESINSTR_FILE_DIR to a folder that the process may write to"


class FileMetricExporter(MetricExporter):
    """Writes metrics to files. Sums are since the start of the process: a file that is gone takes none away."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self._requests = _Requests("metrics", encode_metrics, settings)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  one write, not to be interrupted
        **_: Any,
    ) -> MetricExportResult:
        """Write one line; a failure is an answer, never an exception."""
        return (
            MetricExportResult.SUCCESS if self._requests.write(metrics_data) else MetricExportResult.FAILURE
        )

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is kept back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing is open."""


class FileSpanExporter(SpanExporter):
    """Writes spans to files."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._requests = _Requests("traces", encode_spans, settings)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one line; a failure is an answer, never an exception."""
        return SpanExportResult.SUCCESS if self._requests.write(spans) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is kept back."""
        return True


class FileLogRecordExporter(LogRecordExporter):
    """Writes log records, and with them events, to files."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._requests = _Requests("logs", encode_logs, settings)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write one line; a failure is an answer, never an exception."""
        return LogRecordExportResult.SUCCESS if self._requests.write(batch) else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 10_000) -> bool:  # noqa: ARG002
        """Nothing is kept back."""
        return True

    def shutdown(self) -> None:
        """Nothing is open."""
