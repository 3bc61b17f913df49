# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  sentences stand here as they are printed
"""Each mistake that the doctor knows is made for real, and found: the one finding, its words and its remedy.

One process is looked at for several mistakes: it takes seconds to start one. In what is expected `{http}` and the like
are the places of `conftest.places`, and `{any}` is whatever is installed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import metadata

import pytest
from packaging.version import Version

from fakes import MACHINES, Machine
from otel_resinstr.doctor.checks import CHECKS, kinds
from otel_resinstr.doctor.examine import examine

KEY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Scenario:
    """What differs from an environment that is healthy, and what is found then: what is wrong, and the remedy."""

    name: str
    environ: dict[str, str | None]
    found: dict[str, list[tuple[str, str]]]
    command: str = ""


SCENARIOS = [
    Scenario(
        "settings",
        {
            "OTEL_RESINSTR_EVENTLOOP_TRESHOLD": "0.2",
            "OTEL_RESINSTR_EVENTLOOP_PERIOD": "50ms",
            "OTEL_RESINSTR_DISABLED_PROBES": "mongodb.pol,runtime.gc*",
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "10000",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://{http}",
            "OTEL_TRACES_SAMPLER": "always_off",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,flask,system_metrics,resinstr_mongodb,host",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": KEY,
            "PYTHONPATH": "{packages}/pymongo-4.10.1",
        },
        {
            "versions.pymongo-untested": [
                (
                    "pymongo 4.10.1 blocks event loops of its own where there is an AsyncMongoClient, and that is reported.",
                    "pip install 'pymongo>=4.11'",
                )
            ],
            "instrumentors.disabled": [
                (
                    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS turns off resinstr_mongodb.",
                    "Take resinstr_mongodb out of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, unless it is meant.",
                )
            ],
            "instrumentors.unknown": [
                (
                    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS: host is the name of no instrumentor and has no effect.",
                    "Did you mean resinstr_host?",
                )
            ],
            "settings.unknown": [
                (
                    "OTEL_RESINSTR_EVENTLOOP_TRESHOLD is not a setting of otel-resinstr and has no effect.",
                    "Did you mean OTEL_RESINSTR_EVENTLOOP_THRESHOLD?",
                )
            ],
            "settings.not-accepted": [
                (
                    "OTEL_RESINSTR_EVENTLOOP_PERIOD=50ms is not accepted, and 0.05 is used instead.",
                    "Set it to a number of seconds from 0.001 to 86400.",
                )
            ],
            "settings.unknown-probe": [
                (
                    "OTEL_RESINSTR_DISABLED_PROBES: mongodb.pol is the name of no probe and has no effect.",
                    "Did you mean mongodb.pool?",
                )
            ],
            "settings.probes-disabled": [
                (
                    "OTEL_RESINSTR_DISABLED_PROBES turns off runtime.gc, runtime.gc_pauses.",
                    "Take runtime.gc* out of it, unless it is meant.",
                )
            ],
            "settings.timeout": [
                (
                    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT=10000 is in seconds in Python: an export may hang for 2.8 hours.",
                    "Set it to 10 if 10000 milliseconds are meant.",
                )
            ],
            "settings.no-spans": [
                (
                    "OTEL_TRACES_SAMPLER=always_off: no span is kept.",
                    "Unset OTEL_TRACES_SAMPLER, unless it is meant.",
                )
            ],
            "exporters.no-signal": [
                (
                    "OTEL_TRACES_EXPORTER=none: spans are not sent.",
                    "Unset OTEL_TRACES_EXPORTER, or set it to otlp, unless it is meant.",
                )
            ],
            "exporters.no-metrics": [
                (
                    "OTEL_METRICS_EXPORTER=: no metric is sent, and most of what otel-resinstr knows is metrics.",
                    "Unset OTEL_METRICS_EXPORTER, or set it to otlp.",
                )
            ],
            "endpoint.path-missing": [
                (
                    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://{http} has no path, and nothing is appended to the address of one signal.",
                    "Set it to http://{http}/v1/logs, or set OTEL_EXPORTER_OTLP_ENDPOINT=http://{http} for all signals.",
                )
            ],
            "azure.connection-string": [
                (
                    "APPLICATIONINSIGHTS_CONNECTION_STRING is not a connection string: it has no InstrumentationKey.",
                    "Copy all of it, InstrumentationKey=...;IngestionEndpoint=...; without quotes.",
                )
            ],
        },
    ),
    Scenario(
        "answers",
        {
            "OTEL_SERVICE_NAME": None,
            "OTEL_METRIC_EXPORT_INTERVAL": "60",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,flask,pymongo,system_metrics,resinstr",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "deltas",
            "OTEL_TRACES_SAMPLER": "sometimes",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://{answering}/401",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://{answering}/403",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://{answering}/400",
            "ApplicationInsightsAgent_EXTENSION_VERSION": "~3",
            "WEBSITE_SITE_NAME": "shop",
            "PYTHONPATH": "{packages}/pymongo-4.8.0",
        },
        {
            "versions.pymongo-unwatched": [
                ("pymongo 4.8.0 is too old: its clients are not watched.", "pip install 'pymongo>=4.11'")
            ],
            "launcher.no-service-name": [
                (
                    "The service has no name: what it sends arrives as unknown_service{any}.",
                    "Set OTEL_SERVICE_NAME. On App Service, OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=azure_app_service takes the site's.",
                )
            ],
            "instrumentors.unknown": [
                (
                    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS: resinstr is the name of no instrumentor and has no effect.",
                    "Did you mean resinstr_eventloop, resinstr_host, resinstr_mongodb, resinstr_process, resinstr_recorder, resinstr_runtime or resinstr_threadpool?",
                )
            ],
            "settings.interval": [
                (
                    "OTEL_METRIC_EXPORT_INTERVAL=60 is in milliseconds: metrics are sent 17 times a second.",
                    "Set it to 60000 if 60 seconds are meant.",
                )
            ],
            "settings.unknown-sampler": [
                (
                    "OTEL_TRACES_SAMPLER=sometimes is the name of no sampler and has no effect.",
                    "Set it to one of {any}",
                )
            ],
            "exporters.unknown-temporality": [
                (
                    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=deltas is none that there is: cumulative is used.",
                    "Set it to cumulative, delta or lowmemory.",
                )
            ],
            "endpoint.unauthenticated": [
                (
                    "{answering} does not know who sends (traces).",
                    "Set OTEL_EXPORTER_OTLP_HEADERS=authorization=..., as the receiver wants it; a space is written %20.",
                )
            ],
            "endpoint.forbidden": [
                (
                    "{answering} does not let the sender in (metrics).",
                    "Check the key in OTEL_EXPORTER_OTLP_HEADERS, and what it may do.",
                )
            ],
            "endpoint.failed": [
                (
                    "{answering} did not take an export (logs).",
                    "What the exporter says; the receiver's own log may say more.",
                )
            ],
            "duplicates.attached": [
                (
                    "App Service instruments the application by itself, and the launcher does it again.",
                    "Leave one of them out: turn Application Insights off for the site, or start the command without the launcher.",
                )
            ],
        },
    ),
    Scenario(
        "nobody",
        {
            "OTEL_METRIC_EXPORT_INTERVAL": "120000",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.5",
            "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=web-1",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://{closed}/v1/traces",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector.invalid:4318/v1/metrics",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://{answering}/0",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint=http://{{closed}}/",
            "PYTHONPATH": "{packages}/azure-monitor-opentelemetry-1.8.11",
        },
        {
            "settings.peak-window": [
                (
                    "Metrics are sent every 120 s, and largest values look back over 60 s: a spike between is missed.",
                    "OTEL_RESINSTR_PEAK_WINDOW=120",
                )
            ],
            "endpoint.refused": [
                (
                    "Nothing listens at {closed} (traces).",
                    "Start the Collector there, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to where it is. In a container localhost is the container itself.",
                )
            ],
            "endpoint.unresolved": [
                (
                    "The name collector.invalid has no address here (metrics).",
                    "Check the name in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT; in a container it is that of the service, and localhost is the container itself.",
                )
            ],
            "endpoint.silent": [
                (
                    "{answering} did not answer an export within 5 s (logs).",
                    "Look at the receiver's own log; behind a proxy or a load balancer look whether it lets OTLP through.",
                )
            ],
            "azure.unreachable": [
                (
                    "Azure Monitor's ingestion end point {closed} does not answer.",
                    "Let the application connect to it (port 443); in a closed network use a private link, or write to files.",
                )
            ],
            "azure.sampler": [
                (
                    "OTEL_TRACES_SAMPLER=traceidratio is not what configure_azure_monitor() calls it: it keeps 5 spans a second instead.",
                    "Where configure_azure_monitor() is called, set it to trace_id_ratio; OTEL_TRACES_SAMPLER_ARG stays.",
                )
            ],
            "servers.settings-unread": [
                (
                    "{any}/absent.py could not be read: what it says of workers and of preload is not known.",
                    "Run the doctor in the folder that the command runs in.",
                )
            ],
            "servers.own-identity": [
                (
                    "service.instance.id in OTEL_RESOURCE_ATTRIBUTES is that of the master only: each worker has one of its own.",
                    "Tell workers apart by process.pid (OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=process).",
                )
            ],
        },
        command="gunicorn -c absent.py app:app",
    ),
    Scenario(
        "forked",
        {
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,flask",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://{tls}/200",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://{http}/v1/metrics",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://{tls}/200",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint=http://{{answering}}/402",
            "PYTHONPATH": "{packages}/opentelemetry-sdk-1.30.0",
        },
        {
            "versions.mixed": [
                (
                    "Versions of OpenTelemetry are installed that were not made for each other.",
                    "Let pip choose all of them at once, in one line: pip install --upgrade {any}",
                )
            ],
            "endpoint.tls": [
                (
                    "{tls} wants TLS, and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says http (traces).",
                    "Write https:// in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT.",
                )
            ],
            "endpoint.not-tls": [
                (
                    "{http} does not speak TLS, and OTEL_EXPORTER_OTLP_METRICS_ENDPOINT says https (metrics).",
                    "Write http:// in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, or the port that speaks TLS.",
                )
            ],
            "endpoint.untrusted": [
                (
                    "The certificate of {tls} is not trusted (logs).",
                    "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of the authority that has signed it; the name in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT has to be one that the certificate is for.",
                )
            ],
            "azure.refused": [
                (
                    "Azure Monitor's ingestion end point {answering} does not take telemetry: it answers 402.",
                    "The daily cap is reached: raise it, or sample.",
                )
            ],
            "servers.preload": [
                (
                    "gunicorn loads the application before it forks (--preload): clients that it makes then are not safe in workers, and what was recorded before the fork arrives once from each worker.",
                    "Leave --preload out, or make MongoClient and what else is recorded in the hook post_fork.",
                )
            ],
            "servers.identity": [
                (
                    "With opentelemetry-sdk 1.30.0 the workers that gunicorn forks have the identity of their parent: their series fall together.",
                    "pip install --upgrade opentelemetry-sdk (1.44.0 or newer), with all that belongs to it.",
                )
            ],
            "duplicates.pymongo": [
                (
                    "The instrumentation pymongo of opentelemetry-python-contrib makes the spans of commands: ours stay off, which also say how long a command waited for a connection.",
                    "Set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo, with what stands there already, or uninstall it.",
                )
            ],
            "duplicates.system-metrics": [
                (
                    "The instrumentation system_metrics of opentelemetry-python-contrib reports CPU, memory and threads beside us, partly under the same names: back ends that drop the scope add them up.",
                    "Set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=system_metrics, with what stands there already, or uninstall it.",
                )
            ],
        },
        command="gunicorn --preload app:app",
    ),
    Scenario(
        "spawned",
        {
            "OTEL_TRACES_EXPORTER": "otlp_proto_grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://{refusing}",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://{grpc}/v1/metrics",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://{http}/logs",
            "PYTHONPATH": "{packages}/opentelemetry-instrumentation-0.50b0",
        },
        {
            "versions.mixed": [
                (
                    "Versions of OpenTelemetry are installed that were not made for each other.",
                    "Let pip choose all of them at once, in one line: pip install --upgrade {any}",
                )
            ],
            "exporters.protocol-ignored": [
                (
                    "OTEL_TRACES_EXPORTER names the exporter otlp_proto_grpc, so that the protocol http/protobuf has no effect.",
                    "Set OTEL_TRACES_EXPORTER=otlp, and the protocol decides; or unset the protocol.",
                )
            ],
            "endpoint.http-to-grpc": [
                (
                    "{grpc} speaks gRPC, and the exporter HTTP (metrics).",
                    "Set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or the port for HTTP in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: usually 4318.",
                )
            ],
            "endpoint.unauthenticated": [
                (
                    "{refusing} does not know who sends (traces).",
                    "Set OTEL_EXPORTER_OTLP_HEADERS=authorization=..., as the receiver wants it; a space is written %20.",
                )
            ],
            "endpoint.not-found": [
                (
                    "{http} has no such path, or does not take these signals (logs).",
                    "Check the path in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, and whether the receiver has a pipeline for each signal; OTEL_LOGS_EXPORTER=none turns one off.",
                )
            ],
            "servers.sigterm": [
                (
                    "uvicorn ends by SIGTERM without the exit of Python: the last metrics, spans and events are lost.",
                    "Set OTEL_RESINSTR_FLUSH_ON_SIGTERM=1; or call otel_resinstr.flush() where the application's lifespan ends, as docs/exits.md shows.",
                )
            ],
            "servers.spawned": [
                (
                    "uvicorn spawns its workers, and opentelemetry-instrumentation 0.50b0 does not reach them.",
                    "pip install --upgrade opentelemetry-instrumentation opentelemetry-distro (0.63b0 or newer).",
                )
            ],
        },
        command="uvicorn --reload app:app",
    ),
    Scenario(
        "grpc",
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://{http}",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://255.255.255.255:4318",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://{tls}",
            "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": "/absent.pem",
            # It takes an empty list for a bad request, and is there.
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint=http://{{answering}}/400",
        },
        {
            "endpoint.certificate-file": [
                (
                    "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE names a file that cannot be used.",
                    "Let it be the path of a file in PEM format that the command may read, also in its container.",
                )
            ],
            "endpoint.grpc-to-http": [
                (
                    "{http} speaks HTTP, and the exporter gRPC (traces).",
                    "Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or the port for gRPC in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: usually 4317.",
                )
            ],
            "endpoint.unreachable": [
                (
                    "There is no connection to 255.255.255.255:4318 (metrics).",
                    "Ask whoever runs the network whether this machine may connect to it; where it may not, a Collector beside the command can send for it.",
                )
            ],
            "endpoint.port": [
                (
                    "Port 4318 is the one for http/protobuf, and the exporter speaks grpc (metrics).",
                    "Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or port 4317 in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT.",
                )
            ],
        },
    ),
    Scenario(
        "unauthenticated",
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://{refusing}",
        },
        {
            "endpoint.unauthenticated": [
                (
                    "{refusing} does not know who sends (traces, metrics, logs).",
                    "Set OTEL_EXPORTER_OTLP_HEADERS=authorization=..., as the receiver wants it; a space is written %20.",
                )
            ],
        },
    ),
    Scenario(
        "addresses",
        {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{http}/v1/traces",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:port/v1/metrics",
            "NO_PROXY": None,
            "no_proxy": None,
            "HTTP_PROXY": "http://{closed}",
        },
        {
            "endpoint.no-scheme": [
                (
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={http}/v1/traces has no scheme: over HTTP nothing can be sent, and gRPC takes it for TLS.",
                    "Set it to http://{http}/v1/traces, or to https://{http}/v1/traces if it wants TLS.",
                )
            ],
            "endpoint.malformed": [
                (
                    "The address of the end point makes no sense: Port could not be cast to integer value as 'port'",
                    "Set OTEL_EXPORTER_OTLP_ENDPOINT to an address such as http://localhost:4318.",
                )
            ],
            "endpoint.proxy": [
                (
                    "HTTP_PROXY puts a proxy between the command and {http}, which is on this machine.",
                    "Set NO_PROXY=localhost,127.0.0.1 and no_proxy likewise: gRPC reads only the latter.",
                )
            ],
        },
    ),
    Scenario(
        "prometheus",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://{http}/v1/traces",
            "OTEL_METRICS_EXPORTER": "console,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://{answering}/api/v1/otlp/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        },
        {
            "exporters.prometheus-delta": [
                (
                    "Metrics go to a Prometheus as delta, which it refuses: it takes cumulative ones.",
                    "Unset OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE.",
                )
            ],
            "exporters.temporality-ignored": [
                (
                    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE has no effect on the exporter console.",
                    "Unset OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE.",
                )
            ],
            "endpoint.path-doubled": [
                (
                    "OTEL_EXPORTER_OTLP_ENDPOINT has the path /v1/traces, and the exporters append /v1/traces, /v1/metrics and /v1/logs to it.",
                    "Leave /v1/traces out: it is the address of all signals.",
                )
            ],
        },
    ),
    Scenario(
        "disabled",
        {
            "OTEL_SDK_DISABLED": "true",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "absent",
            "PYTHONPATH": "{packages}/Flask-0.9",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,pymongo,system_metrics",
        },
        {
            "launcher.sdk-disabled": [
                ("OTEL_SDK_DISABLED turns everything off.", "Unset OTEL_SDK_DISABLED.")
            ],
            "launcher.said": [
                (
                    "While OpenTelemetry was set up there was a line in the log: Failed to load resource detector 'absent', skipping",
                    "What it says.",
                )
            ],
            "instrumentors.conflict": [
                (
                    "The instrumentation flask was not started: the library that it is for is there in a version that it does not know.",
                    "Install versions that go together, or turn it off: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=flask",
                )
            ],
        },
    ),
    Scenario(
        "broken",
        {
            "PYTHONPATH": "{packages}/azure:{packages}/broken",
        },
        {
            "launcher.failed": [
                (
                    "The launcher gave up while it set up OpenTelemetry: ValueError: no",
                    "Mend what it says, or turn off what it names with OTEL_PYTHON_DISABLED_INSTRUMENTATIONS.",
                )
            ],
            "duplicates.distros": [
                (
                    "Several packages are installed that set OpenTelemetry up, and it is not said which one is to do it: the first one in the order of folders is taken.",
                    "Set OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR, both to names of one package, or uninstall the others.",
                )
            ],
        },
    ),
    Scenario(
        "mismatch",
        {
            "PYTHONPATH": "{packages}/azure",
            "OTEL_PYTHON_DISTRO": "distro",
            "OTEL_PYTHON_CONFIGURATOR": "azure_monitor_opentelemetry_configurator",
        },
        {
            "launcher.mismatch": [
                (
                    "The distro is that of opentelemetry-distro, the configurator that of azure-monitor-opentelemetry: what the one prepares is not what the other expects.",
                    "Set both, to names of one package: OTEL_PYTHON_DISTRO=distro OTEL_PYTHON_CONFIGURATOR=configurator",
                )
            ],
            "azure.no-connection-string": [
                (
                    "Azure Monitor is chosen, and APPLICATIONINSIGHTS_CONNECTION_STRING is not set: nothing is sent, and no instrumentor is started.",
                    "Set APPLICATIONINSIGHTS_CONNECTION_STRING to what the Application Insights resource shows as its connection string.",
                )
            ],
        },
    ),
    Scenario(
        "misspelt",
        {
            "OTEL_PYTHON_DISTRO": "distra",
            "OTEL_PYTHON_CONFIGURATOR": "configurater",
        },
        {
            "launcher.unknown-distro": [
                (
                    "OTEL_PYTHON_DISTRO=distra is the name of no distro.",
                    "Set it to one of distro, or unset it.",
                )
            ],
            "launcher.unknown-configurator": [
                (
                    "OTEL_PYTHON_CONFIGURATOR=configurater is the name of no configurator: the SDK is not set up.",
                    "Set it to one of configurator, or unset it.",
                )
            ],
        },
    ),
    Scenario(
        "exporters",
        {
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_LOGS_EXPORTER": "otpl",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
        },
        {
            "exporters.unknown-protocol": [
                (
                    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json is no protocol that there is an exporter for; the launcher sets up nothing at all.",
                    "Set it to grpc or http/protobuf.",
                )
            ],
            "exporters.unknown": [
                (
                    "OTEL_METRICS_EXPORTER: there is no exporter prometheus; without it the launcher sets up nothing at all.",
                    "pip install --upgrade 'opentelemetry-exporter-prometheus'",
                ),
                (
                    "OTEL_LOGS_EXPORTER: there is no exporter otpl; without it the launcher sets up nothing at all.",
                    "Did you mean otlp?",
                ),
            ],
        },
    ),
    Scenario(
        "no distro",
        {
            "PATH": "{no_distro}/bin:{path}",
        },
        {
            "launcher.no-distro": [
                (
                    "No distro is installed: nobody sets up the SDK or chooses exporters.",
                    "pip install opentelemetry-distro; for Azure Monitor azure-monitor-opentelemetry",
                )
            ],
        },
        command="python app.py",
    ),
    Scenario(
        "no SDK",
        {
            "PATH": "{no_sdk}/bin:{path}",
        },
        {
            "versions.no-sdk": [
                (
                    "There is no OpenTelemetry SDK where the command runs: nothing is measured and nothing is sent.",
                    "Install it there: {no_sdk}/bin/python -m pip install 'otel-resinstr[otlp]'",
                )
            ],
            "launcher.failed": [
                (
                    "The launcher gave up while it set up OpenTelemetry: {any}",
                    "Mend what it says, or turn off what it names with OTEL_PYTHON_DISABLED_INSTRUMENTATIONS.",
                )
            ],
        },
        command="python app.py",
    ),
    Scenario(
        "isolated",
        {
            "PATH": "{no_ours}/bin:{path}",
        },
        {
            "versions.not-installed": [
                (
                    "otel-resinstr is not installed where the command runs.",
                    "Install it there: {no_ours}/bin/python -m pip install 'otel-resinstr[otlp,mongodb]'",
                )
            ],
            "launcher.isolated": [
                (
                    "The command's interpreter is started with -I: it does not look at PYTHONPATH, where the launcher is.",
                    "Leave -I out.",
                )
            ],
        },
        command="python -I app.py",
    ),
    Scenario(
        "other environment",
        {},
        {
            "launcher.other-environment": [
                (
                    "The launcher belongs to another environment than the command.",
                    "Install 'otel-resinstr[otlp]' beside the command, and start it with the launcher of that environment: {no_distro}/bin/opentelemetry-instrument",
                )
            ],
        },
        command="{no_distro}/bin/python app.py",
    ),
    Scenario(
        "skipped",
        {
            "PYTHONPATH": "{packages}/no_psutil",
        },
        {
            "instrumentors.skipped": [
                (
                    "The launcher did not start resinstr_eventloop, resinstr_host, resinstr_mongodb, resinstr_process, resinstr_recorder, resinstr_runtime and resinstr_threadpool.",
                    "Mend what the launcher says of it; `opentelemetry-instrument` prints it at start.",
                )
            ],
        },
    ),
    Scenario(
        "no command",
        {},
        {
            "launcher.no-command": [
                (
                    "There is no program unicorn.",
                    "Run the doctor where the command would run: in the same folder, and with the same PATH.",
                )
            ],
        },
        command="unicorn app:app",
    ),
    Scenario(
        "no Python",
        {},
        {
            "launcher.not-python": [
                (
                    "How sh starts Python is not known, so that nothing was looked at.",
                    "Name what it starts in the end: resinstr doctor -- gunicorn app:app",
                )
            ],
        },
        command="sh start.sh",
    ),
    Scenario(
        "no launcher",
        {
            "PATH": "{packages}",
        },
        {
            "launcher.no-launcher": [
                (
                    "There is no opentelemetry-instrument.",
                    "pip install 'otel-resinstr[otlp]', and have the environment's bin folder on the PATH.",
                )
            ],
        },
        command="{alone}/python app.py",
    ),
    Scenario(
        "no answer",
        {},
        {
            "launcher.no-answer": [
                (
                    "A process under the launcher did not say anything.",
                    "Try it by hand: opentelemetry-instrument {any}/python -c 'print(1)'",
                )
            ],
        },
        command="{alone}/broken/opentelemetry-instrument gunicorn app:app",
    ),
    Scenario(
        "launcher moved",
        {},
        {
            "launcher.no-answer": [
                (
                    "A process under the launcher did not say anything.",
                    "Try it by hand: opentelemetry-instrument {any}/python -c 'print(1)'",
                )
            ],
        },
        command="{alone}/moved/opentelemetry-instrument python app.py",
    ),
    Scenario(
        "certificate of no form",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://{tls}/200",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "{launcher}",
        },
        {
            "endpoint.certificate-file": [
                (
                    "OTEL_EXPORTER_OTLP_CERTIFICATE names a file that cannot be used.",
                    "Let it be the path of a file in PEM format that the command may read, also in its container.",
                )
            ],
        },
    ),
]

OF_MACHINES = {"host.no-pressure", "host.no-cgroup", "host.unreadable"}
MISTAKES = [(scenario, kind) for scenario in SCENARIOS for kind in scenario.found]
OLD_SDK = Version(metadata.version("opentelemetry-sdk")) < Version("1.44")


def systemd():
    """What can be read of a machine that tells all there is."""
    return Machine(MACHINES / "systemd_v2").reading().sources()


@pytest.fixture(scope="module")
def diagnosed(healthy, places, tmp_path_factory):
    """What the doctor says of a scenario; asked once."""
    said = {}

    def ask(scenario):
        if scenario.name not in said:
            changes = {name: value and value.format(**places) for name, value in scenario.environ.items()}
            environ = {name: value for name, value in {**healthy, **changes}.items() if value is not None}
            words = scenario.command.format(**places).split()
            folder = tmp_path_factory.mktemp("application")
            said[scenario.name] = examine(words, environ, folder, systemd, within=1.0)
        return said[scenario.name]

    return ask


def as_expected(text, places):
    return re.compile(re.escape(text.format(**places, any="ANY")).replace("ANY", ".*"))


@pytest.mark.parametrize(
    ("protocol", "command"), [("http/protobuf", "python app.py"), ("grpc", "uvicorn app:app")]
)
def test_nothing_is_found_where_nothing_is_wrong(healthy, collector, tmp_path, protocol, command):
    """A Collector takes each signal, and there is nothing to say."""
    address = collector.grpc if protocol == "grpc" else collector.http
    environ = {
        **healthy,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
        "OTEL_RESINSTR_FLUSH_ON_SIGTERM": "1",
    }

    diagnosis = examine(command.split(), environ, tmp_path, systemd)

    assert [] == diagnosis.findings
    assert diagnosis.healthy
    assert [(signal, protocol, "arrived") for signal in ("traces", "metrics", "logs")] == [
        (exporter["signal"], exporter["protocol"], exporter["export"])
        for exporter in diagnosis.facts["launched"]["exporters"]
    ]


def test_an_export_goes_through_a_proxy_and_over_tls(healthy, places, tmp_path):
    """What is behind a proxy cannot be seen, and an export tells; certificates are those that the exporter is given."""
    environ = {
        **healthy,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{places['tls']}/200",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": places["certificate"],
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": places["certificate"],
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": places["certificate"],
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://collector.invalid/v1/logs",
        "HTTP_PROXY": f"http://{places['answering']}",
    }

    diagnosis = examine([], environ, tmp_path, systemd)

    assert [] == diagnosis.findings
    assert ["arrived"] * 3 == [exporter["export"] for exporter in diagnosis.facts["launched"]["exporters"]]


@pytest.mark.parametrize(("scenario", "kind"), MISTAKES, ids=[f"{kind}, {it.name}" for it, kind in MISTAKES])
def test_a_mistake_is_found(diagnosed, places, scenario, kind):
    """What is wrong, and what to do about it."""
    found = [finding for finding in diagnosed(scenario).findings if finding.kind.id == kind]

    assert len(scenario.found[kind]) == len(found)
    for (what, remedy), finding in zip(scenario.found[kind], found, strict=True):
        assert as_expected(what, places).fullmatch(finding.what), finding.what
        assert as_expected(remedy, places).fullmatch(finding.remedy), finding.remedy


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_else_is_found(diagnosed, scenario):
    """And no secret is shown, wherever it stood."""
    diagnosis = diagnosed(scenario)

    # With an SDK as old as that, it is a mistake in every environment with gunicorn whose packages are known.
    always = {"servers.identity"} if OLD_SDK and scenario.name in ("nobody", "forked") else set()
    assert {*scenario.found} | always == {finding.kind.id for finding in diagnosis.findings}
    assert not diagnosis.healthy or all(
        finding.kind.severity.value == "note" for finding in diagnosis.findings
    )
    assert "hunter2" not in json.dumps(diagnosis.as_dict())


def test_what_a_machine_does_not_tell_is_a_note(healthy, tmp_path):
    """There may be nothing to mend: the machine is as it is."""
    diagnosis = examine(["sh"], healthy, tmp_path, Machine(tmp_path).reading().sources)

    assert {*OF_MACHINES} == {finding.kind.id for finding in diagnosis.findings if not finding.to_mend}
    assert ["launcher.not-python"] == [finding.kind.id for finding in diagnosis.findings if finding.to_mend]


def test_each_mistake_that_the_doctor_knows_is_made():
    """None is known that nobody has seen it find."""
    assert {kind.id for theme in CHECKS for kind in kinds(theme)} == {
        *OF_MACHINES,
        *(kind for _, kind in MISTAKES),
    }
