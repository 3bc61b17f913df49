# SPDX-License-Identifier: Apache-2.0
"""A WSGI service on MongoDB. Nothing in it knows of OpenTelemetry.

    opentelemetry-instrument gunicorn --workers 2 app:app
    opentelemetry-instrument gunicorn --workers 2 --preload app:app

/               one query, on a client that all requests of this process share
/clients?more=3 the mistake to look for: so many clients more, which nobody closes
/memory?more=50 so many MiB more
/truth          what this process knows of itself, to compare with what is reported of it

With PRELOAD_CLIENT set, the client is constructed and used when the module is imported: with --preload, before
the workers are forked.
"""

import functools
import json
import os
import threading
from urllib.parse import parse_qs

from pymongo import MongoClient

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")
KEPT = []
MEMORY = []
FIRST = threading.Lock()


@functools.cache
def construct_the_client():
    return MongoClient(URI)


def the_client():
    with FIRST:  # a worker with threads would construct it several times
        return construct_the_client()


def query(client):
    return client["shop"]["orders"].find_one({"_id": 1})


def add_clients(more):
    for _ in range(more):
        client = MongoClient(URI)
        query(client)
        KEPT.append(client)


def add_memory(more):
    MEMORY.append(b"\x01" * (more * 1024 * 1024))


def app(environ, start_response):
    path = environ["PATH_INFO"]
    more = int(parse_qs(environ["QUERY_STRING"]).get("more", ["1"])[0])
    answer = {"pid": os.getpid()}
    if path == "/":
        answer["order"] = query(the_client())
    elif path == "/clients":
        add_clients(more)
    elif path == "/memory":
        add_memory(more)
    elif path == "/truth":
        answer["kept"] = len(KEPT)
        answer["shared"] = construct_the_client.cache_info().currsize
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such page\n"]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


if os.environ.get("PRELOAD_CLIENT"):
    query(the_client())
