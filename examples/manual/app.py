# SPDX-License-Identifier: Apache-2.0
"""The SDK is set up in code, and not by the launcher: one call of ours follows it.

    pip install 'otel-resinstr[otlp,mongodb]'
    python app.py

Where the telemetry goes is said with OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import asyncio
import os

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pymongo import AsyncMongoClient, MongoClient

import otel_resinstr


def set_up():
    resource = Resource.create({"service.name": "shop"})
    metrics.set_meter_provider(
        MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    )
    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracer_provider)
    logger_provider = LoggerProvider(resource=resource)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(logger_provider)
    otel_resinstr.instrument()


async def work():
    uri = os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017")
    with MongoClient(uri) as client:
        await asyncio.to_thread(client["shop"]["orders"].find_one)
    async with AsyncMongoClient(uri) as client:
        await client["shop"]["orders"].find_one()


if __name__ == "__main__":
    set_up()
    asyncio.run(work())
