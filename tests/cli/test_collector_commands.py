# SPDX-License-Identifier: Apache-2.0
"""`resinstr collector`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from mongo import eventually
from otel_resinstr.cli import _collector
from otel_resinstr.cli._configurations import configurations
from otel_resinstr.cli.commands import resinstr

FAKE = """
    import os, sys
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print("otelcol-fake version {version}")
    elif arguments[0] == "validate":
        if "{refused}" in arguments[-1]:
            sys.exit("unknown type: {refused}")
    else:
        sys.exit(5)
"""

OLDER = f"older than {_collector.TESTED}, which is tested"


@pytest.fixture
def fake_otelcol(fake):
    """Takes all but the file whose name has *refused* in it, and ends as soon as it is started."""
    return lambda refused="?", version=_collector.TESTED: fake(
        "otelcol", FAKE.format(refused=refused, version=version)
    )


def resinstr_collector(*arguments, **environment):
    result = CliRunner().invoke(resinstr, ["collector", *map(str, arguments)], env=environment)
    return result.exit_code, result.output


def test_list_names_all_of_them():
    """Each with what it is for."""
    code, output = resinstr_collector("list")

    assert 0 == code
    assert [
        line for name, it in configurations().items() for line in (name, f"    {it.says}")
    ] == output.splitlines()


@pytest.mark.parametrize("name", list(configurations()))
def test_show_prints_the_file(name):
    """As it is, so that `resinstr collector show NAME > FILE` takes it away."""
    assert (0, configurations()[name].text) == resinstr_collector("show", name)


@pytest.mark.parametrize("command", ["run", "validate"])
def test_an_overlay_alone_is_no_configuration(command):
    """The message names those that are."""
    code, output = resinstr_collector(command, "add-mongodb")

    assert 2 == code
    assert "'local-debug'" in output


@pytest.mark.parametrize("command", ["run", "validate"])
def test_without_a_collector_it_says_where_to_get_one(command, tmp_path):
    """Nothing is downloaded."""
    code, output = resinstr_collector(
        command, "gateway", PATH=str(tmp_path), OTELCOL_BIN="", OTELCOL_BUILD_ROOT=str(tmp_path)
    )

    assert 1 == code
    assert "there is no Collector" in output
    assert _collector.TESTED in output
    assert "--otelcol none" not in output


def test_validate_names_what_was_checked(fake_otelcol):
    """The files, and the Collector that takes them."""
    otelcol = fake_otelcol()

    assert (
        0,
        f"gateway with add-mongodb: valid for otelcol-fake version {_collector.TESTED}, {otelcol}\n",
    ) == resinstr_collector("validate", "gateway", "--with", "add-mongodb", "--otelcol", otelcol)


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_collector_that_lacks_a_component_is_not_started(fake_otelcol, command):
    """Its own words, and what to do."""
    otelcol = fake_otelcol("add-mongodb")

    code, output = resinstr_collector(command, "gateway", "--with", "add-mongodb", "--otelcol", otelcol)

    assert 1 == code
    assert [
        f"Error: otelcol-fake version {_collector.TESTED}, {otelcol} does not take gateway with add-mongodb:",
        "unknown type: add-mongodb",
    ] == output.splitlines()[:2]
    assert "otelcol-contrib" in output


@pytest.mark.parametrize("command", ["run", "validate"])
def test_one_that_is_too_old_is_not_started(fake_otelcol, command):
    """One message: that it is older than what is tested, what it does not know, and where to get another one."""
    otelcol = fake_otelcol("local-debug", version="0.90.0")
    it = f"otelcol-fake version 0.90.0 ({OLDER}), {otelcol}"

    code, output = resinstr_collector(command, "local-debug", "--otelcol", otelcol)

    assert 1 == code
    assert [
        f"Error: {it} does not take local-debug:",
        "unknown type: local-debug",
        f"Tested is version {_collector.TESTED}: from there on `otelcol-contrib` has all that our files need, and",
        "`make collector` builds a smaller one in a clone of the project. Put it on the PATH, or name it with",
        "--otelcol PATH or OTELCOL_BIN.",
    ] == output.splitlines()


def test_an_older_one_that_takes_the_file_is_told(fake_otelcol):
    """It is the Collector that knows what it has, so what it takes is not refused."""
    otelcol = fake_otelcol(version="0.150.0")

    assert (
        0,
        f"gateway: valid for otelcol-fake version 0.150.0 ({OLDER}), {otelcol}\n",
    ) == resinstr_collector("validate", "gateway", "--otelcol", otelcol)


def test_a_second_collector_is_noticed(fake_otelcol):
    """Before it is started: the health check that answers would be the other one's."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"127.0.0.1:{other.getsockname()[1]}"

        code, output = resinstr_collector(
            "run", "local-debug", "--otelcol", fake_otelcol(), OTELCOL_HEALTH_ENDPOINT=endpoint
        )

    assert 1 == code
    assert f"something listens at {endpoint} already" in output


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "nonsense"])
def test_the_exit_code_of_run_is_the_collectors(fake_otelcol, endpoint):
    """It is told which one was started, and what it reads."""
    otelcol = fake_otelcol()

    code, output = resinstr_collector(
        "run", "local-debug", "--otelcol", otelcol, OTELCOL_HEALTH_ENDPOINT=endpoint
    )

    assert 5 == code
    assert [
        f"Collector  otelcol-fake version {_collector.TESTED}, {otelcol}",
        f"reads      {configurations()['local-debug'].path}",
    ] == output.splitlines()


def test_a_real_one_runs_until_it_is_stopped(otelcol, tmp_path):
    """It says when it is ready, what it listens on and where things go, and ends with 0 after Ctrl-C."""
    with ExitStack() as held:
        ports = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)
        ]
    environment = {
        **os.environ,
        "OTELCOL_BIN": str(otelcol),
        "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{ports[0]}",
        "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports[1]}",
        "OTELCOL_HEALTH_ENDPOINT": f"127.0.0.1:{ports[2]}",
        "OTELCOL_METRICS_PORT": str(ports[3]),
        "MONGODB_MONITOR_USER": "watcher",
        "MONGODB_MONITOR_PASSWORD": "hunter2",
    }
    command = [Path(sys.executable).with_name("resinstr"), "collector", "run", "local-debug"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--with", "add-mongodb"], cwd=tmp_path, env=environment, stderr=output
        )
    try:
        eventually(lambda: process.poll() is not None or "local-debug.yaml" in log.read_text(), 60)
        eventually(lambda: process.poll() is not None or "OTELCOL_LOG_LEVEL" in log.read_text(), 60)
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)

    said = log.read_text()
    # A Collector says that it is ready a moment before it listens for signals.
    assert code in (0, 128 + signal.SIGTERM), said
    assert "Ready; Ctrl-C stops it" in said
    assert re.search(rf"^  OTLP_GRPC_ENDPOINT +127.0.0.1:{ports[0]} +OTLP over gRPC$", said, re.MULTILINE)
    assert re.search(r"^  MONGODB_MONITOR_PASSWORD +\(set\) ", said, re.MULTILINE)
    assert "hunter2" not in said
