# SPDX-License-Identifier: Apache-2.0
"""An application that ends in the way that its argument says."""

import asyncio
import os
import signal
import sys

try:
    from pymongo import MongoClient
except ImportError:
    MongoClient = None


def work():
    if MongoClient is None or "MONGODB_URI" not in os.environ:
        return "no database"
    with MongoClient(os.environ["MONGODB_URI"]) as client:
        return client.shop.orders.find_one()


async def main(way):
    print("working:", work(), await asyncio.to_thread(work))
    print("some bytes: \xe9\u20ac", file=sys.stderr)
    if way == "exit":
        sys.exit(3)
    if way == "message":
        sys.exit("that went wrong")
    if way == "raise":
        raise LookupError("no such order")


def stop(_signal, _frame):
    print("told to stop")
    sys.exit(7)


way = sys.argv[1]
asyncio.run(main(way))
if way == "handler":
    signal.signal(signal.SIGTERM, stop)
if way in ("signal", "handler"):
    print("waiting", flush=True)
    signal.pause()
if way == "fork":
    child = os.fork()
    if child == 0:
        print("in the child:", work(), flush=True)
        os._exit(5)
    print("the child:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("the end", end="")
