# SPDX-License-Identifier: Apache-2.0
"""Nothing that leaves the process, as OTLP's bytes or in its log, holds a password, a user or a document's value."""

from __future__ import annotations

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pymongo
import pytest

from launched import LAUNCHER, PROGRAMS, SETTINGS

USER, PASSWORD, VALUE = "shopkeeper", "hunter2-is-secret", "value-of-a-document"


@pytest.fixture
def receiver():
    """Takes what is exported over HTTP, and keeps the bytes by their path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    received: dict[str, list[bytes]] = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", received
        http.shutdown()
        thread.join()


@pytest.fixture
def uri(server):
    """What a client of a user with a password takes."""
    with pymongo.MongoClient(server.uri) as admin:
        admin.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])
        yield f"mongodb://{USER}:{PASSWORD}@127.0.0.1:{server.port}/?authSource=admin"
        admin.admin.command("dropUser", USER)


def ended(start_program, uri, **environ):
    """The application that has secrets, when it has done its work."""
    program = start_program(
        LAUNCHER,
        sys.executable,
        PROGRAMS / "secretive.py",
        **SETTINGS,
        **environ,
        OTEL_SEMCONV_STABILITY_OPT_IN="database/dup",
        MONGODB_URI=uri,
        WRONG_URI=uri.replace(PASSWORD, f"not-{PASSWORD}"),
        VALUE=VALUE,
    )
    program.process.stdin.close()
    assert 0 == program.process.wait(60), program.err.read_text()
    return program


@pytest.mark.parametrize("query_text", ["0", "4000"])
def test_no_byte_of_a_secret_is_exported(query_text, receiver, start_program, uri):
    """All signals, with and without the text of queries, while much of what the application does fails."""
    endpoint, received = receiver
    program = ended(
        start_program,
        uri,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_RESINSTR_MONGODB_QUERY_TEXT_LENGTH=query_text,
    )
    sent = {path: b"".join(bodies) for path, bodies in received.items()}

    assert ["/v1/logs", "/v1/metrics", "/v1/traces"] == sorted(sent)
    everything = b"".join(sent.values()) + program.err.read_bytes()
    assert [] == [secret for secret in (USER, PASSWORD, VALUE) if secret.encode() in everything]
    # It was there to be found: what surrounds the secrets was sent.
    for path, text in (
        ("/v1/traces", b"insert things"),
        ("/v1/traces", b"noSuchCommand"),
        ("/v1/metrics", b"db.client.operation.duration"),
        ("/v1/logs", b"mongodb.client.churn"),
    ):
        assert text in sent[path]
    assert (query_text != "0") == (b'"nested": {"list": ["?", {"a": "?"}]}' in sent["/v1/traces"])
    assert int(program.says()) >= 6


def test_no_byte_of_a_secret_is_written(start_program, tmp_path, uri):
    """Where there is no network: all signals and the recorder's dump in files, and metrics on standard error."""
    pytest.importorskip("opentelemetry.exporter.otlp.json.common", reason="needs a newer SDK")
    program = ended(
        start_program,
        uri,
        OTEL_METRICS_EXPORTER="resinstr_file,resinstr_console",
        OTEL_TRACES_EXPORTER="resinstr_file",
        OTEL_LOGS_EXPORTER="resinstr_file",
        OTEL_RESINSTR_FILE_DIR=str(tmp_path / "out"),
        OTEL_RESINSTR_RECORDER_DIR=str(tmp_path / "out"),
        OTEL_RESINSTR_MONGODB_QUERY_TEXT_LENGTH="4000",
    )

    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    everything = b"".join(written.values()) + "".join(written).encode() + program.err.read_bytes()
    assert [] == [secret for secret in (USER, PASSWORD, VALUE) if secret.encode() in everything]
    for signal, text in (
        ("traces", b"insert things"),
        ("traces", b"noSuchCommand"),
        ("metrics", b"db.client.operation.duration"),
        ("logs", b"mongodb.client.churn"),
        ("recorder", b"mongodb.client.churn"),
        ("recorder", b"mongodb.client.socket.count"),
    ):
        assert text in b"".join(body for name, body in written.items() if name.startswith(signal))
    said = [
        line for line in program.err.read_text().splitlines() if f" shop[{program.process.pid}] cpu " in line
    ]
    assert re.search(
        r"; mongodb clients \d+ open, \d+ made, \d+ closed, \d+ dropped; mongodb sockets ", said[-1]
    )
