# SPDX-License-Identifier: Apache-2.0
"""Runs pymongo's own tests with the package off, off again and on, and prints what differs only when it is on.

    make driver-suite                                  # all: more than an hour
    make driver-suite ARGS='test_client test_session'  # some files
    make driver-suite ARGS='--async --minutes 20'      # the asynchronous ones, as far as time allows

The tests come from pymongo's source distribution of the version that is installed, and run against SecantusDB, a
new server for each file and turn. The first two turns tell which tests are not steady by themselves; what they gave
is kept in the cache folder, which `make clean` removes. Exits with 1 if the outcome of a test differs only with us.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "driver-suite"
UV = Path(sys.executable).with_name("uv")
TURNS = ("off", "off again", "on")

SECONDS_A_TEST = 60
SECONDS_A_FILE = 900

Outcomes = dict[str, str]


def pytest_configure(config: Any) -> None:
    """Switch the package on, where pytest has loaded this file as a plugin: with all that an application has."""
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import (
        BatchLogRecordProcessor,
        ConsoleLogRecordExporter,
    )
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    import otel_resinstr

    out = Path(os.environ["DRIVER_SUITE_TELEMETRY"]).open("w", encoding="utf-8")  # noqa: SIM115  to the end
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter(out), export_interval_millis=1000)
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=out)))
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(ConsoleLogRecordExporter(out)))
    otel_resinstr.instrument(
        meter_provider=MeterProvider([reader]),
        tracer_provider=tracer_provider,
        logger_provider=logger_provider,
    )
    config.add_cleanup(otel_resinstr.uninstrument)


def main() -> int:
    """Prepare, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="names like test_client; all without")
    parser.add_argument("--async", action="store_true", dest="asynchronous", help="the asynchronous tests")
    parser.add_argument("--minutes", type=float, default=240, help="begin no file after so long")
    options = parser.parse_args()

    python, suite = environment(), sources()
    folder = "test/asynchronous" if options.asynchronous else "test"
    files = sorted(path.stem for path in (suite / folder).glob("test_*.py"))
    chosen = options.files or files
    if unknown := set(chosen) - set(files):
        sys.exit(f"no such files in {folder}: {', '.join(sorted(unknown))}")

    end = time.monotonic() + options.minutes * 60
    outcomes: list[Outcomes] = [{} for _ in TURNS]
    skipped = []
    for name in chosen:
        if time.monotonic() > end:
            skipped.append(name)
            continue
        turns = [outcomes_of(python, suite, f"{folder}/{name}.py", turn) for turn in TURNS]
        for all_of_turn, turn in zip(outcomes, turns, strict=True):
            all_of_turn.update(turn)
        print(f"{name:45} {'  |  '.join(map(summary, turns))}", flush=True)
    return report(outcomes, skipped)


def environment() -> Path:
    """An environment of its own, with the driver as it is installed here and what its tests need."""
    venv = CACHE / f"venv-{version('pymongo')}"
    python = venv / "bin" / "python"
    made = venv / "complete"
    if not made.exists():
        subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True)
        # The tests of pymongo ask for no particular version of anything.
        wanted = [
            "pytest>=8.2",
            "pytest-asyncio",
            "pytest-timeout",
            "importlib_metadata",
            "opentelemetry-sdk",
        ]
        install(python, f"pymongo=={version('pymongo')}", *wanted)
        made.touch()
    # Not editable: the sources may change while the tests run.
    install(python, "--reinstall-package", "otel-resinstr", str(ROOT))
    return python


def install(python: Path, *what: str) -> None:
    """Install into the environment of *python*."""
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *what], check=True)


def sources() -> Path:
    """The folder with pymongo's tests and their configuration, and nothing that could be imported in its place."""
    name = f"pymongo-{version('pymongo')}"
    suite = CACHE / f"suite-{version('pymongo')}"
    if not suite.exists():
        command = [UV, "tool", "run", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pymongo"]
        subprocess.run([*command, "--dest", CACHE, name.replace("-", "==")], check=True)
        shutil.rmtree(CACHE / name, ignore_errors=True)
        with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
        suite.mkdir()
        for part in ("test", "pyproject.toml"):
            shutil.move(CACHE / name / part, suite / part)
        shutil.rmtree(CACHE / name)
    return suite


def outcomes_of(python: Path, suite: Path, path: str, turn: str) -> Outcomes:
    """The outcome of each test in one file, remembered where it does not depend on us."""
    known = CACHE / "off" / f"{version('pymongo')} {path} {turn}.json".replace("/", " ")
    if turn == "on" or not known.exists():
        outcomes = run(python, suite, path, turn)
        if turn == "on":
            return outcomes
        known.parent.mkdir(exist_ok=True)
        known.write_text(json.dumps(outcomes), encoding="utf-8")
    return json.loads(known.read_text(encoding="utf-8"))


def run(python: Path, suite: Path, path: str, turn: str) -> Outcomes:
    """The outcome of each test in one file."""
    sys.path[:] = [*sys.path, *({str(ROOT / "tests")} - set(sys.path))]
    from mongo import Server

    results = CACHE / "results.xml"
    results.unlink(missing_ok=True)
    server = Server()
    output = (CACHE / "last.log").open("wb")
    try:
        subprocess.run(
            [
                *(python, "-m", "pytest", "-q", "--no-header", "--tb=no", f"--junitxml={results}"),
                *(f"--timeout={SECONDS_A_TEST}", "-p", "driver_suite" if turn == "on" else "no:driver_suite"),
                path,
            ],
            cwd=suite,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "COV"))},
                "DB_IP": "127.0.0.1",
                "DB_PORT": str(server.port),
                "DRIVER_SUITE_TELEMETRY": os.devnull,
                "PYTHONPATH": str(Path(__file__).parent),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_A_FILE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {path: "the file did not end"}
    finally:
        server.stop()
        output.close()
    return read(results) if results.exists() else {path: "pytest did not end well"}


def read(results: Path) -> Outcomes:
    """What pytest wrote down. Not the text: it holds addresses and times."""
    outcomes = {}
    for case in ET.parse(results).iter("testcase"):  # noqa: S314  written by pytest a moment ago
        kinds = sorted({child.tag for child in case} & {"error", "failure", "skipped"})
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = "+".join(kinds) or "passed"
    return outcomes


def summary(outcomes: Outcomes) -> str:
    """How many passed, failed and so on."""
    return (
        ", ".join(f"{count} {what}" for what, count in sorted(Counter(outcomes.values()).items()))
        or "nothing"
    )


def report(outcomes: list[Outcomes], skipped: list[str]) -> int:
    """Print what differs, and whether it is because of us."""
    first, second, with_us = outcomes
    tests = sorted({*first, *second, *with_us})
    unsteady = [test for test in tests if first.get(test) != second.get(test)]
    ours = [test for test in tests if test not in unsteady and with_us.get(test) != first.get(test)]
    for turn, of_turn in zip(TURNS, outcomes, strict=True):
        print(f"\n{turn:10} {summary(of_turn)}", end="")
    print(f"\n\n{len(tests)} tests; {len(unsteady)} are not steady without us:")
    for test in unsteady:
        print(f"  {test}: {' | '.join(str(turn.get(test)) for turn in outcomes)}")
    print(f"{len(ours)} differ only with us:")
    for test in ours:
        print(f"  {test}: {first.get(test)} | {with_us.get(test)}")
    if skipped:
        print(f"not run, no time left: {', '.join(skipped)}")
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
