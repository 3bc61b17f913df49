# SPDX-License-Identifier: Apache-2.0
"""
The files for Docker, as far as a machine without Docker can tell: nothing was run.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from otelcol import COLLECTOR

FOLDER = COLLECTOR / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]

each_service = pytest.mark.parametrize("service", SERVICES)


@each_service
def test_images_are_pinned(service: str) -> None:
    """From a registry that is named, with a version."""
    registry, *_, name = SERVICES[service]["image"].split("/")

    assert "." in registry
    assert name.partition(":")[2].lstrip("v")[0].isdigit()


@each_service
def test_ports_are_published_on_loopback(service: str) -> None:
    """What listens on all interfaces does so inside of its container."""
    assert SERVICES[service]["ports"]
    assert [port for port in SERVICES[service]["ports"] if not port.startswith("127.0.0.1:")] == []


@each_service
def test_what_is_mounted_is_there_and_read_only(service: str) -> None:
    """Relative to the file, so it runs from any folder."""
    for volume in SERVICES[service]["volumes"]:
        source, _, mode = volume.split(":")
        assert (FOLDER / source).exists(), volume
        assert mode == "ro"


def test_the_collector_has_a_file_and_variables_that_are_there() -> None:
    """Each variable is one that the file reads, or Go's own."""
    (argument,) = SERVICES["collector"]["command"]
    file = COLLECTOR / "config" / argument.rpartition("/")[2]

    text = file.read_text()
    environment = set(SERVICES["collector"]["environment"]) - {"GOMEMLIMIT"}
    assert {name for name in environment if f"${{env:{name}:-" not in text} == set()


def test_its_version_is_the_one_that_is_tested() -> None:
    """The distribution's image is of the version of our own build."""
    version = yaml.safe_load((COLLECTOR / "builder" / "manifest.yaml").read_text())["dist"]["version"]

    assert SERVICES["collector"]["image"].endswith(f"-contrib:{version}")


def test_prometheus_is_set_up_as_without_docker() -> None:
    """The same rules and jobs; only where they are differs."""
    text = (COLLECTOR / "prometheus" / "prometheus.yaml").read_text().replace("127.0.0.1:", "collector:")

    assert yaml.safe_load((FOLDER / "prometheus.yaml").read_text()) == yaml.safe_load(text)


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    """By the names of the containers and the folders that are mounted."""
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    targets = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]

    assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES
    assert provider["options"]["path"] in targets
    assert (COLLECTOR / "grafana" / home.rpartition("/")[2]).exists()
