# SPDX-License-Identifier: Apache-2.0
"""An application that goes shopping, with a client for each order; it knows nothing of OpenTelemetry.

A line for each order that it has got. It ends when its standard input does.
"""

import os
import select
import sys

from pymongo import MongoClient

while not select.select([sys.stdin], [], [], 0.05)[0]:
    with MongoClient(os.environ["MONGODB_URI"]) as client:
        print(client.shop.orders.find_one(), flush=True)
