# SPDX-License-Identifier: Apache-2.0
"""A shop on MongoDB, with the mistake that this package finds. Nothing in it knows of OpenTelemetry.

/           one query, on a client that all requests of this process share
/mistake    one query, on a client of its own, which nobody closes

How it is started on Azure App Service, and where its telemetry goes, is in the files beside it and in docs/azure.md.
"""

import functools
import json
import os

from pymongo import MongoClient

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")


@functools.cache
def the_client():
    return MongoClient(URI)


def app(environ, start_response):
    client = MongoClient(URI) if environ["PATH_INFO"] == "/mistake" else the_client()
    order = client.shop.orders.find_one({"_id": 1})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "order": order}).encode()]
