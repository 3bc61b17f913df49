# SPDX-License-Identifier: Apache-2.0
"""An application that does nothing wrong: no event, no line in its log."""

from __future__ import annotations

import sys

from mongo import eventually
from received import events, exports

# One client, one query, and a loop that waits until the standard input ends.
PROGRAM = """
import asyncio, os, sys
from pymongo import AsyncMongoClient

async def main():
    async with AsyncMongoClient(os.environ["MONGODB_URI"]) as client:
        await client.shop.orders.find_one()
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def test_a_client_that_is_shared_raises_no_alarm(collector, server, instrumented):
    """Neither does the driver with what it does by itself, such as watching the servers."""
    # A machine that is busy keeps a loop, and the whole process, for longer than the default of 0.1 s.
    program = instrumented(
        sys.executable,
        "-c",
        PROGRAM,
        OTEL_RESINSTR_MONGODB_SERVER_INTERVAL="",  # its client is asynchronous: that would be said
        MONGODB_URI=server.uri,
        OTEL_RESINSTR_EVENTLOOP_THRESHOLD="10",
    )
    eventually(lambda: len(exports(collector)) >= 4, seconds=30)

    assert 0 == program.finish()
    assert ([], "") == (events(collector), program.err.read_text())
    last = exports(collector)[-1]
    assert "asyncio.eventloop.blocked" not in last.values
    assert [("main",)] == [
        tuple(value for _, value in series) for series in last.values["asyncio.eventloop.delay.max"]
    ]
