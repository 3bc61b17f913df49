# SPDX-License-Identifier: Apache-2.0
"""The MongoDB server of the demo: SecantusDB as a program beside ours, or one that the user has; and what it sees."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from otel_resinstr.cli._environment import neutral
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._programs import start_on_free_ports

if TYPE_CHECKING:
    from otel_resinstr.cli._programs import Program, Programs

READY_WITHIN = 60.0
_PROGRAM = "secantusd-py"
_ANSWERS_WITHIN_MS = 5000
_STEADY = 7  # tenths of a second: SecantusDB notices within half a second that a client has gone
_OWN_SERVER = "Give the demo a server that runs: --mongodb-uri mongodb://HOST:PORT"


def start_server(programs: Programs, folder: Path, beside: Path | None = None) -> str:
    """Start SecantusDB (https://pypi.org/project/secantusdb) on a free port of loopback; returns its URI.

    Args:
        programs: Ends it.
        folder: Where its log goes.
        beside: The folder to look for it first; by default that of the interpreter.
    """
    bin_folder = beside or Path(sys.executable).parent
    program = shutil.which(_PROGRAM, path=str(bin_folder)) or shutil.which(_PROGRAM)
    if program is None:
        raise Failure(
            f"SecantusDB is not installed: there is no {_PROGRAM} in {bin_folder}\n"
            "pip install 'otel-resinstr[demo]' brings it, but for platforms without a wheel (Macs with an Intel "
            f"processor).\n{_OWN_SERVER}"
        )
    # What a secantusd.toml in the home directory says is meant for another server than this.
    settings = folder / "secantusd.toml"
    settings.touch()

    def start(ports: list[int]) -> Program:
        address = ["--host", "127.0.0.1", "--port", str(ports[0])]
        return programs.start(
            "SecantusDB",
            [program, "--config", settings, *address, "--storage-path", ":memory:"],
            folder / "mongodb.log",
            neutral(os.environ),
            folder,
        )

    _, [port] = start_on_free_ports(1, start, _listens, READY_WITHIN, _OWN_SERVER)
    return f"mongodb://127.0.0.1:{port}"


def _listens(ports: list[int]) -> bool:
    try:
        socket.create_connection(("127.0.0.1", ports[0]), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Connections:
    """``serverStatus().connections``: those of all clients, ours included."""

    current: int
    accepted: int | None
    """Since the server was started; None if it does not tell."""


def connect(uri: str) -> Server:
    """Connect to *uri*; fails with what to do about it if nobody answers."""
    try:
        # Two connections, and always the same two: one to ask, one that watches the server.
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri,
            appname="resinstr demo",
            maxPoolSize=1,
            serverMonitoringMode="poll",
            serverSelectionTimeoutMS=_ANSWERS_WITHIN_MS,
            socketTimeoutMS=_ANSWERS_WITHIN_MS,
        )
    except (PyMongoError, ValueError, OSError) as error:  # OSError: a file that the URI names cannot be read
        raise _no_answer(error, uri) from None
    try:
        return Server(client, client.admin.command("buildInfo"))
    except PyMongoError as error:
        client.close()
        raise _no_answer(error, uri) from None


def _no_answer(error: Exception, uri: str) -> Failure:
    _, scheme, rest = uri.partition("://")
    user_info = rest.rpartition("@")[0]
    # What is no URI at all may be a word, such as a host's name, that the error needs.
    text = str(error).replace(uri, "the URI") if scheme else str(error)
    text = text.replace(user_info, "...") if user_info else text
    text = re.split(r" \(configured timeouts|, Timeout: ", text)[0]
    return Failure(
        f"no MongoDB answers at the given URI: {type(error).__name__}: {text}\n"
        "Start it, or correct --mongodb-uri; without it the demo starts a server of its own."
    )


class Server:
    """A client of our own, to ask the server how many connections it sees."""

    def __init__(self, client: MongoClient[dict[str, Any]], build_info: dict[str, Any]) -> None:
        self._client = client
        own = build_info.get("secantusVersion")
        self.description = f"SecantusDB {own}" if own else f"MongoDB {build_info['version']}"

    def connections(self) -> Connections | None:
        """What the server sees now; None if it does not say, for example for want of the role clusterMonitor."""
        try:
            seen = self._client.admin.command("serverStatus")["connections"]
            return Connections(int(seen["current"]), seen.get("totalCreated"))
        except (PyMongoError, KeyError):
            return None

    def settled(self, within: float = 3.0) -> Connections | None:
        """What the server sees once it stays the same for a moment: an earlier client's are gone."""
        deadline = time.monotonic() + within
        before, steady = self.connections(), 0
        while before is not None and steady < _STEADY and time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.connections()
            before, steady = now, steady + 1 if now == before else 0
        return before

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
