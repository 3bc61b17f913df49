# SPDX-License-Identifier: Apache-2.0
"""A small service on MongoDB, in five ways to write it. Nothing in it knows of OpenTelemetry.

    python app.py shared|closed|dropped|kept|blocked [SECONDS]

Eight times a second it answers a call with one query, in a worker thread, as web frameworks do. The ways differ
in where the client comes from; in the last one it also waits for jobs, and does so on the event loop.
`resinstr demo` runs all five under `opentelemetry-instrument` and shows what each of them costs.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time

from pymongo import CursorType, MongoClient

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")
DATABASE = "otel_resinstr_demo"
CALLS_PER_SECOND = 8
KEPT = []


def query(client):
    return client[DATABASE].orders.find_one({"_id": 1})


@functools.cache
def the_client():
    return MongoClient(URI)


def shared():
    return query(the_client())  # right: one client for the whole process


def closed():
    with MongoClient(URI) as client:  # wrong: a client for each call, even though it is closed
        return query(client)


def dropped():
    client = MongoClient(URI)  # wrong: a client for each call, and nobody closes it
    return query(client)


def kept():
    client = MongoClient(URI)  # worse: a client for each call, and all of them stay
    KEPT.append(client)
    return query(client)


def wait_for_jobs(jobs):
    """Wait on the server, at most 0.8 s, for a job that is not there yet."""
    with jobs.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(800) as cursor:
        return list(cursor)


async def watch_jobs(jobs):
    while True:
        wait_for_jobs(jobs)  # wrong: nothing else runs on this loop meanwhile
        await asyncio.sleep(0.5)  # right would be: await asyncio.to_thread(wait_for_jobs, jobs)


async def answer_calls(call, seconds):
    end = time.monotonic() + seconds
    calls = 0
    while time.monotonic() < end:
        await asyncio.to_thread(call)
        calls += 1
        await asyncio.sleep(1 / CALLS_PER_SECOND)
    return calls


async def with_blocked_loop(seconds):
    database = the_client()[DATABASE]
    database.drop_collection("jobs")
    jobs = database.create_collection("jobs", capped=True, size=4096)
    jobs.insert_one({"job": "the first, long done"})
    watching = asyncio.create_task(watch_jobs(jobs))
    calls = await answer_calls(shared, seconds)
    watching.cancel()
    database.drop_collection("jobs")
    return calls


def main(phase="shared", seconds="8"):
    if phase == "blocked":
        work = with_blocked_loop(float(seconds))
    else:
        call = {"shared": shared, "closed": closed, "dropped": dropped, "kept": kept}[phase]
        work = answer_calls(call, float(seconds))
    print(asyncio.run(work), "calls answered")


if __name__ == "__main__":
    main(*sys.argv[1:])
