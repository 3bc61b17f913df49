# SPDX-License-Identifier: Apache-2.0
"""Who may be at an end point, and environments in which something is wrong: all of it real, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from launched import environment
from otelcol import LOCAL_DEBUG, Collector, running

SECRET = "hunter2-of-nobody"
HERE = Path(__file__).parent
CERTIFICATE = HERE / "self-signed.pem"
BIN = Path(sys.executable).parent


class _Answering(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with: /401/v1/traces; never, if that is 0."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        first = self.path.split("/")[1]
        status = int(first) if first.isdecimal() else 200
        if status == 0:
            self.server.stopping.wait()
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    explains = True

    def __init__(self, trust: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.trust = trust
        self.stopping = threading.Event()

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self.trust and self.explains and connection.recv(1, socket.MSG_PEEK) != b"\x16":
            connection.sendall(
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
            )
        elif self.trust:
            # The handshake is done where it is first read, in a thread of the connection's.
            connection = self.trust.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, *request: Any) -> None:
        """Whoever asked spoke something else, or has gone: that is what the tests are about."""


@contextmanager
def answering(trust: ssl.SSLContext | None = None, *, explains: bool = True) -> Iterator[str]:
    """A server of HTTP, or of HTTPS, which may explain that it wants TLS; gives host and port."""
    server = _Server(trust)
    server.explains = explains
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="answering")
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def closed_port() -> Iterator[str]:
    """A port that nobody else gets, and where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def refusing_grpc() -> Iterator[str]:
    """A server of gRPC that lets nobody in. In a process of its own: gRPC has threads that a fork must not meet."""
    with subprocess.Popen(
        [sys.executable, HERE / "refusing_grpc.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()


@pytest.fixture(scope="session")
def collector(otelcol: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with running(otelcol, LOCAL_DEBUG, tmp_path_factory.mktemp("collector"), {}) as collector:
        yield collector


@pytest.fixture(scope="session")
def places(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses and folders by the names that mistakes have for them."""
    https = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    https.load_cert_chain(CERTIFICATE)
    with ExitStack() as stack:
        yield {
            "http": collector.http,
            "grpc": collector.grpc,
            "answering": stack.enter_context(answering()),
            "tls": stack.enter_context(answering(https)),
            "terse": stack.enter_context(answering(https, explains=False)),
            "closed": stack.enter_context(closed_port()),
            "refusing": stack.enter_context(refusing_grpc()),
            "path": os.environ["PATH"],
            "certificate": str(CERTIFICATE),
            "launcher": str(BIN / "opentelemetry-instrument"),
            "alone": str(_alone(tmp_path_factory.mktemp("alone"))),
            "packages": str(_packages(tmp_path_factory.mktemp("packages"))),
            **{
                f"no_{name}": str(_environment_without(package, tmp_path_factory.mktemp(name)))
                for name, package in (
                    ("distro", "opentelemetry_distro"),
                    ("ours", "otel_resinstr"),
                    ("sdk", "opentelemetry_sdk"),
                )
            },
        }


@pytest.fixture(scope="session")
def healthy(places: dict[str, str]) -> dict[str, str]:
    """The environment of a command with which nothing is wrong."""
    return environment(
        PATH=os.pathsep.join([str(BIN), os.environ["PATH"]]),
        OTEL_SERVICE_NAME="shop",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{places['http']}",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET}",
        MONGODB_URI=f"mongodb://user:{SECRET}@localhost",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="fastapi,flask,pymongo,system_metrics",
    )


def _packages(folder: Path) -> Path:
    """Folders for PYTHONPATH, each with a package, or what installers know of one."""
    for name, version in (
        ("Flask", "0.9"),
        ("azure-monitor-opentelemetry", "1.8.11"),
        ("opentelemetry-instrumentation", "0.50b0"),
        ("opentelemetry-sdk", "1.30.0"),
        ("pymongo", "4.10.1"),
        ("pymongo", "4.8.0"),
    ):
        _distribution(folder / f"{name}-{version}", name, version, _entry_points(name))
    azure = folder / "azure"
    _distribution(
        azure,
        "azure-monitor-opentelemetry",
        "1.8.11",
        "[opentelemetry_distro]\nazure_monitor_opentelemetry_distro = stand_in:Distro\n"
        "[opentelemetry_configurator]\nazure_monitor_opentelemetry_configurator = stand_in:Configurator\n",
    )
    (azure / "stand_in.py").write_text(
        "from opentelemetry.distro import OpenTelemetryConfigurator, OpenTelemetryDistro\n"
        "class Distro(OpenTelemetryDistro): pass\n"
        "class Configurator(OpenTelemetryConfigurator): pass\n"
    )
    broken = folder / "broken"
    _distribution(
        broken,
        "opentelemetry-broken",
        "1.0",
        "[opentelemetry_instrumentor]\nbroken = broken:Broken\n",
        requires="???",
    )
    (broken / "broken.py").write_text(
        "class Broken:\n    def instrument(self, **_): raise ValueError('no')\n"
    )
    no_psutil = folder / "no_psutil"
    no_psutil.mkdir()
    (no_psutil / "psutil.py").write_text("raise ImportError('built for another Python')\n")
    return folder


def _entry_points(name: str) -> str:
    """Those of the real package: in another version it has the same."""
    try:
        return metadata.distribution(name).read_text("entry_points.txt") or ""
    except metadata.PackageNotFoundError:
        return ""


def _distribution(
    folder: Path, name: str, version: str, entry_points: str = "", requires: str = "packaging"
) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
    )
    (info / "entry_points.txt").write_text(entry_points)


def _environment_without(part: str, folder: Path) -> Path:
    """An environment with all that is installed here, but for what is known of a package."""
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = Path(
        sysconfig.get_path(
            "purelib", sysconfig.get_preferred_scheme("prefix"), {"base": folder, "platbase": folder}
        )
    )
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir(parents=True)
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if each.name.startswith(f"{part}-") or "coverage" in each.name:
            continue
        if each.name == "opentelemetry":  # a link would be the same launcher
            shutil.copytree(each, packages / each.name)
        else:
            (packages / each.name).symlink_to(each)
    launcher = folder / "bin" / "opentelemetry-instrument"
    launcher.write_text(
        f"#!{folder}/bin/python\nfrom opentelemetry.instrumentation.auto_instrumentation import run\nrun()\n"
    )
    launcher.chmod(0o755)
    return folder


def _alone(folder: Path) -> Path:
    """A folder with a Python that has no launcher beside it, and one launcher that ends at once, and one
    whose own Python has gone."""
    (folder / "python").symlink_to(sys.executable)
    launcher = folder / "broken" / "opentelemetry-instrument"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    launcher.chmod(0o755)
    moved = folder / "moved" / "opentelemetry-instrument"
    moved.parent.mkdir()
    moved.write_text("#!/no/such/python\n")
    moved.chmod(0o755)
    return folder
