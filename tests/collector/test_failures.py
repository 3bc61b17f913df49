# SPDX-License-Identifier: Apache-2.0
"""
What is lost when something fails, to the last span: a Collector that is killed, a back end that is down or refuses,
a full queue, a full disk, no memory, a log line of 10 MB.

In each, what was sent is what arrived, and what the sender was told, and what the Collector counted.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from ingestion import Ingestion
from mongo import eventually
from otelcol import COLLECTOR, LOCAL_DEBUG, Collector, running

CONFIG = COLLECTOR / "config"
GATEWAY = CONFIG / "gateway.yaml"
EACH = 10  # spans a request
MIB = 2**20

pytestmark = pytest.mark.usefixtures("otelcol")


@pytest.fixture
def run(otelcol: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a Collector in a folder of its own, which another run of that name finds as it was left."""

    @contextmanager
    def run(config: Path, name: str, **environ: str) -> Iterator[Collector]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        with running(otelcol, config, folder, environ) as collector:
            yield collector

    return run


@pytest.fixture
def nowhere() -> str:
    """An address of loopback where nobody listens, until somebody is started there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def spans(number: int, *, padding: int = 0) -> dict[str, Any]:
    """The *number*th request: ten spans whose names are their numbers."""
    attributes = [{"key": "padding", "value": {"stringValue": "x" * padding}}] if padding else []
    made = [
        {
            "name": str(each),
            "traceId": f"{each + 1:032x}",
            "spanId": f"{each + 1:016x}",
            "attributes": attributes,
        }
        for each in range(number * EACH, (number + 1) * EACH)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}


def names(numbers: list[int]) -> Counter[str]:
    """The names of the spans of those requests."""
    return Counter(str(each) for number in numbers for each in range(number * EACH, (number + 1) * EACH))


def arrived(collector: Collector) -> Counter[str]:
    """The names of the spans that it has written down."""
    return Counter(
        span["name"]
        for request in collector.requests("traces")
        for resource in request["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    )


def log_line(size: int) -> dict[str, Any]:
    """A request with one log record of so many bytes."""
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x" * size}}]}]}]}


def test_what_was_written_down_survives_a_kill(run) -> None:
    """local-debug has no buffer: what the sender has an answer for is in the file."""
    with run(LOCAL_DEBUG, "killed") as collector:
        assert [collector.send("traces", spans(number)) for number in range(5)] == [200] * 5
        collector.kill()

        assert arrived(collector) == names([*range(5)])


def test_nothing_is_lost_while_the_back_end_is_down_and_the_gateway_is_killed(run, nowhere: str) -> None:
    """
    What it accepted waits on the disk, and arrives once, when there is a gateway and a back end again.

    It accepts all of it, so no application notices anything.
    """
    onwards = {"GATEWAY_ENDPOINT": nowhere, "GATEWAY_PLAIN_TEXT": "true"}
    with run(GATEWAY, "gateway", **onwards) as gateway:
        assert [gateway.send("traces", spans(number)) for number in range(20)] == [200] * 20
        gateway.kill()
    with run(GATEWAY, "gateway", **onwards) as gateway:
        assert gateway.send("traces", spans(20)) == 200
        gateway.kill()

    with (
        run(LOCAL_DEBUG, "back end", OTLP_GRPC_ENDPOINT=nowhere) as back_end,
        run(GATEWAY, "gateway", **onwards) as gateway,
    ):
        eventually(lambda: sum(arrived(back_end).values()) >= 21 * EACH, 60)
        assert gateway.stop() == 0
        assert arrived(back_end) == names([*range(21)])


def test_a_full_queue_refuses_and_loses_nothing_of_what_it_has(run, nowhere: str) -> None:
    """
    The sender is told to try again; each refused span is counted, and the alert for it has its series.

    When the back end is there again, what was accepted arrives, no more and no less.
    """
    onwards = {
        "GATEWAY_ENDPOINT": nowhere,
        "GATEWAY_PLAIN_TEXT": "true",
        "GATEWAY_QUEUE_REQUESTS": "5",
    }
    with run(GATEWAY, "gateway", **onwards) as gateway:
        answers = [gateway.send("traces", spans(number)) for number in range(20)]
        counted = gateway.counted()
        accepted = [number for number, answer in enumerate(answers) if answer == 200]

        assert set(answers) == {200, 503}
        assert len(accepted) >= 5
        assert counted["otelcol_receiver_accepted_spans"] == len(accepted) * EACH
        assert counted["otelcol_receiver_refused_spans"] == (20 - len(accepted)) * EACH
        assert counted["otelcol_exporter_enqueue_failed_spans"] == (20 - len(accepted)) * EACH

        with run(LOCAL_DEBUG, "back end", OTLP_GRPC_ENDPOINT=nowhere) as back_end:
            eventually(lambda: sum(arrived(back_end).values()) >= len(accepted) * EACH, 60)
            assert gateway.stop() == 0
            assert arrived(back_end) == names(accepted)


def test_what_a_back_end_refuses_for_good_is_dropped_and_counted(run) -> None:
    """To try again would help nobody and stop the rest; the loss is in the Collector's own metrics."""
    server = grpc.server(futures.ThreadPoolExecutor(1))  # knows no service: UNIMPLEMENTED
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with run(
            GATEWAY, "gateway", GATEWAY_ENDPOINT=f"127.0.0.1:{port}", GATEWAY_PLAIN_TEXT="true"
        ) as gateway:
            assert gateway.send("traces", spans(0)) == 200
            eventually(lambda: gateway.counted().get("otelcol_exporter_send_failed_spans") == EACH, 30)
    finally:
        server.stop(None)


def test_a_full_disk_refuses_and_loses_nothing_of_what_it_has(run, nowhere: str, tmp_path: Path) -> None:
    """As a full queue does: what was accepted is there, what was not the sender knows of."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip("NO SMALL DISK: mounting one needs root")
    onwards = {"GATEWAY_ENDPOINT": nowhere, "GATEWAY_PLAIN_TEXT": "true", "GATEWAY_QUEUE": str(disk)}
    try:
        with run(GATEWAY, "gateway", **onwards) as gateway:
            answers = [gateway.send("traces", spans(number, padding=10_000)) for number in range(30)]
            accepted = [number for number, answer in enumerate(answers) if answer == 200]
            counted = gateway.counted()

            assert accepted
            assert len(accepted) < 30
            assert counted["otelcol_receiver_accepted_spans"] == len(accepted) * EACH
            assert counted["otelcol_exporter_enqueue_failed_spans"] == (30 - len(accepted)) * EACH

            with run(LOCAL_DEBUG, "back end", OTLP_GRPC_ENDPOINT=nowhere) as back_end:
                eventually(lambda: sum(arrived(back_end).values()) >= len(accepted) * EACH, 60)
                assert gateway.stop() == 0
                assert arrived(back_end) == names(accepted)
    finally:
        subprocess.run(["umount", str(disk)], timeout=30, check=True)


def test_a_disk_that_is_full_is_told_to_the_sender(run, tmp_path: Path) -> None:
    """local-debug answers with an error and counts; what is printed and the other signals go on."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "traces.jsonl").symlink_to("/dev/full")
    with run(LOCAL_DEBUG, "full", OTELCOL_OUT=str(out)) as collector:
        answer = collector.send("traces", spans(0))
        counted = collector.counted()

        assert answer >= 400
        assert counted["otelcol_exporter_send_failed_spans"] == EACH
        assert collector.send("logs", log_line(10)) == 200
        assert len(collector.requests("logs")) == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_log_line_of_10_mb_arrives(run, protocol: str) -> None:
    """Whole, through the gateway and over either protocol; one of more than 20 MiB is refused at the door."""
    size = 10_000_000
    with (
        run(LOCAL_DEBUG, "back end", OTELCOL_DEBUG_VERBOSITY="basic") as back_end,
        run(GATEWAY, "gateway", GATEWAY_ENDPOINT=back_end.grpc, GATEWAY_PLAIN_TEXT="true") as gateway,
    ):
        if protocol == "http":
            assert gateway.send("logs", log_line(size)) == 200
        else:
            _send_over_grpc(gateway, size)
        eventually(lambda: back_end.requests("logs"), 60)
        ((resource,),) = (request["resourceLogs"] for request in back_end.requests("logs"))
        assert len(resource["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"]) == size

        if protocol == "grpc":
            with pytest.raises(grpc.RpcError) as refused:
                _send_over_grpc(gateway, 21 * MIB)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert gateway.counted()["otelcol_receiver_accepted_log_records"] == 1


def _send_over_grpc(collector: Collector, size: int) -> None:
    request = ExportLogsServiceRequest.FromString(_log_record("x" * size))
    with grpc.insecure_channel(collector.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        LogsServiceStub(channel).Export(request, timeout=60)


def _log_record(body: str) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = body
    return request.SerializeToString()


def test_the_largest_request_that_comes_in_fits_into_a_file(run) -> None:
    """Also where each character of it is six in JSON; what does not fit would be refused again and again."""
    request = _log_record("\0" * (20 * MIB - 100))
    with run(LOCAL_DEBUG, "large", OTELCOL_DEBUG_VERBOSITY="basic") as collector:
        answer = collector.send_encoded("logs", request, "application/x-protobuf")
        with (collector.out / "logs.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(-1, os.SEEK_END)
            last = file.read()

    assert (answer, last) == (200, b"\n")
    assert size > 6 * (len(request) - 100)


def test_short_of_memory_it_refuses_and_lives(run, nowhere: str) -> None:
    """
    Eight senders of long lines at a time, until a limit is exceeded: all that was answered with 200 is kept.

    The rest is refused and counted, and the process stays far below what was sent to it.
    """
    size, lines = 2_000_000, 128
    onwards = {
        "GATEWAY_ENDPOINT": nowhere,
        "GATEWAY_PLAIN_TEXT": "true",
        "OTELCOL_MEMORY_LIMIT_MIB": "30",
        "GOMEMLIMIT": "30MiB",
    }
    with run(GATEWAY, "gateway", **onwards) as gateway:
        line = log_line(size)
        answers: list[int] = []
        deadline = time.monotonic() + 60
        with futures.ThreadPoolExecutor(8) as senders:
            # It looks at its memory once a second, so how many lines it takes is the machine's business.
            while len(answers) < lines or 503 not in answers:
                assert time.monotonic() < deadline, Counter(answers)
                answers += senders.map(lambda _: gateway.send("logs", line), range(32))
        counted = gateway.counted()
        status = Path(f"/proc/{gateway.process.pid}/status").read_text()

    assert set(answers) == {200, 503}
    assert counted["otelcol_receiver_accepted_log_records"] == answers.count(200)
    assert counted.get("otelcol_receiver_refused_log_records", 0) == answers.count(503)
    assert _kib(status, "VmHWM") * 1024 < size * len(answers)


def _kib(status: str, name: str) -> int:
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def test_what_azure_refuses_is_lost_and_counted_as_sent(run, ingestion: Ingestion) -> None:
    """
    The exporter hands over and forgets: the Collector's own count says sent, whatever the answer was.

    So for Azure the count to look at is the one in Azure. What it says of the next requests is not affected.
    """
    ingestion.refuse(400)
    with run(
        CONFIG / "azure-gateway.yaml",
        "azure",
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
    ) as collector:
        assert collector.send("traces", spans(0)) == 200
        eventually(lambda: ingestion.refused == [400], 30)
        assert collector.send("traces", spans(1)) == 200
        eventually(lambda: len(ingestion.envelopes) >= EACH, 30)
        counted = collector.counted()

    assert Counter(
        envelope["data"]["baseData"]["name"] for envelope in ingestion.of("RemoteDependencyData")
    ) == names([1])
    assert counted["otelcol_exporter_sent_spans"] == 2 * EACH
    assert counted.get("otelcol_exporter_send_failed_spans", 0) == 0


def test_a_slow_azure_does_not_slow_the_senders_down(run, ingestion: Ingestion) -> None:
    """The Collector has answered all of them before Azure has answered the first one; all of it arrives."""
    ingestion.answering.clear()
    with run(
        CONFIG / "azure-gateway.yaml",
        "azure",
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
    ) as collector:
        answers = [collector.send("traces", spans(number)) for number in range(5)]
        before = len(ingestion.envelopes)
        ingestion.answering.set()
        eventually(lambda: len(ingestion.envelopes) >= 5 * EACH, 60)

    assert (answers, before) == ([200] * 5, 0)
