# SPDX-License-Identifier: Apache-2.0
"""Where an exporter sends to: as the exporter itself has it."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace

import pytest

from otel_resinstr.doctor.checks.endpoint import (
    CERTIFICATE_FILE,
    MALFORMED,
    NO_SCHEME,
    REFUSED,
    _address,
    _network,
    check,
    target,
)
from otel_resinstr.doctor.command import Command
from otel_resinstr.doctor.context import Context
from otel_resinstr.doctor.launched import Exporter
from support import run_python

ALL, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
INSECURE = "OTEL_EXPORTER_OTLP_INSECURE"
ENVIRONMENTS = [
    {},
    {ALL: "http://collector:4000"},
    {ALL: "http://collector:4000/"},
    {ALL: "https://collector:4000/otlp"},
    {ALL: "https://collector:4000/otlp", TRACES: "http://traces:5000"},
    {TRACES: "http://traces:5000/v1/traces"},
    {ALL: "https://collector:4000", INSECURE: "true"},
    {ALL: "http://collector:4000", INSECURE: "false"},
    {ALL: "http://[::1]:4000"},
]
GRPC_ONLY = [{ALL: "collector:4000"}, {ALL: "collector:4000", INSECURE: "true"}]

AS_THEY_HAVE_IT = """
    import importlib, json, os, sys

    for environ in json.loads(sys.argv[2]):
        os.environ.update(environ)
        module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{sys.argv[1]}.trace_exporter")
        exporter = module.OTLPSpanExporter()
        print(json.dumps([exporter._endpoint, getattr(exporter, "_insecure", None)]))
        exporter.shutdown()
        for name in environ:
            del os.environ[name]
"""


@pytest.mark.parametrize(("protocol", "module"), [("grpc", "grpc"), ("http/protobuf", "http")])
def test_it_is_where_the_exporter_sends_to(protocol, module):
    """Host, port, path, and whether it is TLS."""
    environments = ENVIRONMENTS + (GRPC_ONLY if protocol == "grpc" else [])
    exporter = Exporter(
        "traces", f"opentelemetry.exporter.otlp.proto.{module}.trace_exporter:OTLPSpanExporter"
    )
    lines = run_python(AS_THEY_HAVE_IT, module, json.dumps(environments)).splitlines()

    for environ, line in zip(environments, lines, strict=True):
        endpoint, insecure = json.loads(line)
        found = target(Context(Command("", None), environ, None, "", list, list), exporter)

        if protocol == "grpc":
            assert endpoint == found.address, environ
            assert insecure in (None, not found.secure), environ  # older ones do not keep it
        else:
            assert endpoint == found.shown, environ


@pytest.mark.parametrize(
    ("protocol", "url", "port"),
    [
        ("grpc", "http://collector", 443),
        ("http", "http://collector", 80),
        ("http", "https://collector", 443),
    ],
)
def test_an_address_without_a_port_has_the_usual_one(protocol, url, port):
    """Which is not that of OTLP."""
    exporter = Exporter("logs", f"opentelemetry.exporter.otlp.proto.{protocol}._log_exporter:OTLPLogExporter")
    context = Context(Command("", None), {ALL: url}, None, "", list, list)

    assert port == target(context, exporter).port


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://user:hunter2/cd@127.0.0.1:9", f"see {ALL}; in a password / is written %2F"),
        ("http://collector:many", "Port could not be cast to integer value as 'many'"),
    ],
)
def test_an_address_that_makes_no_sense_is_quoted_without_a_password(url, why):
    """What the parser takes for the port may be a part of it."""
    exporter = Exporter("logs", "opentelemetry.exporter.otlp.proto.http._log_exporter:OTLPLogExporter")
    report = SimpleNamespace(exporters=[exporter], environ={})
    context = Context(Command("", None), {ALL: url}, report, "", list, list)

    assert [MALFORMED.found("", error=why)] == list(check(context))


@pytest.mark.parametrize(
    ("protocol", "insecure", "kinds"),
    [("grpc", "true", []), ("grpc", "false", [NO_SCHEME]), ("http", "true", [NO_SCHEME])],
)
def test_only_grpc_that_is_insecure_needs_no_scheme(protocol, insecure, kinds):
    """The address is a host and a port to it, and it is said elsewhere that there is no TLS."""
    exporter = Exporter("logs", f"opentelemetry.exporter.otlp.proto.{protocol}._log_exporter:OTLPLogExporter")
    environ = {ALL: "collector:4317", INSECURE: insecure}
    context = Context(Command("", None), environ, None, "", list, list)

    found = _address(context, target(context, exporter), "logs")

    assert kinds == [finding.kind for finding in found]


@pytest.mark.parametrize(("name", "kind"), [("", REFUSED), ("absent", CERTIFICATE_FILE)])
def test_requests_may_be_told_of_a_folder_of_authorities(tmp_path, name, kind):
    """One that is not there is named; with one that is, the end point is asked."""
    exporter = Exporter("logs", "opentelemetry.exporter.otlp.proto.http._log_exporter:OTLPLogExporter")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        environ = {
            ALL: f"https://127.0.0.1:{bound.getsockname()[1]}",
            "REQUESTS_CA_BUNDLE": str(tmp_path / name),
        }
        context = Context(Command("", None), environ, None, "", list, list)

        [found] = _network(context, target(context, exporter), ["logs"])

    assert kind is found.kind
    assert ("REQUESTS_CA_BUNDLE" in found.what) is (kind is CERTIFICATE_FILE)
