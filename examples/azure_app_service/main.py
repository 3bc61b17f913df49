# SPDX-License-Identifier: Apache-2.0
import asyncio
import os
from contextlib import asynccontextmanager

import fastapi
from azure.monitor.opentelemetry import configure_azure_monitor
from pymongo import AsyncMongoClient

import otel_resinstr

configure_azure_monitor()
otel_resinstr.instrument()  # after it, and before there is an application or a client


@asynccontextmanager
async def lifespan(app):
    yield
    # uvicorn ends itself by the signal that it was sent: what is not out now is lost.
    await asyncio.to_thread(otel_resinstr.flush)


app = fastapi.FastAPI(lifespan=lifespan)


@app.get("/mistake")
async def mistake():
    client = AsyncMongoClient(os.environ["MONGODB_URI"])  # one for each request, which nobody closes
    return {"pid": os.getpid(), "order": await client.shop.orders.find_one({"_id": 1})}
