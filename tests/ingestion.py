# SPDX-License-Identifier: Apache-2.0
"""
Application Insights' ingestion, as far as an exporter sees it: a server on loopback that keeps what it is sent.

A plugin of pytest: its fixture is there for all tests.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "00000000-0000-0000-0000-000000000000"


class Ingestion:
    """Answers as the service does, or as it is told to; what it has accepted is in `envelopes`."""

    def __init__(self) -> None:
        self.envelopes: list[dict[str, Any]] = []
        self.senders: dict[int, set[str]] = {}
        """The ids of the processes whose metrics have come over a connection, by the client's port."""
        self.refused: list[int] = []
        """The statuses of requests that were not accepted."""
        self.answering = threading.Event()
        """Cleared, every answer waits until it is set again."""
        self.waiting = 0
        """How many answers do."""
        self.answering.set()
        self._planned: list[int] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="ingestion")
        self._thread.start()

    @property
    def connection_string(self) -> str:
        """What the exporters take."""
        base = f"http://127.0.0.1:{self._server.server_address[1]}/"
        return f"InstrumentationKey={KEY};IngestionEndpoint={base};LiveEndpoint={base}"

    def refuse(self, *statuses: int) -> None:
        """Answer the next requests with *statuses* (429, 503, ...), one each, then accept again.

        Of a 206 the first item is refused, for a reason that will pass, and the others are accepted.
        """
        with self._lock:
            self._planned.extend(statuses)

    def of(self, base_type: str) -> list[dict[str, Any]]:
        """The accepted envelopes of a type: MetricData, RemoteDependencyData, RequestData, MessageData, ..."""
        with self._lock:
            return [envelope for envelope in self.envelopes if envelope["data"]["baseType"] == base_type]

    def stop(self) -> None:
        """End it."""
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _wait(self) -> None:
        with self._lock:
            self.waiting += 1
        self.answering.wait()
        with self._lock:
            self.waiting -= 1

    def _take(self, body: bytes, port: int) -> tuple[int, dict[str, Any]]:
        envelopes = _envelopes(body)
        with self._lock:
            status = self._planned.pop(0) if self._planned else 200
            refused = {200: 0, 206: 1}.get(status, len(envelopes))
            self.envelopes += envelopes[refused:]
            self.senders.setdefault(port, set()).update(_processes(envelopes))
            if refused:
                self.refused.append(status)
        errors = [{"index": index, "statusCode": 500, "message": "later"} for index in range(refused)]
        return status, {
            "itemsReceived": len(envelopes),
            "itemsAccepted": len(envelopes) - refused,
            "errors": errors if status == 206 else [],
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ingestion = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if not self.path.endswith("/track"):  # live metrics and the exporters' own statistics
                    status, answer = 404, {}
                else:
                    ingestion._wait()
                    status, answer = ingestion._take(body, self.client_address[1])
                said = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *request: Any) -> None:
        # Whoever sent it ended and left the connection: that is what some tests are about.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*request)


def _envelopes(body: bytes) -> list[dict[str, Any]]:
    """A JSON array, as Python sends it, or an object a line, as Go does."""
    text = body.decode()
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line]


def _processes(envelopes: list[dict[str, Any]]) -> Iterator[str]:
    """Which processes have sent them; only metrics say so."""
    for envelope in envelopes:
        properties = envelope["data"]["baseData"].get("properties") or {}
        if envelope["data"]["baseType"] == "MetricData" and "process.pid" in properties:
            yield properties["process.pid"]


@pytest.fixture
def ingestion() -> Iterator[Ingestion]:
    """Application Insights' ingestion on loopback, for a test."""
    ingestion = Ingestion()
    yield ingestion
    ingestion.stop()
