# SPDX-License-Identifier: Apache-2.0
"""A shop on FastAPI and MongoDB, with the mistake that this package finds. Nothing in it knows of OpenTelemetry.

    pip install fastapi uvicorn 'otel-resinstr[mongodb,otlp]' opentelemetry-instrumentation-fastapi
    opentelemetry-instrument uvicorn app:app --port 8000
    for order in $(seq 12); do curl http://127.0.0.1:8000/orders/$order; sleep 0.4; done

Each request constructs a client, by way of a dependency, even though it is closed. In the trace of each request there
is `mongodb.client.create` with this file and its line; `mongodb.client.created` counts them by that line; and
once it goes on for more than a moment one line in the log says what it costs and what to do.
"""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

URI = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")

app = FastAPI()


async def get_database():
    # wrong: a client for each request; right is one for the process, made and closed in the lifespan of `app`
    async with AsyncMongoClient(URI) as client:
        yield client.shop


Database = Annotated[AsyncDatabase, Depends(get_database)]


@app.get("/orders/{number}")
async def order(number: int, database: Database):
    found = await database.orders.find_one({"_id": number})
    if found is None:
        raise HTTPException(404)
    return found


@app.put("/orders/{number}")
async def place(number: int, database: Database):
    await database.orders.replace_one({"_id": number}, {"_id": number, "paid": False}, upsert=True)
    return {"number": number}
