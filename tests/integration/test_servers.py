# SPDX-License-Identifier: Apache-2.0
"""Services as they are deployed: each process reports itself, once an interval, and what it reports is true of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
import pymongo
import pytest

from launched import EXAMPLES, INTERVAL
from mongo import eventually, sockets_to
from received import events, exports

BIN = Path(sys.executable).parent
MIB = 1024 * 1024
MEMORY = "process.memory.usage"

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc"),
    pytest.mark.skipif(OTEL < (1, 44), reason="older SDKs give a forked worker the identity of its parent"),
]


class Kind(NamedTuple):
    """A way to serve an application: the command, the application in `examples`, and how many workers."""

    command: tuple[str, ...]
    application: str
    workers: int
    protocol: str = "http/protobuf"
    preloaded: bool = False


UVICORN = ("uvicorn", "app:app", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
GUNICORN = (
    *("gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--workers", "2", "--log-level", "warning"),
    *(
        "--control-socket",
        "gunicorn.ctl",
    ),  # in the folder of the test; it is served by an event loop in the master
)
UVICORN_WORKER = ("--worker-class", "uvicorn.workers.UvicornWorker")

RECYCLED = ("--workers", "1", "--max-requests", "60")

KINDS = {
    "uvicorn": Kind(UVICORN, "uvicorn", 1, protocol="grpc"),
    "uvicorn-2-workers": Kind((*UVICORN, "--workers", "2"), "uvicorn", 2),
    "uvicorn-reload": Kind((*UVICORN, "--reload"), "uvicorn", 1),
    "gunicorn": Kind(GUNICORN, "gunicorn", 2),
    "gunicorn-preload": Kind((*GUNICORN, "--preload"), "gunicorn", 2, preloaded=True),
    "gunicorn-threads": Kind((*GUNICORN, "--threads", "3"), "gunicorn", 2, protocol="grpc"),
    "gunicorn-threads-preload": Kind(
        (*GUNICORN, "--threads", "3", "--preload"), "gunicorn", 2, preloaded=True
    ),
    "gunicorn-uvicorn": Kind((*GUNICORN, *UVICORN_WORKER), "uvicorn", 2),
    "gunicorn-uvicorn-preload": Kind((*GUNICORN, *UVICORN_WORKER, "--preload"), "uvicorn", 2),
}


class Service:
    """A service that answers, and its workers."""

    def __init__(self, kind, start, uri):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [part.format(port=self.port) for part in kind.command]
        self.program = start(
            BIN / command[0],
            *command[1:],
            protocol=kind.protocol,
            MONGODB_URI=uri,
            PYTHONPATH=str(EXAMPLES / kind.application),
            PRELOAD_CLIENT="1" if kind.preloaded else "",
        )
        self._count = kind.workers
        self.find_workers()

    def find_workers(self, without=None):
        """Wait until all workers have answered, but for one that is gone."""
        self.workers = eventually(lambda: self._answering(without), seconds=30)

    def get(self, path):
        """What is answered to a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            assert 200 == response.status, path
            return json.loads(response.read())
        finally:
            connection.close()

    def _answering(self, without):
        # Who takes a connection is up to the kernel: all have to be asked until each of them has answered.
        assert self.program.process.poll() is None, self.program.err.read_text()
        try:
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(self.get, ["/"] * 16))
        except (OSError, http.client.HTTPException):  # not yet, or taken by the one that is gone
            return None
        assert [None] * len(answers) == [answer["order"] for answer in answers]
        found = {answer["pid"] for answer in answers}
        return sorted(found) if len(found) == self._count and without not in found else None


class Truth(NamedTuple):
    """What the system, or the application itself, says of a process."""

    threads: int
    sockets: int
    clients: int
    created: int

    @classmethod
    def of(cls, pid, port, clients, created):
        """What is true of *pid* now."""
        threads = len([*Path(f"/proc/{pid}/task").iterdir()])
        return cls(threads, sockets_to(port, pid), clients, created)

    @classmethod
    def reported(cls, export):
        """What was reported."""
        return cls(
            export.total("process.thread.count"),
            export.total("mongodb.client.socket.count"),
            export.total("mongodb.client.active_instance.count"),
            export.total("mongodb.client.created") or 0,
        )


def by_pid(collector):
    """The exports of each process, in order."""
    found = {}
    for export in exports(collector):
        found.setdefault(export.pid, []).append(export)
    return found


def fresh(collector, pid):
    """What *pid* reports next."""
    now = time.time_ns()
    return eventually(
        lambda: next((export for export in by_pid(collector).get(pid, ()) if export.at > now), None)
    )


@pytest.fixture
def serve(server, instrumented, collector):
    """Start a service with no order in its database that answers, and each of whose workers reports."""
    with pymongo.MongoClient(server.uri) as client:
        client.shop.orders.drop()  # other tests' applications have placed some

    def serve(kind):
        service = Service(kind, instrumented, server.uri)
        eventually(lambda: {*service.workers} <= {*by_pid(collector)}, seconds=30)
        return service

    return serve


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_worker_reports_itself(kind, serve, collector, server):
    """Once an interval, under an identity of its own, from 0, and what the system says of that very process."""
    service = serve(kind)
    before = {pid: fresh(collector, pid) for pid in service.workers}
    with_clients = service.get("/clients?more=3")["pid"]
    with_memory = service.get("/memory?more=50")["pid"]

    for pid in service.workers:
        kept = 3 * (pid == with_clients)
        # Who was forked has the client of its parent, and did not construct it.
        clients, created = 1 + kept, kept + (not kind.preloaded)

        def agree(pid=pid, clients=clients, created=created):
            truth = Truth.of(pid, server.port, clients, created)
            export = fresh(collector, pid)
            assert_of_this_process_only(kind, export)
            return truth == Truth.reported(export)

        eventually(agree)
        assert_close_to_the_system(fresh(collector, pid))
        grown = fresh(collector, pid).total(MEMORY) - before[pid].total(MEMORY)
        assert (grown > 45 * MIB) == (pid == with_memory)
    assert_once_an_interval(service, collector)


def assert_of_this_process_only(kind, export):
    """No connection that its parent opened is counted, and no loop that its parent runs is watched."""
    in_pools = export.total("mongodb.client.socket.count", mongodb__client__socket__type="pool")
    assert in_pools == export.total("mongodb.connection.created")
    loops = {value for series in export.values.get("asyncio.eventloop.delay.max", ()) for _, value in series}
    assert loops == ({"main"} if kind.application == "uvicorn" else set())


def assert_begins_at_0(kind, export):
    """It has made one client, whatever those before it have made, and has one."""
    assert (1, 1) == (
        export.total("mongodb.client.created"),
        export.total("mongodb.client.active_instance.count"),
    )
    assert_of_this_process_only(kind, export)


def assert_close_to_the_system(export):
    """What may change from one moment to the next."""
    process = psutil.Process(export.pid)
    assert process.memory_info().rss == pytest.approx(export.total(MEMORY), abs=3 * MIB)
    # Its listing of its descriptors is one itself, and an export may be on its way.
    assert process.num_fds() == pytest.approx(export.total("process.unix.file_descriptor.count"), abs=2)
    assert time.time() - process.create_time() == pytest.approx(export.total("process.uptime"), abs=2)


def assert_once_an_interval(service, collector):
    """Each process has one identity, and each identity reports when its interval is over, never in between."""
    ended = service.program.terminate()
    eventually(lambda: not service.program.children())
    said = service.program.err.read_text()

    found = by_pid(collector)
    instances = {pid: {export.instance for export in each} for pid, each in found.items()}
    assert [1] * len(found) == [len(instance) for instance in instances.values()]
    assert len(found) == len(set.union(*instances.values()))
    assert {*service.workers, service.program.process.pid} <= {*found}
    for each in found.values():
        gaps = [(later.at - earlier.at) / 1e9 for earlier, later in pairwise(each)]
        # The last report is the one at the end of the process.
        assert [] == [gap for gap in gaps[:-1] if not 0.95 * INTERVAL < gap < 5 * INTERVAL]
    # uvicorn, having stopped, sends itself the signal again.
    assert ended in (0, -15)
    assert "Traceback" not in said
    assert "broke and was stopped" not in said


def test_a_blocked_loop_is_reported_by_its_worker(serve, collector):
    """The event names the line, and comes from the process that was held; the answer is what it is without us."""
    service = serve(KINDS["uvicorn-2-workers"])

    answer = service.get("/block?more=400")

    assert {answer["pid"]} == blocked_by_the_application(collector)
    assert ["pid"] == list(answer)


def blocked_by_the_application(collector):
    """The processes whose loop was held by a request."""
    return {
        event.pid
        for event in eventually(
            lambda: [
                each for each in events(collector) if each.attributes.get("code.function.name") == "block"
            ]
        )
    }


def test_a_worker_that_takes_the_place_of_another_reports_itself(serve, collector):
    """It is forked while our thread runs in the master, and while a loop does; it starts its own, and at 0."""
    kind = KINDS["gunicorn-uvicorn"]
    service = serve(kind)
    master = service.program.process.pid
    eventually(
        lambda: fresh(collector, master).total("cpython.thread.count", cpython__thread__group="resinstr")
    )

    gone, stays = service.workers
    os.kill(gone, signal.SIGKILL)
    service.find_workers(without=gone)
    (new,) = {*service.workers} - {stays}

    assert_begins_at_0(kind, fresh(collector, new))
    eventually(lambda: new == service.get("/block?more=400")["pid"])
    eventually(lambda: new in blocked_by_the_application(collector))
    assert_once_an_interval(service, collector)


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn-threads", "gunicorn-uvicorn"])
def test_a_worker_that_is_recycled_leaves_its_place_to_one_that_begins_at_0(name, serve, collector):
    """After so many requests it ends by itself, and the master, which has exported meanwhile, forks another one."""
    kind = KINDS[name]._replace(command=(*KINDS[name].command, *RECYCLED), workers=1)
    service = serve(kind)
    (old,) = service.workers

    service.find_workers(without=old)
    (new,) = service.workers

    assert_begins_at_0(kind, fresh(collector, new))
    assert_once_an_interval(service, collector)
