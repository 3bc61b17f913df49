# SPDX-License-Identifier: Apache-2.0
"""A FastAPI service that does not answer any more: its log says within seconds which two lines it is."""

from __future__ import annotations

import socket
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launched import EXAMPLES
from mongo import eventually
from received import events, exports

BIN = Path(sys.executable).parent
APPLICATION = EXAMPLES / "fastapi_blocking"
LOOP = "asyncio.eventloop.blocked"
POOL = "cpython.thread_pool.saturated"
QUEUED = "cpython.thread_pool.queue.length"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvloop is for POSIX")


def line_of(text):
    """The number of the line of the application that holds *text*."""
    lines = (APPLICATION / "app.py").read_text(encoding="utf-8").splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if text in line)
    return number


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def ask(port):
    """Ask for a page."""

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status

    return ask


def most(collector, name):
    """The most that was reported at any time: of a pool that of `def` endpoints, else of the loop."""
    series = {"thread_pool__type": "anyio"} if "thread_pool" in name else {}
    return max(export.total(name, **series) or 0 for export in exports(collector))


def answers(ask):
    try:
        return ask("/") == 200
    except OSError:
        return False


def test_within_seconds_two_lines_in_the_log_name_the_two_culprits(
    collector, server, instrumented, port, ask
):
    """The `def` endpoint that fills the 40 threads, the `async def` one that holds the loop; the metrics agree."""
    command = ("uvicorn", "app:app", "--loop", "uvloop", "--port", port, "--log-level", "warning")
    program = instrumented(
        BIN / command[0], *command[1:], MONGODB_URI=server.uri, PYTHONPATH=str(APPLICATION)
    )
    eventually(lambda: answers(ask), seconds=60)

    def said(event):
        return [line for line in program.err.read_text().splitlines() if f"{event}: " in line]

    with ThreadPoolExecutor(60) as clients:
        asked = [clients.submit(ask, "/report?seconds=10") for _ in range(50)]
        asked += [clients.submit(ask, "/jobs") for _ in range(2)]
        eventually(lambda: said(POOL) and said(LOOP), seconds=30)
        eventually(lambda: most(collector, QUEUED) == 10, seconds=30)
        assert [200] * 52 == [each.result() for each in asked]
    eventually(lambda: {POOL, LOOP} <= {event.name for event in events(collector)})
    assert f"app.py:{line_of('time.sleep(seconds)')} report" in said(POOL)[0]
    assert "40 of 40 threads are busy, 40 at app.py" in said(POOL)[0]
    assert any(f"app.py:{line_of('return list(cursor)')} wait_for_jobs" in line for line in said(LOOP))
    assert (10, 40) == (most(collector, QUEUED), most(collector, "cpython.thread_pool.thread.busy"))
    assert 3 < most(collector, "cpython.thread_pool.work_item.wait.max") < 60
    assert 0.5 < most(collector, "asyncio.eventloop.delay.max") < 60
