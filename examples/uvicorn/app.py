# SPDX-License-Identifier: Apache-2.0
"""An ASGI service on MongoDB, without a framework. Nothing in it knows of OpenTelemetry.

    opentelemetry-instrument uvicorn --workers 2 app:app
    opentelemetry-instrument gunicorn --workers 2 --worker-class uvicorn.workers.UvicornWorker app:app

/               one query, on a client that all requests of this process share
/clients?more=3 the mistake to look for: so many clients more, which nobody closes
/memory?more=50 so many MiB more
/block?more=300 another one: the event loop does nothing else for so many milliseconds
/truth          what this process knows of itself, to compare with what is reported of it
"""

import functools
import json
import os
import time
from urllib.parse import parse_qs

from pymongo import AsyncMongoClient

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")
KEPT = []
MEMORY = []


@functools.cache
def the_client():
    return AsyncMongoClient(URI)


async def query(client):
    return await client["shop"]["orders"].find_one({"_id": 1})


async def add_clients(more):
    for _ in range(more):
        client = AsyncMongoClient(URI)
        await query(client)
        KEPT.append(client)


def add_memory(more):
    MEMORY.append(b"\x01" * (more * 1024 * 1024))


def block(more):
    time.sleep(more / 1000)


async def respond(send, status, content_type, body):
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    path = scope["path"]
    more = int(parse_qs(scope["query_string"].decode()).get("more", ["1"])[0])
    answer = {"pid": os.getpid()}
    if path == "/":
        answer["order"] = await query(the_client())
    elif path == "/clients":
        await add_clients(more)
    elif path == "/memory":
        add_memory(more)
    elif path == "/block":
        block(more)
    elif path == "/truth":
        answer["kept"] = len(KEPT)
        answer["shared"] = the_client.cache_info().currsize
    else:
        await respond(send, 404, b"text/plain", b"no such page\n")
        return
    await respond(send, 200, b"application/json", json.dumps(answer).encode())


async def live(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if the_client.cache_info().currsize:
        await the_client().close()
    await send({"type": "lifespan.shutdown.complete"})
