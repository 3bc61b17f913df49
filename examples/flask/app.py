# SPDX-License-Identifier: Apache-2.0
"""A shop on Flask and MongoDB, with the mistake that this package finds. Nothing in it knows of OpenTelemetry.

    pip install flask 'otel-resinstr[mongodb,otlp]' opentelemetry-instrumentation-flask
    opentelemetry-instrument flask --app app run --port 8000
    for order in $(seq 12); do curl http://127.0.0.1:8000/orders/$order; sleep 0.4; done

Each request constructs a client, which opens connections and starts threads of its own. In the trace of each request
there is `mongodb.client.create` with this file and its line; `mongodb.client.created` counts them by that line; and
once it goes on for more than a moment one line in the log says what it costs and what to do.
"""

import os

from flask import Flask, abort, jsonify
from pymongo import MongoClient

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")

app = Flask(__name__)


def get_database():
    # wrong: a client for each request; right is one for the process, made where `app` is
    return MongoClient(URI).shop


@app.get("/orders/<int:number>")
def order(number):
    found = get_database().orders.find_one({"_id": number})
    if found is None:
        abort(404)
    return jsonify(found)


@app.put("/orders/<int:number>")
def place(number):
    get_database().orders.replace_one({"_id": number}, {"_id": number, "paid": False}, upsert=True)
    return jsonify(number=number)
