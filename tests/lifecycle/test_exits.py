# SPDX-License-Identifier: Apache-2.0
"""What arrives when a process ends, by the way in which it ends: real programs and SDK, a receiver on loopback."""

from __future__ import annotations

import gzip
import http.client
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from launched import LAUNCHER, Program, environment
from mongo import eventually

pytest.importorskip("opentelemetry.proto")
pytest.importorskip("pymongo")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="signals"),
    pytest.mark.skipif(not LAUNCHER.exists(), reason="there is no launcher"),
]

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])
old_sdk = pytest.mark.skipif(OTEL < (1, 44), reason="a forked worker has the identity of its parent")

# One of each: a client that lives as long as the process, a metric, and a record of a log.
WORK = """
import pymongo
from opentelemetry._logs import LogRecord, get_logger
client = pymongo.MongoClient("mongodb://db.example", connect=False)
get_logger("app").emit(LogRecord(body="last words"))
"""

PROGRAM = (
    WORK
    + """
import os, signal, sys, time
print("ready", flush=True)
sys.stdin.read()
{end}
"""
)

APP = (
    WORK
    + """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        kind = ""
        while kind != "lifespan.shutdown":
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
)

ALL = {"mongodb.client", "mongodb.client.create", "mongodb.client.created", "process.uptime", "last words"}


class Receiver:
    """Takes OTLP over HTTP; `names` are those of the spans, metrics and records that have arrived from each process."""

    def __init__(self):
        self.names: dict[int, set[str]] = {}
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _take(self, path, body):
        if path.endswith("/traces"):
            resources = ExportTraceServiceRequest.FromString(body).resource_spans
            names = {r: [s.name for g in r.scope_spans for s in g.spans] for r in map(Each, resources)}
        elif path.endswith("/metrics"):
            resources = ExportMetricsServiceRequest.FromString(body).resource_metrics
            names = {r: [m.name for g in r.scope_metrics for m in g.metrics] for r in map(Each, resources)}
        else:
            resources = ExportLogsServiceRequest.FromString(body).resource_logs
            names = {
                r: [rec.body.string_value for g in r.scope_logs for rec in g.log_records]
                for r in map(Each, resources)
            }
        with self._lock:
            for resource, found in names.items():
                self.names.setdefault(resource.pid, set()).update(found)

    def stop(self):
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Each:
    """A resource with what is of it, as a key."""

    def __init__(self, message):
        self._message = message

    def __getattr__(self, name):
        return getattr(self._message, name)

    @property
    def pid(self):
        """Which process."""
        return next(a.value.int_value for a in self._message.resource.attributes if a.key == "process.pid")


@pytest.fixture
def receiver():
    """One that works."""
    receiver = Receiver()
    yield receiver
    receiver.stop()


@contextmanager
def refused():
    """A port at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def hanging():
    """A port that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def launch(tmp_path):
    """Start a program under the launcher, whose exporters would not send anything for an hour."""
    started = []

    def launch(port, *command, **environ):
        settings = {
            "HOME": str(tmp_path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "OTEL_BLRP_SCHEDULE_DELAY": "3600000",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo,system_metrics,asgi,fastapi,flask,starlette",
            **environ,
        }
        started.append(Program([str(LAUNCHER), *map(str, command)], tmp_path, environment(**settings)))
        return started[-1]

    yield launch
    for program in started:
        program.kill()


def ready(program):
    """Wait until it has nothing to do but to end."""
    eventually(lambda: "ready" in program.out.read_text() or program.process.poll() is not None, seconds=60)
    assert program.process.poll() is None, program.err.read_text()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15),
    ],
    ids=["end", "exit", "exception", "sigterm"],
)
def test_a_program_that_ends_has_sent_all(end, status, launch, receiver):
    """Its last metrics, the life of its client, and its log; the exit status is what it is without us."""
    program = launch(
        receiver.port, sys.executable, "-c", PROGRAM.format(end=end), OTEL_RESINSTR_FLUSH_ON_SIGTERM="1"
    )
    ready(program)
    program.process.stdin.close()

    assert status == program.process.wait(120)
    assert ALL == ALL & receiver.names.get(program.process.pid, set())


def test_sigterm_alone_loses_all(launch, receiver):
    """Which is why there is the setting."""
    program = launch(receiver.port, sys.executable, "-c", PROGRAM.format(end=""))
    ready(program)

    assert -15 == program.terminate()
    assert {} == receiver.names


@pytest.mark.parametrize("down", [refused, hanging])
def test_with_the_receiver_down_sigterm_takes_no_longer_than_it_may(down, launch):
    """The SDK would go on trying for two minutes; ours is a second, and what a busy machine makes of it."""
    with down() as port:
        program = launch(
            port,
            *(sys.executable, "-c", PROGRAM.format(end="")),
            OTEL_RESINSTR_FLUSH_ON_SIGTERM="1",
            OTEL_RESINSTR_FLUSH_TIMEOUT="1",
            OTEL_EXPORTER_OTLP_TIMEOUT="120",
        )
        ready(program)
        begun = time.monotonic()
        assert -15 == program.terminate()
        assert 1 <= time.monotonic() - begun < 25


SERVERS = {
    "uvicorn": ("uvicorn", "app:app", "--port", "{port}"),
    "uvicorn-worker": (
        *("gunicorn", "app:app", "--bind", "127.0.0.1:{port}"),
        *("--worker-class", "uvicorn.workers.UvicornWorker"),
    ),
    "gunicorn": ("gunicorn", "app:wsgi", "--bind", "127.0.0.1:{port}"),
}


@pytest.mark.parametrize(
    "kind",
    [
        "uvicorn",
        pytest.param("uvicorn-worker", marks=old_sdk),
        pytest.param("gunicorn", marks=old_sdk),
    ],
)
def test_a_server_that_is_terminated_has_sent_all(kind, launch, receiver, tmp_path):
    """uvicorn ends itself by the signal when it has shut down; gunicorn's own workers exit as they do without us."""
    (tmp_path / "app.py").write_text(APP)
    with refused() as port:
        pass
    command = [part.format(port=port) for part in SERVERS[kind]]
    program = launch(
        receiver.port,
        *(Path(sys.executable).with_name(command[0]), *command[1:]),
        OTEL_RESINSTR_FLUSH_ON_SIGTERM="1",
        OTEL_RESINSTR_FLUSH_TIMEOUT="30",
        PYTHONPATH=str(tmp_path),
    )
    eventually(lambda: program.process.poll() is not None or answers(port), seconds=60)
    assert program.process.poll() is None, program.err.read_text()
    workers = [child.pid for child in program.children()] or [program.process.pid]

    program.process.send_signal(signal.SIGTERM)

    assert program.process.wait(120) in (0, -15)
    (arrived,) = [receiver.names[pid] for pid in workers if pid in receiver.names]
    assert ALL == ALL & arrived
    assert "Traceback" not in program.err.read_text()


def answers(port):
    """Whether a server is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return 200 == connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
