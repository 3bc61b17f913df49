# SPDX-License-Identifier: Apache-2.0
"""A MongoDB server for the tests, and what the system says of the sockets to it.

A plugin of pytest: the server is there for all tests.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


# A program of its own: it is under the GPL, and never imported.
PROGRAM = Path(sys.executable).with_name("secantusd-py")

EXHAUST = 64  # pymongo.CursorType.EXHAUST, where there is a driver


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A MongoDB server, where there is a driver for it."""
    pytest.importorskip("pymongo")
    if not PROGRAM.exists():
        pytest.skip("SecantusDB has no wheel for this platform")
    server = Server()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def no_connection_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test that leaves one fails, and not those after it, which count them: they get another server."""
    if "server" not in request.fixturenames or sys.platform != "linux":
        yield
        return
    server = request.getfixturevalue("server")
    before = sockets_to(server.port)

    def gone() -> bool:
        if sockets_to(server.port) <= before:
            return True
        gc.collect()
        return False

    yield
    try:
        eventually(gone, seconds=5)
    except AssertionError:
        server.stop()
        server.start()
        raise


class Server:
    """SecantusDB, a MongoDB-wire server: a program of its own, on loopback, in memory."""

    def __init__(self, *options: str | Path) -> None:
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it, on a port of its own."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [
                *(PROGRAM, "--port", str(self.port), "--storage-path", ":memory:", "--enable-test-commands"),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "COV"))},
        )
        try:
            eventually(self._answers, seconds=60)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"{self._process.args} ended with {self._process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    @property
    def uri(self) -> str:
        """What a client takes."""
        return f"mongodb://127.0.0.1:{self.port}"

    @property
    def pool_name(self) -> str:
        """What the pool is called in the telemetry."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


class Relay:
    """A Unix socket that leads to *server*, which has none of its own."""

    def __init__(self, server: Server) -> None:
        # Not in a folder of pytest's: a socket's path may have some hundred characters, and no more.
        self._folder = tempfile.TemporaryDirectory(prefix="resinstr-", dir="/tmp")
        self.path = Path(self._folder.name, "mongodb.sock")
        self._port = server.port
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._folder.cleanup()


def sockets_to(port: int, pid: int | str = "self") -> int:
    """How many TCP connections to *port* on this machine a process has open, as the kernel says."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(descriptor.readlink().name)
        except OSError:  # the descriptor of the listing itself
            continue
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if int(fields[2].rpartition(":")[2], 16) == port and f"socket:[{fields[9]}]" in own:
                count += 1
    return count


def clients_of(kind: type) -> list[Any]:
    """The clients that exist and are not closed, as the garbage collector says."""
    return [found for found in gc.get_objects() if issubclass(type(found), kind) and not found._closed]


def driver_threads() -> list[str]:
    """The driver's threads in this process, as the kernel says."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("pymongo"))


@contextlib.contextmanager
def connection_in_use(client: Any) -> Iterator[None]:
    """A connection of a synchronous *client* is held for as long as it takes: by a cursor with more to read from it."""
    client.shop.numbers.drop()
    client.shop.numbers.insert_many([{} for _ in range(3)])
    with client.shop.numbers.find(batch_size=1, cursor_type=EXHAUST) as cursor:
        next(cursor)
        yield


@contextlib.asynccontextmanager
async def connection_of_async_in_use(client: Any) -> AsyncIterator[None]:
    """The same, of an asynchronous one."""
    await client.shop.numbers.drop()
    await client.shop.numbers.insert_many([{} for _ in range(3)])
    async with client.shop.numbers.find(batch_size=1, cursor_type=EXHAUST) as cursor:
        await cursor.next()
        yield


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """What *condition* returns once it is true; fails if it is not in time."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"not true within {seconds} s: {_source(condition)}"
        time.sleep(0.02)
    return result


def _source(condition: Callable[[], Any]) -> str:
    import inspect

    try:
        return re.sub(r"\s+", " ", inspect.getsource(condition))
    except OSError:
        return repr(condition)
