# SPDX-License-Identifier: Apache-2.0
"""Receives OTLP over HTTP where there is no Collector, and writes the lines that its file exporter would."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

# protobuf brings no types of its own
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SIGNALS: dict[str, tuple[str, Any]] = {
    "/v1/traces": ("traces.jsonl", ExportTraceServiceRequest),
    "/v1/metrics": ("metrics.jsonl", ExportMetricsServiceRequest),
    "/v1/logs": ("logs.jsonl", ExportLogsServiceRequest),
}
_ENCODINGS: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}
_IDS = frozenset(("traceId", "spanId", "parentSpanId"))
_PROTOBUF = "application/x-protobuf"
_LARGEST = 64 * 2**20  # bytes of a request; an SDK's batch is far below


class Sink:
    """A receiver on a free port of loopback that adds a line to a file in *folder* for each export request."""

    description = "the demo's own sink, not a Collector (--otelcol PATH names one)"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server = _Server(folder)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="sink", daemon=True
        )
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """End it. All that it has answered is in its files."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # The SDK keeps connections open: a thread that waits on one must not keep us from ending.
    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.path not in _SIGNALS:
            self._refuse(404, f"no such path: {self.path}")
        elif self.headers.get_content_type() != _PROTOBUF:
            self._refuse(415, f"OTLP as {_PROTOBUF} only")
        elif length > _LARGEST:
            self._refuse(413, "request too large")
        else:
            file, message = _SIGNALS[self.path]
            body = self.rfile.read(length)
            try:
                unpack = _ENCODINGS.get(self.headers.get("Content-Encoding"))
                request = message.FromString(unpack(body) if unpack else body)
            except (DecodeError, EOFError, OSError, zlib.error):
                self._refuse(400, "not an OTLP request")
                return
            line = json.dumps(as_otlp_json(request), separators=(",", ":"), ensure_ascii=False)
            # In the file before the answer: whoever has the answer finds the line.
            with self.server.lock, (self.server.folder / file).open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")
            self._answer(200, b"")  # an Export…ServiceResponse without a field

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True  # the body may not have been read
        self._answer(status, why.encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _PROTOBUF if status == 200 else "text/plain")  # noqa: PLR2004  OK
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that http.server calls
        """Say nothing: the terminal is the demo's."""


def as_otlp_json(request: Any) -> Any:
    """*request* in the JSON of OTLP, which is protobuf's but for ids in hex and enums as numbers.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    return _ids_in_hex(MessageToDict(request, use_integers_for_enums=True))


def _ids_in_hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_ids_in_hex(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in _IDS else _ids_in_hex(item)
            for key, item in value.items()
        }
    return value
