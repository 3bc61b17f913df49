# SPDX-License-Identifier: Apache-2.0
"""A program, or the application of a server, with something of each signal to lose; it tells its process.

As a program it ends in the way that its argument says, once its standard input has ended.
"""

from __future__ import annotations

import asyncio
import os
import sys

import pymongo
from opentelemetry._logs import LogRecord, get_logger

import otel_resinstr

client = pymongo.MongoClient("mongodb://db.example", connect=False)
get_logger("app").emit(LogRecord(body="last words"))


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def lifespan(receive, send, at_end=None):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if at_end is not None:
        await asyncio.to_thread(at_end)
    await send({"type": "lifespan.shutdown.complete"})


async def flushing(scope, receive, send):
    if scope["type"] == "lifespan":
        seconds = float(os.environ["OTEL_RESINSTR_FLUSH_TIMEOUT"])

        def at_end():
            client.close()
            otel_resinstr.flush(seconds)

        await lifespan(receive, send, at_end)
    else:
        await app(scope, receive, send)


def wsgi(_environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return [str(os.getpid()).encode()]


def main(way):
    print(os.getpid(), flush=True)
    sys.stdin.read()
    if way == "exit":
        sys.exit(3)
    if way == "_exit":
        os._exit(4)
    if way == "exception":
        raise ValueError


if __name__ == "__main__":
    main(sys.argv[1])
