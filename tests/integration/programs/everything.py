# SPDX-License-Identifier: Apache-2.0
"""An application that does once all that the package reports; it knows nothing of it, nor of OpenTelemetry.

It ends when its standard input does.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pymongo import AsyncMongoClient, CursorType, MongoClient
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError, WaitQueueTimeoutError

URI = os.environ["MONGODB_URI"]


def find(client):
    return client.shop.orders.find_one()


def close_one():
    with MongoClient(URI) as client:
        find(client)


def drop_some():
    for _ in range(10):
        find(MongoClient(URI))
        time.sleep(0.1)


def misspell():
    with contextlib.suppress(ValueError):
        MongoClient(URI, readPreference="nearby")


def ask_nobody():
    """Of a server that is not there."""
    with contextlib.suppress(ServerSelectionTimeoutError):
        find(MongoClient("127.0.0.1", 1, serverSelectionTimeoutMS=200))


def lose_the_connection(client):
    """In the middle of a command, as when a server is restarted."""
    client.admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": {"times": 1},
            "data": {"failCommands": ["find"], "closeConnection": True, "appName": "unlucky"},
        }
    )
    with contextlib.suppress(AutoReconnect):
        find(MongoClient(URI, appName="unlucky", retryReads=False))


def wait_in_vain(client):
    """Ask for the one connection of *client* while another thread has it."""

    def occupy():
        with jobs.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(300) as cursor:
            list(cursor)

    client.shop.drop_collection("jobs")
    jobs = client.shop.create_collection("jobs", capped=True, size=4096)
    jobs.insert_one({"job": "the first"})
    end = time.monotonic() + 20
    while time.monotonic() < end:
        thread = threading.Thread(target=occupy)
        thread.start()
        try:
            while thread.is_alive():
                find(client)
        except WaitQueueTimeoutError:
            return
        finally:
            thread.join()


def fill(pool):
    """Let work wait for the one thread of *pool*, for longer than is overlooked."""

    def report():
        time.sleep(1.8)

    pool.submit(report)
    return pool.submit(int).result()


async def block():
    client = AsyncMongoClient(URI)
    await client.shop.orders.find_one()
    time.sleep(0.3)  # noqa: ASYNC251  the mistake that is to be found
    await asyncio.sleep(2)  # the loop runs again: the end of the block is seen, and how busy the loop is
    return client


kept = MongoClient(URI)
find(kept)
close_one()
drop_some()
misspell()
ask_nobody()
lose_the_connection(kept)
small = MongoClient(URI, maxPoolSize=1, waitQueueTimeoutMS=50, retryReads=False)
wait_in_vain(small)
kept_too = asyncio.run(block())

reports = ThreadPoolExecutor(1, "reports")
fill(reports)

print("done", flush=True)
sys.stdin.read()
kept.close()
