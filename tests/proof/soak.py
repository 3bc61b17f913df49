# SPDX-License-Identifier: Apache-2.0
"""Clients of all kinds live and end, from 8 threads and 2 event loops; what is said of them is compared with the truth.

    make soak                                    # three minutes
    make soak ARGS='--seconds 10 --every 2'

Every few seconds all of them stop where they are. Then the gauges have to be what the kernel has in /proc/net/tcp, what
the server counts, and what the garbage collector finds, as soon as the driver has ended its monitors; and so in a
forked child, which uses the clients that it has inherited. What the package itself has allocated must not grow.
Exits with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
import threading
import time
import tracemalloc
import warnings
from typing import TYPE_CHECKING

import pymongo
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from mongo import Server, clients_of, sockets_to
from otel_resinstr.instrumentors import MongoDBInstrumentor
from otel_resinstr.settings import Settings
from support import Collected

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 8
LOOPS = 2
KEPT = 3  # clients that each of them keeps at most
LAG = 20.0
"""Seconds within which the driver ends what a client has left: half a second on a machine that has nothing to do."""
GROWTH = 128
"""KiB that the package may have more in the second half than in the first: as many clients do not always live. Records
of a tenth of the clients of three minutes would be more."""


class Gate:
    """Where workers wait while the rest of the world is looked at."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()

    def pass_through(self) -> None:
        """Wait if it is closed."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._closed)
            self._waiting -= 1

    def close(self) -> None:
        """Wait until all workers wait."""
        with self._changed:
            self._closed = True
            assert self._changed.wait_for(lambda: self._waiting == self._workers, timeout=120), (
                "a worker hangs"
            )

    def open(self) -> None:
        """Let them go on."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()


class Worker(threading.Thread):
    """A thread that does one thing after the other with clients."""

    def __init__(self, uri: str, gate: Gate, seed: int) -> None:
        super().__init__(name=f"worker {seed}", daemon=True)
        self.uri = uri
        self.gate = gate
        self.random = random.Random(seed)
        self.kept: list[pymongo.MongoClient] = []
        self.stop = False
        self.done = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Until it is stopped; what goes wrong is kept."""
        try:
            while not self.stop:
                self.act()
                self.done += 1
                self.gate.pass_through()
            self.finish()
        except BaseException as error:
            self.error = error
            raise

    def act(self) -> None:
        """One thing."""
        self.random.choice(
            [self.close_one, self.drop_one, self.drop_unused, self.drop_cycle, self.keep_one, self.use_kept]
        )()

    def finish(self) -> None:
        """Close what was kept."""
        while self.kept:
            self.kept.pop().close()

    def used(self) -> pymongo.MongoClient:
        client = pymongo.MongoClient(self.uri)
        client.shop.orders.find_one()
        return client

    def close_one(self) -> None:
        self.used().close()

    def drop_one(self) -> None:
        self.used()

    def drop_unused(self) -> None:
        pymongo.MongoClient(self.uri, connect=self.random.random() < 0.5)

    def drop_cycle(self) -> None:
        client = self.used()
        client.__dict__["myself"] = client

    def keep_one(self) -> None:
        self.kept.append(self.used())
        if len(self.kept) > KEPT:
            self.kept.pop(0).close()

    def use_kept(self) -> None:
        for client in self.kept:
            client.shop.orders.find_one()


class LoopWorker(Worker):
    """A thread with an event loop that does the same with asynchronous clients."""

    def run(self) -> None:
        """See `Worker.run`."""
        try:
            asyncio.run(self.work())
        except BaseException as error:
            self.error = error
            raise

    async def work(self) -> None:
        """The loop goes on while the thread of this waits at the gate."""
        kept: list[pymongo.AsyncMongoClient] = []
        while not self.stop:
            client = pymongo.AsyncMongoClient(self.uri)
            await client.shop.orders.find_one()
            what = self.random.choice(["close", "drop", "keep", "use"])
            if what == "keep":
                kept.append(client)
                if len(kept) > KEPT:
                    await kept.pop(0).close()
            elif what != "drop":
                await client.close()
            for other in kept if what == "use" else ():
                await other.shop.orders.find_one()
            del client
            self.done += 1
            await asyncio.to_thread(self.gate.pass_through)
        for client in kept:
            await client.close()


class Truth:
    """What is said, and what is."""

    def __init__(self, server: Server, reader: InMemoryMetricReader, witness: pymongo.MongoClient) -> None:
        self.server = server
        self.reader = reader
        self.witness = witness  # constructed before the package was there: it is counted all the same

    def row(self) -> dict[str, int]:
        """All of it, at about one moment."""
        gc.collect()
        collected = Collected(self.reader.get_metrics_data())
        return {
            "clients": total(collected, "mongodb.client.active_instance.count"),
            "clients, gc": sum(
                len(clients_of(kind)) for kind in (pymongo.MongoClient, pymongo.AsyncMongoClient)
            ),
            "sockets": total(collected, "mongodb.client.socket.count"),
            "sockets, kernel": sockets_to(self.server.port),
            "sockets, server": self.witness.admin.command("serverStatus")["connections"]["current"],
            "created": total(collected, "mongodb.client.created"),
            "ended": total(collected, "mongodb.client.closed"),
        }

    def settled(self, holds: Callable[[dict[str, int]], bool]) -> tuple[dict[str, int], float, bool]:
        """A row for which *holds*, after how long, and whether there was one."""
        start = time.monotonic()
        while not holds(row := self.row()):
            if time.monotonic() - start > LAG:
                return row, LAG, False
            time.sleep(0.1)
        return row, time.monotonic() - start, True


def total(collected: Collected, name: str) -> int:
    """The sum of all points; none of them may be negative."""
    values = collected.points(name).values()
    assert all(value >= 0 for value in values), (name, collected.points(name))
    return sum(values)


def agree(row: dict[str, int]) -> bool:
    """All who count have the same number."""
    return row["clients"] == row["clients, gc"] and (
        row["sockets"] == row["sockets, kernel"] == row["sockets, server"]
    )


def fork(truth: Truth, workers: list[Worker]) -> bool:
    """A child that uses what it inherited, and one client of its own: whether its numbers are right."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        right = False
        try:
            gc.collect()
            inherited = sockets_to(truth.server.port)
            collected = Collected(truth.reader.get_metrics_data())
            right = total(collected, "mongodb.client.created") == 0
            for worker in workers:
                worker.use_kept()
            with pymongo.MongoClient(truth.server.uri) as own:
                own.admin.command("ping")
            end = time.monotonic() + LAG
            while right:
                row = truth.row()
                # Of the parent's sockets the driver closes those in its pools; the monitors' stay open.
                if row["sockets"] == row["sockets, kernel"] and row["created"] == row["ended"] == 1:
                    break
                right = time.monotonic() < end
                time.sleep(0.1)
            if not right:
                print(f"a forked child: {row}, {inherited} sockets inherited", flush=True)
        finally:
            os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    return status == 0


def allocated() -> int:
    """What the package has allocated and not given back, in KiB."""
    ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/otel_resinstr/*")
    statistics = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
    return sum(statistic.size for statistic in statistics) // 1024


def soak(server: Server, seconds: float, every: float) -> list[str]:
    """Let them live; returns what was wrong."""
    witness = pymongo.MongoClient(server.uri)
    witness.admin.command("ping")
    reader = InMemoryMetricReader()
    MongoDBInstrumentor().instrument(
        settings=Settings(server_interval=1.0),
        meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        logger_provider=LoggerProvider(shutdown_on_exit=False),
    )
    gate, truth = Gate(THREADS + LOOPS), Truth(server, reader, witness)
    threads = [Worker(server.uri, gate, seed) for seed in range(THREADS)]
    workers = [*threads, *(LoopWorker(server.uri, gate, THREADS + seed) for seed in range(LOOPS))]
    for worker in workers:
        worker.start()

    wrong, memory, start = [], [], time.monotonic()
    # Two halves of two looks each, however slow the machine is.
    while time.monotonic() - start < seconds or len(memory) < 4:
        time.sleep(every)
        gate.close()
        row, lag, right = truth.settled(agree)
        forked = fork(truth, threads)
        memory.append(allocated())
        gate.open()
        at = f"{time.monotonic() - start:.0f} s"
        show(
            {"at": at, **row, "lag": f"{lag:.1f} s", "child": "ok" if forked else "WRONG", "KiB": memory[-1]}
        )
        wrong += [] if right else [f"{at}: {row}"]
        wrong += [] if forked else [f"{at}: a forked child was wrong, or hung"]
        wrong += [f"{worker.name}: {worker.error!r}" for worker in workers if worker.error]

    for worker in workers:
        worker.stop = True
    for worker in workers:
        worker.join(60)
    row, lag, right = truth.settled(lambda row: agree(row) and row["clients"] == 1)
    show({"at": "end", **row, "lag": f"{lag:.1f} s", "child": "", "KiB": allocated()})
    wrong += [] if right else [f"at the end: {row}"]
    half = len(memory) // 2
    if max(memory[half:]) > max(memory[:half]) + GROWTH:
        wrong.append(f"our memory grows: at most {max(memory[:half])} KiB, then {max(memory[half:])} KiB")
    print(f"{sum(worker.done for worker in workers)} actions, {row['created']} clients")
    MongoDBInstrumentor().uninstrument()
    witness.close()
    return wrong


def show(row: dict[str, object]) -> None:
    """A line of the table, with its head before the first one."""
    if not show.__dict__.setdefault("head", False):
        show.__dict__["head"] = True
        print("  ".join(f"{name:>15}" for name in row))
    print("  ".join(f"{value!s:>15}" for value in row.values()), flush=True)


def main() -> int:
    """Print the table; 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    options = parser.parse_args()
    # That clients are dropped, and that a process with threads forks, is what this is about.
    warnings.simplefilter("ignore")
    tracemalloc.start()
    server = Server()
    try:
        wrong = soak(server, options.seconds, options.every)
    finally:
        server.stop()
    print("\n".join(["WRONG", *wrong]) if wrong else "all right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
