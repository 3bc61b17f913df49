# SPDX-License-Identifier: Apache-2.0
"""Two workers of multiprocessing, started by the method that is named, until the standard input ends.

Each has a client of its own, and so has the parent. With a second argument, "flush", each flushes when it ends.
The exit code is 0 if theirs are.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys

import pymongo
from opentelemetry._logs import LogRecord, get_logger

import otel_resinstr

WORKERS = 2


def client():
    return pymongo.MongoClient("mongodb://db.example", connect=False)


def work(ready, end):
    kept = client()
    get_logger("app").emit(LogRecord(body="last words"))
    ready.put(os.getpid())
    end.wait()
    kept.close()
    if "flush" in sys.argv:
        otel_resinstr.flush(float(os.environ["OTEL_RESINSTR_FLUSH_TIMEOUT"]))


def main(method):
    context = multiprocessing.get_context(method)
    kept = client()
    ready, end = context.Queue(), context.Event()
    workers = [context.Process(target=work, args=(ready, end)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    print(json.dumps(sorted(ready.get() for _ in workers)), flush=True)
    sys.stdin.read()
    end.set()
    for worker in workers:
        worker.join()
    kept.close()
    sys.exit(any(worker.exitcode for worker in workers))


if __name__ == "__main__":
    main(sys.argv[1])
