# SPDX-License-Identifier: Apache-2.0
"""A Celery application whose broker is the folder that BROKER names: TASKS tasks, each with a client in its worker."""

from __future__ import annotations

import os

import pymongo
from celery import Celery
from celery.signals import worker_process_shutdown, worker_ready

import otel_resinstr

FOLDER = os.environ["BROKER"]
TASKS = 10

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "control_folder": FOLDER,
    "data_folder_in": FOLDER,
    "data_folder_out": FOLDER,
    "polling_interval": 0.1,
}
app.conf.worker_prefetch_multiplier = 1
CLIENTS = []


@worker_ready.connect
def begin(**_kwargs):
    for _ in range(TASKS):
        construct.delay()


@app.task
def construct():
    CLIENTS.append(pymongo.MongoClient("mongodb://db.example", connect=False))


@worker_process_shutdown.connect
def flush(**_kwargs):
    if os.environ["FLUSH"]:
        otel_resinstr.flush(60)  # for a machine that does ten other things
