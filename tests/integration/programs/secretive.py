# SPDX-License-Identifier: Apache-2.0
"""An application with secrets: in its URI, in its documents, in what fails. It prints how often it did what it does."""

import asyncio
import contextlib
import os
import time

from pymongo import AsyncMongoClient, InsertOne, MongoClient, UpdateOne
from pymongo.errors import PyMongoError

URI = os.environ["MONGODB_URI"]
WRONG = os.environ["WRONG_URI"]
VALUE = os.environ["VALUE"]


def every_command(things):
    things.drop()
    things.insert_many(
        [{"_id": f"{VALUE}{number}", "nested": {"list": [VALUE, {"a": VALUE}]}} for number in range(9)]
    )
    things.find_one({"nested.list": VALUE, "$or": [{"a": {"$in": [VALUE]}}]})
    list(things.find({"a": VALUE}, batch_size=2))
    list(things.aggregate([{"$match": {"a": VALUE}}, {"$addFields": {"b": VALUE}}]))
    things.bulk_write([InsertOne({"a": VALUE}), UpdateOne({"a": VALUE}, {"$set": {"b": VALUE}}, upsert=True)])
    things.distinct("a", {"a": VALUE})
    things.delete_many({"a": VALUE})


def every_failure(client):
    attempts = [
        lambda: client.shop.things.insert_one({"_id": f"{VALUE}1"}),
        lambda: client.shop.command("find", "things", filter={"$nonsense": VALUE}),
        lambda: client.shop.command("noSuchCommand", VALUE),
        lambda: client.shop.command("createUser", VALUE, pwd=VALUE, roles=[VALUE]),
        lambda: client.shop.command("dropUser", VALUE),
        lambda: MongoClient(WRONG, serverSelectionTimeoutMS=1000).shop.things.find_one({"a": VALUE}),
        lambda: MongoClient(URI.replace("mongodb:", "nonsense:")),
        lambda: MongoClient(URI, readPreference=VALUE),
    ]
    failed = 0
    for attempt in attempts:
        try:
            attempt()
        except (PyMongoError, ValueError):
            failed += 1
    return failed


async def asynchronously():
    async with AsyncMongoClient(URI) as client:
        await client.shop.things.find_one({"a": VALUE})
        task = asyncio.create_task(client.shop.things.find_one({"a": VALUE}))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


for _ in range(12):
    with MongoClient(URI) as client:
        client.shop.things.find_one({"a": VALUE})
    time.sleep(0.1)  # what is over at once is no churn
with MongoClient(URI) as client:
    every_command(client.shop.things)
    failures = every_failure(client)
asyncio.run(asynchronously())
print(failures)
