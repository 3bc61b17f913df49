# SPDX-License-Identifier: Apache-2.0
"""A sample of the flight recorder's, with all default probes, 50 threads, a client and a loop; its ring, full."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
from opentelemetry.exporter.otlp.json.common.metrics_encoder import encode_metrics

import otel_resinstr
from benchmarks.measuring import Report, Row, each, interleaved, ratios
from benchmarks.process import Reader, burdened
from otel_resinstr import _instruments, recorder

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 40
SAMPLES = 5  # a round


def cost_of(call: Callable[[], object]) -> Callable[[], float]:
    """The CPU time of one *call*, which runs in this thread."""
    return lambda: each(call, SAMPLES, time.thread_time)


def run() -> Report:
    """Measure, and say what came out."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    reader = Reader()
    with tempfile.TemporaryDirectory() as folder, burdened():
        otel_resinstr.instrument(otel_resinstr.Settings(recorder_dir=folder), meter_provider=reader.provider)
        client = pymongo.MongoClient("127.0.0.1", 1, connect=False)
        time.sleep(1.5)  # the peaks want a second to look back over
        running = recorder._running
        if running is None:
            raise RuntimeError("no recorder runs")

        def read() -> None:
            for _, observations in _instruments.observed():
                list(observations)

        def sdk() -> bytes:
            return json.dumps(encode_metrics(reader._reader.get_metrics_data()).to_dict()).encode()

        points = reader.points()
        costs = interleaved(
            {"floor": cost_of(read), "ours": cost_of(running._sample), "sdk": cost_of(sdk)}, ROUNDS
        )
        running._begin()
        for _ in range(int(recorder.SECONDS / recorder.PERIOD)):
            running._sample()
        held = sum(entry.size() for entry in running._ring)
        began = time.perf_counter()
        path = recorder.dump()
        took = time.perf_counter() - began
        written = Path(path).stat().st_size if path else 0
        client.close()
        otel_resinstr.uninstrument()
    loop.call_soon_threadsafe(loop.stop)
    return Report(
        "recorder: CPU of a sample of all default metrics, every five seconds",
        [
            Row(f"floor: {points} points are read", costs["floor"], "ms"),
            Row("ours: read, encoded, compressed", costs["ours"], "ms"),
            Row("SDK: collected, encoded by the official encoder", costs["sdk"], "ms"),
            Row("ours : SDK", ratios(costs["ours"], costs["sdk"]), at_most=1.0),
            Row("of a core", [cost / recorder.PERIOD for cost in costs["ours"]], "%", at_most=0.1e-2),
            Row("a dump of ten minutes", [took], "ms"),
        ],
        f"Ten minutes: {held / 1e6:.2f} MB in the ring (at most 2), {written / 1e6:.2f} MB in the file.",
    )
