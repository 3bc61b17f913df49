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
# What stands alone, and what is laid over each of those.
OVERLAYS = [file for file in CONFIGS if file.name.startswith("add-")]
BASES = [file for file in CONFIGS if file not in OVERLAYS]
COMBINATIONS = [*([base] for base in BASES), *([base, over] for base in BASES for over in OVERLAYS)]
MANIFEST = yaml.safe_load((COLLECTOR / "builder" / "manifest.yaml").read_text())

COMPONENTS = ("receivers", "processors", "exporters")
# ${env:NAME:-default}; NAME without a default is a group of None.
VARIABLE = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")
# Keys whose value is an address, a part of one, or a place on disk.
PLACES = re.compile(r"(^|_)(endpoint|host|hosts|port|path)$|^directory$")
# Old names that the pinned version still takes, with a warning.
RENAMED = {"otlphttp": "otlp_http", "hostmetrics": "host_metrics", "logging": "debug"}

# In contrib, and not to be had for our build: the file that needs it says that it was not run.
NOT_BUILT = {("extensions", "azure_auth")}

each_file = pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
each_combination = pytest.mark.parametrize(
    "files", COMBINATIONS, ids=lambda files: "+".join(file.stem for file in files)
)


def load(file: Path) -> dict[str, Any]:
    """*file* as data, its ${env:...} not expanded."""
    data = yaml.safe_load(file.read_text())
    assert isinstance(data, dict)
    return data


def merged(files: list[Path]) -> dict[str, Any]:
    """*files* as the Collector merges them: a map is added to, anything else is replaced."""
    result: dict[str, Any] = {}
    for file in files:
        _merge(result, load(file))
    return result


def _merge(into: dict[str, Any], added: dict[str, Any]) -> None:
    for key, value in added.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


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
    """The variables of *file* with their defaults; an empty one is written as two quotes."""
    found: dict[str, set[str]] = {}
    for _, value in leaves(load(file)):
        for name, default in VARIABLE.findall(str(value)):
            found.setdefault(name, set()).add(default)
    assert {name for name, values in found.items() if len(values) > 1} == set()
    return {name: values.pop() or "''" for name, values in found.items()}


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
    assert [file.stem for file in BASES] == [
        "azure-gateway",
        "azure-otlp-preview",
        "gateway",
        "local-debug",
        "local-prometheus",
    ]
    assert [file.stem for file in OVERLAYS] == ["add-host-process", "add-mongodb"]


@each_combination
def test_what_is_defined_is_used_and_what_is_used_is_defined(files: list[Path]) -> None:
    """A component that is in no pipeline is silently inactive, so none is defined without one."""
    config = merged(files)
    pipelines = config["service"]["pipelines"].values()

    used = {kind: {name for pipeline in pipelines for name in pipeline.get(kind, [])} for kind in COMPONENTS}
    used["extensions"] = set(config["service"].get("extensions", []))

    assert used == {kind: set(config.get(kind, {})) for kind in used}


def test_the_build_has_what_the_configurations_use_and_nothing_else() -> None:
    """The manifest is the union of the files, so the Collector is as lean as it can be."""
    used = {
        (kind, spelled(kind, name))
        for file in CONFIGS
        for kind in (*COMPONENTS, "extensions")
        for name in load(file).get(kind, {})
        if (kind, name) not in NOT_BUILT
    }

    assert used == {(kind, name) for kind in (*COMPONENTS, "extensions") for name in built(kind)}


@each_combination
def test_an_overlay_only_adds(files: list[Path]) -> None:
    """Later files replace lists, so an overlay repeats nothing of the base: it has names of its own throughout."""
    base, *overlays = (load(file) for file in files)

    for overlay in overlays:
        shared = {kind: set(overlay.get(kind, {})) & set(base.get(kind, {})) for kind in COMPONENTS}
        assert shared == {kind: set() for kind in COMPONENTS}
        assert set(overlay["service"]) == {"pipelines"}
        assert set(overlay["service"]["pipelines"]) & set(base["service"]["pipelines"]) == set()


@each_combination
def test_memory_limiter_is_first_in_every_pipeline(files: list[Path]) -> None:
    """Behind another processor the limiter refuses data only after memory was spent on it."""
    pipelines = merged(files)["service"]["pipelines"]

    assert {pipeline["processors"][0] for pipeline in pipelines.values()} == {"memory_limiter"}


@each_file
def test_no_batch_processor_and_no_renamed_component(file: Path) -> None:
    """Nothing is used that later versions drop: the batch processor, or a name before its renaming."""
    config = load(file)
    exporters = {name.partition("/")[0] for name in config["exporters"]}
    others = {name.partition("/")[0] for kind in ("receivers", "processors") for name in config[kind]}

    assert "batch" not in others
    assert (exporters | others) & set(RENAMED) == set()
    assert "otlp" not in exporters


@each_file
def test_no_listener_for_the_whole_network(file: Path) -> None:
    """No value is an address of all interfaces: a container that needs it says so in the environment."""
    wide = re.compile(r"0\.0\.0\.0|\[::\]|^:\d+$|:-:\d+")

    assert [value for _, value in leaves(load(file)) if wide.search(str(value))] == []


@each_file
def test_every_place_comes_from_the_environment(file: Path) -> None:
    """Addresses, ports and folders are variables, so nobody has to edit the file to move one."""
    fixed = [
        (key, value) for key, value in leaves(load(file)) if PLACES.search(key) and "${env:" not in str(value)
    ]

    assert fixed == []


@each_file
def test_every_variable_has_a_default(file: Path) -> None:
    """Without one the Collector warns and goes on with nothing, which then fails somewhere else."""
    assert [value for _, value in leaves(load(file)) if re.search(r"\$\{env:\w+\}", str(value))] == []


@each_file
def test_with_an_empty_environment_it_stays_on_loopback(file: Path) -> None:
    """Each address is on loopback, each on a port of its own; the one for Azure is nowhere."""
    found = defaults(file)

    addresses = {value for name, value in found.items() if name.endswith(("_ENDPOINT", "_METRICS_HOST"))}
    ports = [
        value.rpartition(":")[2] for name, value in found.items() if name.endswith(("_ENDPOINT", "_PORT"))
    ]
    nowhere = {address for address in addresses if address.endswith(".invalid")}
    assert {address.partition(":")[0] for address in addresses - nowhere} == {"127.0.0.1"}
    assert nowhere == set() or file.stem == "azure-otlp-preview"
    assert len(set(ports)) == len(ports)


def test_no_secret_has_a_value() -> None:
    """What is a password or a key comes from the environment only, and its default opens nothing."""
    secrets = {
        name: value
        for file in CONFIGS
        for name, value in defaults(file).items()
        if re.search("PASSWORD|HEADERS|CONNECTION_STRING|USER", name)
    }

    assert secrets == {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "none",
        "GATEWAY_HEADERS": "null",
        "MONGODB_MONITOR_PASSWORD": "''",
        "MONGODB_MONITOR_USER": "''",
    }


@each_file
def test_batching_is_the_exporters(file: Path) -> None:
    """Where requests are collected into larger ones, it is in the sending queue, behind the retry of the sender."""
    queues = {
        name: exporter["sending_queue"]
        for name, exporter in load(file)["exporters"].items()
        if exporter.get("sending_queue", {}).get("enabled", True) and "sending_queue" in exporter
    }

    assert {name for name, queue in queues.items() if "batch" in queue} == set(queues)


@each_file
def test_the_header_says_what_each_variable_does(file: Path) -> None:
    """The comment at the head of the file lists its variables with their defaults, all and no others."""
    header = file.read_text().partition("\n\n")[0]

    assert dict(re.findall(r"^#   ([A-Z_]+) +(\S+) ", header, re.MULTILINE)) == defaults(file)


def test_the_readme_lists_the_variables() -> None:
    """The README's table of the environment is the variables of all configurations with their defaults."""
    readme = (COLLECTOR / "README.md").read_text()
    found = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", readme, re.MULTILINE)
    rows = [(name, default.replace("\\|", "|")) for name, default in found]

    assert len(dict(rows)) == len(rows)
    variables = [found for file in CONFIGS for found in defaults(file).items()]
    assert len(set(variables)) == len(dict(variables)), "a variable has the same default everywhere"
    assert dict(rows) == dict(variables)


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
