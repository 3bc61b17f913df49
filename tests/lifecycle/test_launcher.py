# SPDX-License-Identifier: Apache-2.0
"""Under a real `opentelemetry-instrument`: an application that knows nothing of us reports, and is not harmed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

from otel_resinstr.instrumentors import SUBJECTS, names_of_probes
from otel_resinstr.semconv import METRICS
from support import clean_environ


def installed():
    """Whether the launcher can find our entry points."""
    try:
        distribution("otel-resinstr")
    except PackageNotFoundError:
        return False
    return True


pytestmark = pytest.mark.skipif(not installed(), reason="the launcher finds installed packages only")

DRIVER = find_spec("pymongo") is not None
LAUNCHER = shutil.which("opentelemetry-instrument", path=Path(sys.executable).parent)

OFF_BY_DEFAULT = {"process.sigterm", "process.sockets", "runtime.gc_pauses", "runtime.objects"}
SUBJECT_OF = {metric.name: metric.probe.partition(".")[0] for metric in METRICS}

# An application as people write them. What it prints, it prints with and without us.
APPLICATION = """
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor


async def main():
    for _ in range(20):
        await asyncio.sleep(0.02)


asyncio.run(main())
with ThreadPoolExecutor(1) as pool:
    pool.submit(int)
try:
    import pymongo
except ModuleNotFoundError:
    pass
else:
    pymongo.MongoClient("mongodb://user:secret@db.example", connect=False).close()
print(json.dumps({"application": "done"}))
"""

# A package of somebody else's: its instrumentors stand before and after ours in the alphabet.
OTHERS = """
import json
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor


class Others(BaseInstrumentor):
    def instrumentation_dependencies(self):
        return ()

    def _instrument(self, **kwargs):
        print(json.dumps({"loaded": type(self).__name__}))

    def _uninstrument(self, **kwargs):
        pass


class First(Others):
    pass


class Last(Others):
    pass


def done():
    print(json.dumps({"loaded": "all"}))
"""

ENTRY_POINTS = """
[opentelemetry_pre_instrument]
others = others:break_probes

[opentelemetry_instrumentor]
aaa_first = others:First
zzz_last = others:Last

[opentelemetry_post_instrument]
others = others:done
"""

BREAK_NOTHING = """
def break_probes():
    pass
"""

# Each start of each probe raises.
BREAK_ALL = """
def break_probes():
    from otel_resinstr.instrumentors import SUBJECTS
    from otel_resinstr.settings import Settings

    def start(self, lease):
        raise ValueError("mongodb://user:secret@db.example")

    for subject in SUBJECTS:
        for probe in subject().probes(Settings()):
            type(probe).start = start
"""

# One probe raises when it is read.
BREAK_ONE = """
def break_probes():
    from otel_resinstr.process.memory import Memory
    from otel_resinstr.semconv import PROCESS_MEMORY_USAGE

    def start(self, lease):
        lease.observe(PROCESS_MEMORY_USAGE, lambda: 1 / 0)

    Memory.start = start
"""

# The sources of one subject cannot be made.
BREAK_SOURCES = """
def break_probes():
    from otel_resinstr import instrumentors

    def reading():
        raise OSError("/proc is not mounted")

    instrumentors.ProcessReading = reading
"""


class Outcome:
    """What came out of a program whose telemetry goes to its standard output."""

    def __init__(self, program):
        self.said = program.stderr.splitlines()
        self.documents = list(self._documents(program.stdout))
        self.scopes = {}
        for document in self.documents:
            for resource in document.get("resource_metrics", ()):
                for scope in resource["scope_metrics"]:
                    names = self.scopes.setdefault(scope["scope"]["name"], set())
                    names.update(
                        metric["name"] for metric in scope["metrics"] if metric["data"]["data_points"]
                    )
        self.spans = [document["name"] for document in self.documents if "parent_id" in document]
        self.events = [
            document.get("event_name") for document in self.documents if "severity_number" in document
        ]
        self.loaded = [document["loaded"] for document in self.documents if "loaded" in document]
        self.application = [
            document["application"] for document in self.documents if "application" in document
        ]

    @staticmethod
    def _documents(text):
        decoder = json.JSONDecoder()
        while text := text.lstrip():
            document, end = decoder.raw_decode(text)
            yield document
            text = text[end:]

    @property
    def metrics(self):
        """The names of our metrics that have points."""
        return self.scopes.get("otel_resinstr", set())

    def subjects(self):
        """The subjects whose metrics have points."""
        return {SUBJECT_OF[name] for name in self.metrics}


@pytest.fixture
def launch(tmp_path):
    """Run the application under the launcher, with settings, and with a plug-in of somebody else's."""

    def launch(plugin=BREAK_NOTHING, **environ):
        packages = tmp_path / "packages"
        info = packages / "others-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        (packages / "others.py").write_text(textwrap.dedent(OTHERS) + textwrap.dedent(plugin))
        application = tmp_path / "application.py"
        application.write_text(APPLICATION)
        environ = clean_environ(
            OTEL_METRICS_EXPORTER="console",
            OTEL_TRACES_EXPORTER="console",
            OTEL_LOGS_EXPORTER="console",
            OTEL_RESINSTR_EVENTLOOP_PERIOD="0.01",
            # A machine that is busy with other tests may hold the loop, and that is a line in the log.
            OTEL_RESINSTR_EVENTLOOP_THRESHOLD="60",
            **environ,
        )
        # They report the same as we do, which is a line in the log.
        environ.setdefault("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "pymongo,system_metrics")
        environ["PYTHONPATH"] = os.pathsep.join([str(packages), environ["PYTHONPATH"]])
        program = subprocess.run(
            [LAUNCHER, sys.executable, str(application)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert 0 == program.returncode, program.stderr
        outcome = Outcome(program)
        assert ["done"] == outcome.application
        assert "secret" not in program.stdout + program.stderr
        return outcome

    return launch


def ours(outcome):
    """The lines in the log that are about us."""
    return [line for line in outcome.said if "resinstr" in line.lower()]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process")
def test_an_unchanged_application_reports(launch):
    """Metrics of all subjects, two spans for its client, nothing in its log; and all is gone when it ends."""
    pytest.importorskip("pymongo")
    outcome = launch()

    assert {"process", "runtime", "host", "eventloop", "threadpool", "mongodb"} == outcome.subjects()
    assert {
        "mongodb.client.active_instance.count",
        "mongodb.client.created",
        "mongodb.client.closed",
    } <= outcome.metrics
    assert {"asyncio.eventloop.delay.duration", "asyncio.eventloop.delay.max"} <= outcome.metrics
    assert ["mongodb.client", "mongodb.client.create"] == sorted(outcome.spans)
    assert [] == outcome.events
    assert [] == ours(outcome)


@pytest.mark.parametrize(
    ("plugin", "broken"),
    [
        (BREAK_ONE, ["process.memory"]),
        (BREAK_SOURCES, ["process"]),
        (BREAK_ALL, [name for name in names_of_probes() if name not in OFF_BY_DEFAULT]),
    ],
    ids=["one", "sources", "all"],
)
def test_when_probes_break_the_launcher_loads_all_others(launch, plugin, broken):
    """One line for each of them; the application and what others have installed go on."""
    outcome = launch(plugin, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="pymongo")
    said = [line for line in ours(outcome) if "system_metrics" not in line]

    assert {"First", "Last", "all"} == {*outcome.loaded}
    assert "all" == outcome.loaded[-1]
    assert "opentelemetry.instrumentation.system_metrics" in outcome.scopes
    assert sorted(
        f"resinstr.probe.disabled: the probe {probe} broke and was stopped; the application and the other probes "
        "are not affected. Please report"
        for probe in broken
    ) == sorted(":".join(line.split(":")[:2]) for line in said)
    # The one that breaks when it is read may do so after the exporter of the logs has gone.
    assert {*outcome.events} <= {"resinstr.probe.disabled"}
    assert ("runtime" in outcome.subjects()) == (plugin is not BREAK_ALL)


def test_a_subject_is_switched_off_as_any_other_instrumentation(launch):
    """By the launcher's own setting; what is loaded besides stays."""
    outcome = launch(
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="pymongo, system_metrics, resinstr_mongodb, resinstr_runtime"
    )

    assert {"process", "host", "eventloop", "threadpool"} == outcome.subjects()
    assert [] == outcome.spans
    assert ["First", "Last", "all"] == sorted(outcome.loaded)
    assert [] == ours(outcome)


def test_probes_are_switched_off_by_our_setting(launch):
    """With patterns; a misspelt one is reported once, by whichever of the subjects comes first."""
    outcome = launch(OTEL_RESINSTR_DISABLED_PROBES="process.*,mongodb.ledger,mongodb.pol")

    assert "process" not in outcome.subjects()
    assert "runtime" in outcome.subjects()
    assert "mongodb.client.created" not in outcome.metrics
    assert ["mongodb.client"] * DRIVER == outcome.spans
    assert [
        (
            "OTEL_RESINSTR_DISABLED_PROBES: 'mongodb.pol' is the name of no probe and has no effect: "
            "did you mean mongodb.pool?"
        )
    ] == ours(outcome)


def test_a_bad_setting_is_reported_once(launch):
    """Though each of the subjects reads the environment."""
    outcome = launch(OTEL_RESINSTR_CPU_WINDOW="banana", OTEL_RESINSTR_CHURN_COUNT="3")

    assert [
        (
            "OTEL_RESINSTR_CHURN_COUNT is not a setting of otel-resinstr and has no effect: "
            "did you mean OTEL_RESINSTR_MONGODB_CHURN_COUNT?"
        ),
        (
            "OTEL_RESINSTR_CPU_WINDOW='banana' is not accepted: it takes a number of seconds from 0.001 to 86400; "
            "10.0 is used instead"
        ),
    ] == sorted(ours(outcome))
    assert "process" in outcome.subjects()


def test_nothing_of_ours_is_loaded_where_all_of_it_is_switched_off(launch):
    """As an operator does to rule us out."""
    ours = ",".join(f"resinstr_{subject.subject}" for subject in SUBJECTS)
    outcome = launch(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=ours)

    assert set() == outcome.metrics
    assert [] == outcome.spans
