# SPDX-License-Identifier: Apache-2.0
"""A FastAPI service on MongoDB with two mistakes that look alike from outside: nothing is answered any more.

    opentelemetry-instrument uvicorn --loop uvloop app:app

/               one query, awaited: right
/report         a `def` endpoint that waits for somebody else: it holds one of the 40 threads that all of them share
/jobs           an `async def` endpoint that asks MongoDB and does not await: the event loop does nothing else

Ask for /report 50 times at once, or for /jobs, and look into the log. Nothing in here knows of OpenTelemetry.
"""

import functools
import os
import time

from fastapi import FastAPI
from pymongo import AsyncMongoClient, CursorType, MongoClient
from pymongo.errors import CollectionInvalid

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")

app = FastAPI()


@functools.cache
def the_client():
    return MongoClient(URI)


@functools.cache
def the_async_client():
    return AsyncMongoClient(URI)


@app.get("/")
async def order():
    return {"order": await the_async_client()["shop"]["orders"].find_one({"_id": 1})}


@app.get("/report")
def report(seconds: float = 5.0):
    # wrong: a supplier that answers slowly; with 40 of these no `def` endpoint runs any more
    time.sleep(seconds)
    return {"report": "done"}


@app.get("/jobs")
async def jobs():
    # wrong: nothing else runs on this loop meanwhile
    return {"jobs": len(wait_for_jobs(the_queue()))}


def the_queue():
    """A capped collection, at whose end one can wait."""
    shop = the_client()["shop"]
    try:
        queue = shop.create_collection("jobs", capped=True, size=4096)
    except CollectionInvalid:
        return shop["jobs"]
    queue.insert_one({"job": "the first"})
    return queue


def wait_for_jobs(queue):
    """Wait on the server, at most 0.8 s, for a job that is not there yet."""
    with queue.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(800) as cursor:
        return list(cursor)
