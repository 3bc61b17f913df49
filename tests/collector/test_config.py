# SPDX-License-Identifier: Apache-2.0
"""
What holds for every configuration of the Collector, as far as the text shows; no Collector is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

COLLECTOR = Path(__file__).parents[2] / "collector"
CONFIGS = sorted((COLLECTOR / "config").glob("*.yaml"))
MANIFEST = yaml.safe_load((COLLECTOR / "builder" / "manifest.yaml").read_text())

COMPONENTS = ("receivers", "processors", "exporters")
# ${env:NAME:-default}; NAME without a default is a group of None.
VARIABLE = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")
# Keys whose value is an address, a part of one, or a place on disk.
PLACES = re.compile(r"(^|_)(endpoint|host|hosts|port|path)$|^directory$")
# Old names that the pinned version still takes, with a warning.
RENAMED = {"otlphttp": "otlp_http", "hostmetrics": "host_metrics", "logging": "debug"}

each_config = pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)


def load(file: Path) -> dict[str, Any]:
    """*file* as data, its ${env:...} not expanded."""
    data = yaml.safe_load(file.read_text())
    assert isinstance(data, dict)
    return data


def leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value in *data*, with the key it stands under."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from leaves(value, str(name))
    elif isinstance(data, list):
        for value in data:
            yield from leaves(value, key)
    else:
        yield key, data


def defaults(file: Path) -> dict[str, str]:
    """The variables of *file* with their defaults."""
    found: dict[str, set[str]] = {}
    for _, value in leaves(load(file)):
        for name, default in VARIABLE.findall(str(value)):
            found.setdefault(name, set()).add(default)
    assert {name for name, values in found.items() if len(values) > 1} == set()
    return {name: values.pop() for name, values in found.items()}


def built(section: str) -> set[str]:
    """
    The component types of the manifest's *section*, as their modules spell them: without underscores.

    So the name in a configuration and the module's meet: `memory_limiter`, `memorylimiterprocessor`.
    """
    modules = [item["gomod"].split()[0].rpartition("/")[2] for item in MANIFEST[section]]
    return {module.removesuffix(section.removesuffix("s")) for module in modules}


def spelled(kind: str, component: str) -> str:
    """The type of *component* (`file/traces`) as its module spells it."""
    name = component.partition("/")[0]
    return "otlp" if (kind, name) == ("exporters", "otlp_grpc") else name.replace("_", "")


def test_there_is_something_to_look_at() -> None:
    """The tests below see the configurations."""
    assert COLLECTOR / "config" / "local-debug.yaml" in CONFIGS


@each_config
def test_what_is_defined_is_used_and_what_is_used_is_defined(file: Path) -> None:
    """A component that is in no pipeline is silently inactive, so none is defined without one."""
    config = load(file)
    pipelines = config["service"]["pipelines"].values()

    used = {kind: {name for pipeline in pipelines for name in pipeline.get(kind, [])} for kind in COMPONENTS}
    used["extensions"] = set(config["service"].get("extensions", []))

    assert used == {kind: set(config.get(kind, {})) for kind in used}


@each_config
def test_every_component_is_in_the_build(file: Path) -> None:
    """Configurations use what the manifest lists, and nothing else."""
    config = load(file)

    missing = {
        (kind, name)
        for kind in (*COMPONENTS, "extensions")
        for name in config.get(kind, {})
        if spelled(kind, name) not in built(kind)
    }

    assert missing == set()


@each_config
def test_memory_limiter_is_first_in_every_pipeline(file: Path) -> None:
    """Behind another processor the limiter refuses data only after memory was spent on it."""
    pipelines = load(file)["service"]["pipelines"]

    assert {pipeline["processors"][0] for pipeline in pipelines.values()} == {"memory_limiter"}


@each_config
def test_no_batch_processor_and_no_renamed_component(file: Path) -> None:
    """Nothing is used that later versions drop: the batch processor, or a name before its renaming."""
    config = load(file)
    exporters = {name.partition("/")[0] for name in config["exporters"]}
    others = {name.partition("/")[0] for kind in ("receivers", "processors") for name in config[kind]}

    assert "batch" not in others
    assert (exporters | others) & set(RENAMED) == set()
    assert "otlp" not in exporters


@each_config
def test_no_listener_for_the_whole_network(file: Path) -> None:
    """No value is an address of all interfaces: a container that needs it says so in the environment."""
    wide = re.compile(r"0\.0\.0\.0|\[::\]|^:\d+$|:-:\d+")

    assert [value for _, value in leaves(load(file)) if wide.search(str(value))] == []


@each_config
def test_every_place_comes_from_the_environment(file: Path) -> None:
    """Addresses, ports and folders are variables, so nobody has to edit the file to move one."""
    fixed = [
        (key, value) for key, value in leaves(load(file)) if PLACES.search(key) and "${env:" not in str(value)
    ]

    assert fixed == []


def test_the_local_configuration_listens_on_loopback() -> None:
    """With an empty environment each address is on loopback, each on a port of its own."""
    found = defaults(COLLECTOR / "config" / "local-debug.yaml")

    endpoints = {name: value for name, value in found.items() if name.endswith(("_ENDPOINT", "_HOST"))}
    ports = [
        value.rpartition(":")[2] for name, value in found.items() if name.endswith(("_ENDPOINT", "_PORT"))
    ]
    assert {value.partition(":")[0] for value in endpoints.values()} == {"127.0.0.1"}
    assert len(set(ports)) == len(ports) == 4


@each_config
def test_the_header_says_what_each_variable_does(file: Path) -> None:
    """The comment at the head of the file lists its variables with their defaults, all and no others."""
    header = file.read_text().partition("\n\n")[0]

    assert dict(re.findall(r"^#   ([A-Z_]+) +(\S+) ", header, re.MULTILINE)) == defaults(file)


def test_the_readme_lists_the_variables() -> None:
    """The README's table of the environment is the variables of all configurations with their defaults."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", (COLLECTOR / "README.md").read_text(), re.MULTILINE)

    assert len(dict(rows)) == len(rows)
    assert dict(rows) == {name: value for file in CONFIGS for name, value in defaults(file).items()}


def test_the_readme_lists_the_versions() -> None:
    """The README's table of versions is that of the manifest."""
    rows = re.findall(r"^\| .+ \| (v[\d.]+) \|$", (COLLECTOR / "README.md").read_text(), re.MULTILINE)
    versions = {
        item["gomod"].split()[1]
        for section in (*COMPONENTS, "extensions", "providers")
        for item in MANIFEST[section]
    }

    assert sorted(rows) == sorted(versions)


def test_the_build_has_the_versions_of_the_manifest() -> None:
    """Module resolution raised no component above the version the manifest names."""
    resolved = dict(
        re.findall(r"^\t(\S+) (v\S+)$", (COLLECTOR / "builder" / "go.mod").read_text(), re.MULTILINE)
    )
    listed = dict(
        item["gomod"].split()
        for section in (*COMPONENTS, "extensions", "providers")
        for item in MANIFEST[section]
    )

    assert {module: resolved.get(module) for module in listed} == listed


def test_one_version_for_all_but_the_mongodb_receiver() -> None:
    """Every component is of the distribution's version; the one exception is the MongoDB receiver."""
    version = f"v{MANIFEST['dist']['version']}"
    others = {
        item["gomod"].split()[0].rpartition("/")[2]
        for section in (*COMPONENTS, "extensions")
        for item in MANIFEST[section]
        if item["gomod"].split()[1] != version
    }

    assert others == {"mongodbreceiver"}


def test_the_generator_is_of_the_same_version() -> None:
    """The pinned generator belongs to the Collector that it generates."""
    pinned = (COLLECTOR / "builder" / "ocb" / "go.mod").read_text()

    assert f"go.opentelemetry.io/collector/cmd/builder v{MANIFEST['dist']['version']} " in pinned
