# SPDX-License-Identifier: Apache-2.0
"""What arrives when a process ends, and how long it takes: by how it is run, how it ends, and what the receiver does.

`WRITE_EXITS=1 pytest tests/integration/test_exits.py` writes the table of docs/exits.md, and takes some minutes:
it measures few processes at a time. Without that all run at once, and what arrives is compared with the table.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest

from launched import LAUNCHER, PROGRAMS, ROOT, Program, answer, environment
from mongo import eventually

pytest.importorskip("opentelemetry.proto")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="signals"),
    pytest.mark.skipif(OTEL < (1, 44), reason="older SDKs give a forked worker the identity of its parent"),
]

TABLE = ROOT / "docs" / "exits.md"
WRITE = bool(os.environ.get("WRITE_EXITS"))
AT_ONCE = 4 if WRITE else 12
PATIENCE = 240.0  # for a process that ends within 45 s
LATE = 60.0  # as much may a busy machine add to what was measured once

# A client that lives as long as the process, a metric, and a record of a log: one of each signal, or more.
ALL = {"mongodb.client", "mongodb.client.create", "mongodb.client.created", "process.uptime", "last words"}

WORKS, REFUSES, HANGS = RECEIVERS = ("works", "refuses", "does not answer")
DOWN = REFUSES, HANGS
OUT, LOST = "out", "lost"


class Row(NamedTuple):
    """A way to run a program, and a way in which it ends."""

    run: str
    end: str
    command: tuple[str, ...]
    status: tuple[int, ...] = (0,)
    send: int | None = None
    """The signal that ends it; None if it ends by itself, once its standard input does."""
    environ: tuple[tuple[str, str], ...] = ()
    """Its settings."""
    workers: int = 0
    """How many processes serve, if any do; else it is the first that is looked at."""
    recycles: bool = False
    """A worker ends after some requests."""
    down: bool = True
    """Whether it is run with a receiver that is down as well."""


PLAIN = ("python", str(PROGRAMS / "ending.py"))
MULTIPROCESSING = ("python", str(PROGRAMS / "workers.py"))
UVICORN = ("uvicorn", "ending:app", "--port", "{port}")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}")
SYNC = (*GUNICORN, "ending:wsgi")
UVICORN_WORKER = (*GUNICORN, "ending:app", "--worker-class", "uvicorn.workers.UvicornWorker")
RECYCLED = ("--max-requests", "4")

FLUSHES = (("OTEL_RESINSTR_FLUSH_ON_SIGTERM", "1"),)
SHORT = (("OTEL_EXPORTER_OTLP_TIMEOUT", "2"),)
TERM = "SIGTERM"
SETTING = "SIGTERM, with the setting"


def served(run, command, workers, status):
    """The two rows of a server."""
    return [
        Row(run, TERM, command, status, signal.SIGTERM, workers=workers),
        Row(run, SETTING, command, status, signal.SIGTERM, FLUSHES, workers=workers),
    ]


ROWS = [
    Row("plain Python", "the program ends", (*PLAIN, "end")),
    Row(
        "plain Python",
        "the program ends, with `OTEL_EXPORTER_OTLP_TIMEOUT=2`",
        (*PLAIN, "end"),
        environ=SHORT,
    ),
    Row("plain Python", "`sys.exit()`", (*PLAIN, "exit"), (3,), down=False),
    Row("plain Python", "an exception that nobody catches", (*PLAIN, "exception"), (1,), down=False),
    Row("plain Python", TERM, (*PLAIN, "end"), (-15,), signal.SIGTERM),
    Row("plain Python", SETTING, (*PLAIN, "end"), (-15,), signal.SIGTERM, FLUSHES),
    Row("plain Python", "`os._exit()`", (*PLAIN, "_exit"), (4,), down=False),
    Row("plain Python", "SIGKILL", (*PLAIN, "end"), (-9,), signal.SIGKILL, down=False),
    *served("uvicorn", UVICORN, 1, (-15,)),
    Row(
        "uvicorn",
        "SIGTERM, with `flush()` in its lifespan",
        ("uvicorn", "ending:flushing", *UVICORN[2:]),
        (-15,),
        signal.SIGTERM,
        workers=1,
    ),
    *served("uvicorn, two workers", (*UVICORN, "--workers", "2"), 2, (0,)),
    *served("gunicorn, sync", SYNC, 1, (0,)),
    Row("gunicorn, sync", "`--max-requests`", (*SYNC, *RECYCLED), workers=1, recycles=True, down=False),
    *served("gunicorn, `UvicornWorker`", UVICORN_WORKER, 1, (0,)),
    Row(
        "gunicorn, `UvicornWorker`",
        "`--max-requests`",
        (*UVICORN_WORKER, *RECYCLED),
        workers=1,
        recycles=True,
        down=False,
    ),
    *(
        Row(f"multiprocessing, {method}", "its function returns", (*MULTIPROCESSING, method), down=False)
        for method in ("spawn", "fork", "forkserver")
    ),
    Row(
        "multiprocessing, fork",
        "its function returns after `flush()`",
        (*MULTIPROCESSING, "fork", "flush"),
        down=False,
    ),
]

CELLS = [(row, receiver) for row in ROWS for receiver in RECEIVERS if row.down or receiver == WORKS]


class Cell(NamedTuple):
    """What came out of one run."""

    arrived: str
    seconds: float | None
    """Until it had ended; None where it is replaced, and goes on."""


class Receiver:
    """Takes OTLP over HTTP; what has arrived are the names of spans, metrics and records, by service and process."""

    def __init__(self):
        self._names: dict[tuple[str, int], set[str]] = {}
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
        for resource, names in READ[path.rpartition("/")[2]](body):
            found = {each.key: each.value for each in resource.attributes}
            key = found["service.name"].string_value, found["process.pid"].int_value
            with self._lock:
                self._names.setdefault(key, set()).update(names)

    def names(self, service, pid):
        """What has arrived from that process."""
        with self._lock:
            return {*self._names.get((service, pid), ())}

    def stop(self):
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def read_traces(body):
    """Each resource, with the names of its spans."""
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        yield group.resource, [span.name for scope in group.scope_spans for span in scope.spans]


def read_metrics(body):
    """Each resource, with the names of its metrics."""
    for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        yield group.resource, [metric.name for scope in group.scope_metrics for metric in scope.metrics]


def read_logs(body):
    """Each resource, with what its records say."""
    for group in ExportLogsServiceRequest.FromString(body).resource_logs:
        yield (
            group.resource,
            [each.body.string_value for scope in group.scope_logs for each in scope.log_records],
        )


READ = {"traces": read_traces, "metrics": read_metrics, "logs": read_logs}


@contextmanager
def working():
    """One that takes all."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
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
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield server.getsockname()[1]


def run(row, endpoint, receiver, folder, bound):
    """Run *row*; its telemetry goes to the port *endpoint*, and a flush has *bound* seconds."""
    folder.mkdir()
    with refused() as free:
        pass
    port = str(free)
    name = folder.name
    executable = Path(sys.executable).with_name(row.command[0])
    program = Program(
        [str(LAUNCHER), str(executable), *(part.format(port=port) for part in row.command[1:])],
        folder,
        environment(
            HOME=str(folder),
            PYTHONPATH=str(PROGRAMS),
            OTEL_SERVICE_NAME=name,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{endpoint}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            # Nothing goes out before the end.
            OTEL_METRIC_EXPORT_INTERVAL="3600000",
            OTEL_BSP_SCHEDULE_DELAY="3600000",
            OTEL_BLRP_SCHEDULE_DELAY="3600000",
            OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="process",
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="pymongo,system_metrics,asgi,fastapi,flask,starlette",
            OTEL_RESINSTR_FLUSH_TIMEOUT=str(bound),
            **dict(row.environ),
        ),
    )
    try:
        processes = begun(row, program, port)
        if row.recycles:
            (old,) = processes
            eventually(lambda: answer(port) not in (old, None), seconds=PATIENCE)
            seconds = None
        else:
            end = time.monotonic()
            program.process.stdin.close() if row.send is None else program.process.send_signal(row.send)
            status = program.process.wait(PATIENCE)
            seconds = time.monotonic() - end
            assert status in row.status, program.err.read_text()
    finally:
        program.kill()
    names = [receiver.names(name, pid) & ALL for pid in processes]
    if all(each == ALL for each in names):
        return Cell(OUT, seconds)
    assert not set().union(*names), f"{row.run}, {row.end}: a part has arrived: {names}"
    return Cell(LOST, seconds)


def begun(row, program, port):
    """The processes that are looked at, once they have all that there is to lose."""
    if row.workers:
        found = set()

        def serve():
            assert program.process.poll() is None, program.err.read_text()
            found.update({answer(port)} - {None})
            return len(found) == row.workers

        eventually(serve, seconds=PATIENCE)
        return found
    said = json.loads(eventually(program.says, seconds=PATIENCE))
    return said if isinstance(said, list) else [said]


@pytest.fixture
def measured(tmp_path):
    """All cells."""
    with ExitStack() as stack:
        receiver = stack.enter_context(working())
        endpoints = {
            WORKS: receiver.port,
            REFUSES: stack.enter_context(refused()),
            HANGS: stack.enter_context(hanging()),
        }

        def measure(numbered):
            number, (row, kind) = numbered
            # What arrives must not depend on how busy the machine is; how long it takes at most is three seconds.
            bound = 60.0 if kind == WORKS else 3.0
            return run(row, endpoints[kind], receiver, tmp_path / f"cell{number}", bound)

        # Those that wait longest begin first.
        order = sorted(enumerate(CELLS), key=lambda each: RECEIVERS.index(each[1][1]), reverse=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            cells = dict(zip([cell for _, cell in order], pool.map(measure, order), strict=True))
    return cells


def shown(seconds):
    """A time, so coarse that it is the same on most machines."""
    return "at once" if seconds < 2 else f"{seconds:.0f} s"


def table(cells):
    """The table of the documentation."""
    head = ("process", "ends by", "what is pending", *(f"receiver {kind}" for kind in DOWN))
    lines = [head, ("---",) * len(head)]
    for row in ROWS:
        arrived = cells[row, WORKS].arrived
        times = [shown(cells[row, kind].seconds) if row.down else "" for kind in DOWN]
        lines.append((row.run, row.end, arrived if arrived == OUT else f"**{arrived}**", *times))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


BETWEEN = re.compile(r"(<!-- exits -->\n).*?(<!-- /exits -->)", re.DOTALL)


def documented():
    """The rows of the documentation, by process and end: what is pending, and the two times."""
    (found,) = BETWEEN.finditer(TABLE.read_text(encoding="utf-8"))
    lines = found[0].splitlines()[3:-1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(run, end): (arrived.strip("*"), times) for run, end, arrived, *times in cells}


def longest(said):
    """How long a process may take of which the documentation says that."""
    return LATE + (float(said.removesuffix(" s")) if said.endswith(" s") else 0.0)


@pytest.mark.timeout(1800 if WRITE else 600)
def test_the_table_in_the_documentation_is_what_happens(measured):
    """What is out and what is lost; and nothing takes much longer than it did when it was measured."""
    if WRITE:
        text = TABLE.read_text(encoding="utf-8")
        TABLE.write_text(
            BETWEEN.sub(lambda found: found[1] + table(measured) + found[2], text), encoding="utf-8"
        )
    rows = documented()

    assert {(row.run, row.end): measured[row, WORKS].arrived for row in ROWS} == {
        key: arrived for key, (arrived, _) in rows.items()
    }
    too_long = {
        (row.run, row.end, kind): cell.seconds
        for (row, kind), cell in measured.items()
        if kind in DOWN and cell.seconds > longest(rows[row.run, row.end][1][DOWN.index(kind)])
    }
    assert {} == too_long
    # However busy the machine is: the setting waits for less than the SDK does when a program ends.
    seconds = {(row.run, row.end): cell.seconds for (row, kind), cell in measured.items() if kind == HANGS}
    unbounded = seconds["plain Python", "the program ends"]
    assert [] == [run for run in ("plain Python", "uvicorn") if seconds[run, SETTING] >= unbounded]
