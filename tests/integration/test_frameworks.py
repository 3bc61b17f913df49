# SPDX-License-Identifier: Apache-2.0
"""A web service that constructs a client for each request, as a new user runs it: what the trace, the metrics and
the log show.
"""

from __future__ import annotations

import re
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

from launched import EXAMPLES
from mongo import eventually
from received import KINDS, attributes, events, exports

BIN = Path(sys.executable).parent
REQUESTS = 12
SITE = "mongodb.client.site"

COMMANDS = {
    "flask": ("flask", "--app", "app", "run", "--port"),
    "fastapi": ("uvicorn", "app:app", "--log-level", "warning", "--port"),
}


class Span(NamedTuple):
    """A span of any scope."""

    name: str
    kind: str
    trace: str
    parent: str
    id: str
    attributes: dict


def spans(collector):
    """All that arrived."""
    return [
        Span(
            span["name"],
            KINDS[span["kind"]],
            span["traceId"],
            span.get("parentSpanId", ""),
            span["spanId"],
            attributes(span),
        )
        for request in collector.requests("traces")
        for resource in request["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def by_trace(collector):
    """The spans of each request, once those of all requests have arrived."""
    found = spans(collector)
    traces = {span.trace: [] for span in found if span.kind == "SERVER"}
    for span in found:
        if span.trace in traces:
            traces[span.trace].append(span)
    whole = [
        trace for trace in traces.values() if {"mongodb.client.create", "update orders"} <= {*names(trace)}
    ]
    return whole if len(whole) == REQUESTS else None


def names(trace):
    return [span.name for span in trace]


@pytest.mark.parametrize("framework", COMMANDS)
def test_a_client_for_each_request_is_seen_everywhere(framework, instrumented, collector, server):
    """In the trace of each request, in the metrics by the line, and as one line in the log that names file and line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = EXAMPLES / framework
    command, *arguments = COMMANDS[framework]
    program = instrumented(
        BIN / command, *arguments, str(port), MONGODB_URI=server.uri, PYTHONPATH=str(folder)
    )
    eventually(lambda: answers(program, port), seconds=60)
    for number in range(REQUESTS):
        place(port, number)
        time.sleep(0.1)  # what is over at once is no churn

    line = 1 + next(
        number
        for number, text in enumerate((folder / "app.py").read_text().splitlines())
        if "MongoClient(URI)" in text
    )
    site = f"app.py:{line} get_database"
    for trace in eventually(lambda: by_trace(collector), seconds=30):
        (request,) = (span for span in trace if span.kind == "SERVER")
        (create,) = (span for span in trace if span.name == "mongodb.client.create")
        (update,) = (span for span in trace if span.name == "update orders")
        assert (site, str(folder / "app.py"), line) == (
            create.attributes[SITE],
            create.attributes["code.file.path"],
            create.attributes["code.line.number"],
        )
        assert "PUT /orders/" in request.name
        assert {request.id} == {create.parent, update.parent}
        assert "mongodb.connection.create" in names(trace)
        assert update.attributes["mongodb.pool.wait_time"] > 0

    def created():
        return {
            dict(series)[SITE]: count
            for export in exports(collector)
            for series, count in export.values.get("mongodb.client.created", {}).items()
        }

    eventually(lambda: {site: REQUESTS} == created())
    (churn,) = eventually(
        lambda: [event for event in events(collector) if event.name == "mongodb.client.churn"]
    )
    assert site == churn.attributes[SITE]
    assert 10 <= churn.attributes["mongodb.client.churn.created"] <= REQUESTS
    said = program.err.read_text() + program.out.read_text()
    (warning,) = (text for text in said.splitlines() if "mongodb.client.churn" in text)
    assert re.search(rf"1\d clients constructed .* \({re.escape(str(folder))}/app.py:{line}\)", warning)


def answers(program, port):
    assert program.process.poll() is None, program.err.read_text()
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def place(port, number):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/orders/{number}", method="PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        assert f'"number":{number}' in response.read().decode().replace(" ", "")
