# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/azure.md, copied as they stand, against what stands in for Application Insights' ingestion."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import sys
from collections import Counter
from importlib.metadata import version

import pytest

from ingestion import Ingestion
from launched import EXAMPLES, PROGRAMS, ROOT, Program, environment
from mongo import eventually

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])

pytestmark = [
    pytest.mark.timeout(400),  # it makes environments and starts many processes
    pytest.mark.skipif(sys.platform != "linux", reason="App Service is Linux here"),
    pytest.mark.skipif(OTEL < (1, 44), reason="the environments are the same ones, whatever runs the tests"),
]

DOCUMENT = ROOT / "docs" / "azure.md"
BLOCK = re.compile(r"<!-- ([\w.]+) -->\n```\w+\n(.*?)```\n", re.DOTALL)
RECIPES = dict(BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")))
HEADER = "# SPDX-License-Identifier: Apache-2.0\n"

# As App Service sets them.
APP_SERVICE = {
    "REGION_NAME": "West Europe",
    "WEBSITE_HOME_STAMPNAME": "waws-prod-am2-001",
    "WEBSITE_HOSTNAME": "shop-staging.azurewebsites.net",
    "WEBSITE_INSTANCE_ID": "0123456789abcdef",
    "WEBSITE_OWNER_NAME": "00000000-0000-0000-0000-000000000000+shop-WestEurope",
    "WEBSITE_RESOURCE_GROUP": "shop",
    "WEBSITE_SITE_NAME": "shop",
    "WEBSITE_SLOT_NAME": "staging",
}
# What Azure's packages send to Microsoft about themselves stays here.
ISOLATED = {
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
}

METRICS = {
    "cpython.thread.count",
    "db.client.connection.create_time",
    "db.client.connection.wait_time",
    "db.client.operation.duration",
    "mongodb.client.active_instance.count",
    "mongodb.client.created",
    "mongodb.connection.created",
    "process.cpu.time",
    "process.memory.usage",
    "process.uptime",
    "system.memory.usage",
}
COUNTERS = {
    "cpython.gc.collections",
    "mongodb.client.closed",
    "mongodb.client.created",
    "mongodb.connection.closed",
    "mongodb.connection.created",
    "process.context_switches",
    "process.cpu.time",
    "process.paging.faults",
    "system.paging.faults",
}


def make_environment(uv, wheel, folder, requirements):
    """A virtual environment with nothing in it but what a user installs; our package is this tree's."""
    listed, ours = folder / "requirements.txt", folder / "ours.txt"
    listed.write_text(requirements)
    ours.write_text(f"otel-resinstr @ {wheel.as_uri()}\n")
    venv = folder / "venv"
    uv("venv", "--python", sys.executable, venv)
    constraints = ("--constraints", ROOT / "constraints.txt", "--constraints", ours)
    uv("pip", "install", "--python", venv / "bin" / "python", *constraints, "--requirements", listed)
    return venv / "bin"


@pytest.fixture(scope="module")
def for_azure(uv, wheel, tmp_path_factory):
    """What the document's requirements install, for gunicorn and for uvicorn."""
    listed = RECIPES["requirements.txt"] + RECIPES["requirements_uvicorn.txt"]
    return make_environment(uv, wheel, tmp_path_factory.mktemp("azure"), listed)


@pytest.fixture(scope="module")
def with_both(uv, wheel, tmp_path_factory):
    """With OpenTelemetry's own distro beside Azure's, for its exporters and for the Collector."""
    listed = RECIPES["requirements_exporters.txt"] + RECIPES["requirements_collector.txt"]
    return make_environment(uv, wheel, tmp_path_factory.mktemp("both"), listed)


class Site:
    """A site on App Service that was set up by a recipe; who has answered how often."""

    def __init__(self, start_program, folder, bin_folder, startup, environ):
        for name, text in RECIPES.items():
            (folder / name).write_text(text)
        shutil.copy(EXAMPLES / "azure_app_service" / "app.py", folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.program = start_program(
            *("sh", "-c", 'cd "$0" && exec sh "$1"', folder, startup),
            # A busy machine needs more than half a minute to end, after which workers are killed.
            GUNICORN_CMD_ARGS="--graceful-timeout 100",
            PATH=f"{bin_folder}:/usr/bin:/bin",
            OTEL_RESINSTR_RECORDER_DIR=str(folder / "recorder"),  # not in a folder of this machine's
            PORT=str(self.port),
            TMPDIR=str(folder),
            **APP_SERVICE,
            **ISOLATED,
            **environ,
        )
        self.answered = Counter()

    def ask(self, times=1):
        """Ask for what the mistake is in, on a connection of its own each time."""
        for _ in range(times):
            assert self.program.process.poll() is None, self.program.err.read_text()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("GET", "/mistake")
                response = connection.getresponse()
                assert 200 == response.status
                self.answered[json.loads(response.read())["pid"]] += 1
            finally:
                connection.close()

    def answers(self):
        """Whether it does already."""
        try:
            self.ask()
        except OSError:
            return False
        return True


@pytest.fixture
def serve(start_program, server, tmp_path):
    """Set a site up by a recipe, and wait until it answers."""

    def serve(bin_folder, startup, **environ):
        folder = tmp_path / "site"
        folder.mkdir()
        site = Site(start_program, folder, bin_folder, startup, {"MONGODB_URI": server.uri, **environ})
        eventually(site.answers, seconds=60)
        return site

    return serve


def churn_by_instance(envelopes, kind):
    """What was said of the mistake, by the instance that said it."""
    found = {}
    for envelope in envelopes.of(kind):
        base = envelope["data"]["baseData"]
        text = base["properties"].get("resinstr.event.message", base.get("message", ""))
        if "clients constructed in" in text:
            found[envelope["tags"]["ai.cloud.roleInstance"]] = base
    return found


def ask_until_the_mistake_is_told(sites, kind):
    """By each of the two workers of each site."""

    def told():
        left = [
            site
            for site, ingestion in sites
            if not len(churn_by_instance(ingestion, kind)) == len(site.answered) == 2
        ]
        for site in left:
            site.ask(2)
        return not left

    eventually(told, seconds=100)


def points(ingestion, name=None):
    """Those of the metrics that arrived: name, value, attributes and tags."""
    found = []
    for envelope in ingestion.of("MetricData"):
        base = envelope["data"]["baseData"]
        (metric,) = base["metrics"]
        if metric["name"] == name or name is None:
            found.append((metric["name"], metric["value"], base.get("properties") or {}, envelope["tags"]))
    return found


def assert_all_has_arrived(site, ingestion, *, message="EventData", uvicorn=False):
    """Each signal, once, of the process that it is of, and the counts are those of who was asked."""
    reported = points(ingestion)
    instances = {}
    for pid in map(str, site.answered):
        of_pid = [point for point in reported if point[2].get("process.pid") == pid]
        assert {name for name, *_ in of_pid} >= METRICS
        assert {"staging"} == {attributes["deployment.environment.name"] for _, _, attributes, _ in of_pid}
        (instances[pid],) = {tags["ai.cloud.roleInstance"] for *_, tags in of_pid}
    assert len(site.answered) == len({*instances.values()})
    assert {"shop-staging"} == {envelope["tags"]["ai.cloud.role"] for envelope in ingestion.envelopes}
    assert site.answered == created(ingestion)
    assert [] == [point for point in reported if point[0] in COUNTERS and point[1] < 0]

    spans = [envelope["data"]["baseData"] for envelope in ingestion.of("RemoteDependencyData")]
    names, asked = names_of_spans(ingestion), site.answered.total()
    assert [asked, asked] == [names["find orders"], names["mongodb.client.create"]]
    # uvicorn's recipe is in a hurry at the end, and clients that are alive end with the process.
    assert (1 if uvicorn else asked) <= names["mongodb.client"] <= asked
    assert len(spans) == len({span["id"] for span in spans})
    told = churn_by_instance(ingestion, message)
    assert {*instances.values()} == {*told}
    return spans, [*told.values()]


def names_of_spans(ingestion):
    """How often each has arrived."""
    return Counter(envelope["data"]["baseData"]["name"] for envelope in ingestion.of("RemoteDependencyData"))


def created(ingestion):
    """How many clients each process has reported to have constructed, all differences added up."""
    found = Counter()
    for _, value, attributes, _ in points(ingestion, "mongodb.client.created"):
        found[int(attributes["process.pid"])] += value
    return found


# The file with the mistake that each recipe serves.
SERVED = {
    "startup.sh": "app.py",
    "startup_exporters.sh": "app.py",
    "startup_in_code.sh": "app.py",
    "startup_uvicorn.sh": "main.py",
}


@pytest.fixture(scope="module")
def ended(for_azure, with_both, server, tmp_path_factory):
    """The sites of all recipes, when they have ended, and what they have sent. At once: mostly they wait."""
    with contextlib.ExitStack() as stack:
        sites = {}
        for startup in SERVED:
            ingestion = Ingestion()
            stack.callback(ingestion.stop)
            folder = tmp_path_factory.mktemp(startup.removesuffix(".sh"))

            def start(*command, folder=folder, **environ):
                program = Program(command, folder, environment(HOME=str(folder), **environ))
                stack.callback(program.kill)
                return program

            environ = {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string,
                "MONGODB_URI": server.uri,
            }
            if startup == "startup_uvicorn.sh":
                # It gives what is sent at its end three seconds, which a busy machine may not do with.
                environ["OTEL_METRIC_EXPORT_INTERVAL"] = "2000"
            installed = with_both if startup == "startup_exporters.sh" else for_azure
            sites[startup] = Site(start, folder, installed, startup, environ), ingestion
        for site, _ in sites.values():
            eventually(site.answers, seconds=100)
        ask_until_the_mistake_is_told(sites.values(), "EventData")
        site, ingestion = sites["startup_uvicorn.sh"]
        eventually(lambda: created(ingestion) == site.answered, seconds=60)
        eventually(lambda: names_of_spans(ingestion)["find orders"] == site.answered.total(), seconds=60)
        for site, _ in sites.values():
            site.program.process.terminate()
        for site, _ in sites.values():
            assert 0 == site.program.process.wait(120)
        yield sites


@pytest.mark.parametrize(("startup", "file"), SERVED.items(), ids=SERVED)
def test_a_recipe_shows_all_signals(startup, file, ended, server):
    """Metrics, dependencies with type, target and data, custom events, and the lives of clients.

    No two processes send on one connection, which would break over TLS.
    """
    site, ingestion = ended[startup]

    pids = [pid for pid in ingestion.senders.values() if pid]
    assert {1} == {*map(len, pids)}
    assert {*map(str, site.answered)} <= set().union(*pids)
    assert_azure_understands_it(site, ingestion, server, file)
    assert "Traceback" not in site.program.err.read_text()


def assert_azure_understands_it(site, ingestion, server, file):
    """What Azure's exporter for Python makes of it."""
    spans, told = assert_all_has_arrived(site, ingestion, uvicorn=file == "main.py")
    pool = f"127.0.0.1:{server.port}"
    assert {
        ("find orders", "mongodb", f"{pool}|shop", "find"),
        ("mongodb.client", "InProc", None, None),
        ("mongodb.client.create", "InProc", None, None),
        ("mongodb.connection", "mongodb", pool, None),
        ("mongodb.connection.create", "mongodb", pool, None),
        ("mongodb.connection.wait", "InProc", None, None),
    } == {
        ("mongodb.connection.wait", "InProc", None, None),  # on a machine that is busy
    } | {
        (span["name"], span["type"], span.get("target"), span.get("data"))
        for span in spans
        if "http" not in span["name"]
    }
    assert {True} == {span["success"] for span in spans}
    assert {"mongodb.client.churn"} == {event["name"] for event in told}
    assert all(f"by {file}:" in event["properties"]["resinstr.event.message"] for event in told)


def test_the_recipe_with_a_collector_shows_all_signals(serve, with_both, ingestion, server, run_collector):
    """Over OTLP, with Azure's packages installed beside: by the other names of the Collector's exporter."""
    config = ROOT / "collector" / "config" / "azure-gateway.yaml"
    with run_collector(
        config, {"APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string}
    ) as collector:
        site = serve(
            with_both, "startup_collector.sh", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.grpc}"
        )
        ask_until_the_mistake_is_told([(site, ingestion)], "MessageData")
        assert 0 == site.program.terminate()
        eventually(lambda: created(ingestion) == site.answered, seconds=60)

        spans, told = assert_all_has_arrived(site, ingestion, message="MessageData")
    assert ("find orders", "mongodb", "127.0.0.1", "find") in {
        (span["name"], span["type"], span["target"], span["data"]) for span in spans
    }
    assert all("by app.py:" in event["message"] for event in told)


@pytest.fixture
def shop(start_program, server, tmp_path, for_azure, ingestion):
    """An application under the launcher whose metrics are exported often; each has the disk of the one before."""

    def shop():
        program = start_program(
            *("sh", "-c", 'cd "$0" && exec "$@"', tmp_path, for_azure / "opentelemetry-instrument"),
            *(for_azure / "python", PROGRAMS / "customer.py"),
            APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
            MONGODB_URI=server.uri,
            OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="otel",
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRIC_EXPORT_INTERVAL="300",
            OTEL_RESINSTR_RECORDER_DIR=str(tmp_path / "recorder"),
            OTEL_TRACES_EXPORTER="none",
            TMPDIR=str(tmp_path),
            **APP_SERVICE,
            **ISOLATED,
        )
        orders = [0]

        def goes_on():
            """It gets orders as before."""
            before = orders[0]
            eventually(
                lambda: orders.__setitem__(0, program.says().count("\n")) or orders[0] > before + 5,
                seconds=60,
            )

        eventually(lambda: created(ingestion)[program.process.pid], seconds=60)
        return program, goes_on

    return shop


def what_it_says(envelope):
    """But for what the exporter writes to the disk for itself."""
    base = envelope["data"]["baseData"]
    return envelope["time"], base["metrics"], base["properties"]


def test_what_ingestion_does_not_take_costs_telemetry_only(shop, ingestion, tmp_path):
    """The application goes on; what is refused for good is lost, all else arrives once, even if late."""
    first, goes_on = shop()
    for statuses in ([402] * 3, [206]):  # one may be a request without anything that is counted
        ingestion.refuse(*statuses)
        eventually(lambda these=statuses: ingestion.refused[-len(these) :] == these, seconds=60)
        goes_on()
    assert 0 == first.finish()
    orders = first.says().count("\n")
    arrived = created(ingestion)[first.process.pid]
    (kept,) = tmp_path.glob("Microsoft-AzureMonitor-*/*/*.blob*")
    (item,) = map(json.loads, kept.read_text().splitlines())
    # The lease of a minute runs out.
    kept.rename(kept.with_name(kept.name.partition("@")[0]))

    second, goes_on = shop()
    ingestion.refuse(503, 429)
    eventually(lambda: {503, 429} <= {*ingestion.refused}, seconds=60)
    goes_on()
    ingestion.answering.clear()
    eventually(lambda: ingestion.waiting, seconds=60)
    goes_on()
    ingestion.answering.set()
    eventually(lambda: what_it_says(item) in map(what_it_says, list(ingestion.envelopes)), seconds=60)
    assert 0 == second.finish()

    assert 0 < arrived < orders
    assert second.says().count("\n") == created(ingestion)[second.process.pid]
    assert 1 == [*map(what_it_says, ingestion.envelopes)].count(what_it_says(item))


def test_the_documents_files_are_those_of_the_example():
    """Who copies from the one has the other; each of them is in the document."""
    folder = EXAMPLES / "azure_app_service"
    files = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    for name in ("README.md", "app.py"):
        files.pop(name)

    assert files == {name: text if name.endswith(".txt") else HEADER + text for name, text in RECIPES.items()}
