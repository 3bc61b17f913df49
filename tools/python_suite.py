# SPDX-License-Identifier: Apache-2.0
"""Runs CPython's own tests of asyncio and of thread pools with everything of ours on, and compares with off.

    python tools/python_suite.py                    what the interpreter ships of them, in ten minutes or more
    python tools/python_suite.py --quick            thread pools only, a few seconds
    python tools/python_suite.py test.test_queue    other modules of tests, or packages

Each module runs in a process of its own: off twice, to know which tests come out differently by themselves, and on
once. A test that came out otherwise than in both runs without us is run again alone, off and on, and is reported if
it does so each time; one that does so only after the others is named as a suspect. The exit code is 1 if there is a
test that differs each time, if a module does not come to its end with us on, or if no test was run at all.

Needs an interpreter that has its own tests (`python -c "import test.test_asyncio"`), and the SDK.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import io
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

THREAD_POOLS = ["test.test_concurrent_futures:ThreadPool"]  # the classes whose names begin so
ALL = ["test.test_asyncio", *THREAD_POOLS]
SECONDS = 1800  # after which the run of a module is given up
AGAIN = 3  # times that a test which differs is run again

Outcomes = dict[str, str]


def run_here(name: str, *, instrumented: bool, only: list[str]) -> Outcomes:
    """Run the tests of *name* in this process, or *only* those with these ids."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    support = importlib.import_module("test.support")
    support.use_resources = []  # neither the network nor hours of CPU time
    if instrumented:
        turn_on()
    module, _, classes = name.partition(":")
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(module)
    except unittest.SkipTest:  # a module for another system
        return {name: "skipped"}
    chosen = [test for test in flat(suite) if type(test).__name__.startswith(classes)]
    if only:
        chosen = [test for test in chosen if test.id() in only]
    outcomes = {test.id(): "passed" for test in chosen}  # before the suite lets go of them
    result = unittest.TestResult()
    unittest.TestSuite(chosen).run(result)
    for outcome, found in (
        ("skipped", result.skipped),
        ("expected failure", result.expectedFailures),
        ("failed", result.failures),
        ("error", result.errors),
    ):
        outcomes.update((test.id(), outcome) for test, _ in found)
    outcomes.update((test.id(), "unexpected success") for test in result.unexpectedSuccesses)
    return outcomes


def turn_on() -> None:
    """All subjects, on a real SDK whose reader collects ten times a second."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415, TID251  not where it is off
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415, TID251  see above
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )

    import otel_resinstr  # noqa: PLC0415  see above

    exporter = ConsoleMetricExporter(out=io.StringIO(), formatter=lambda _: "")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=100)
    otel_resinstr.instrument(meter_provider=MeterProvider([reader], shutdown_on_exit=False))


def flat(suite: unittest.TestSuite | unittest.TestCase) -> Iterator[unittest.TestCase]:
    """The tests of *suite* without its nesting."""
    if isinstance(suite, unittest.TestSuite):
        for part in suite:
            yield from flat(part)
    else:
        yield suite


def run(name: str, *, instrumented: bool, only: tuple[str, ...] = ()) -> Outcomes:
    """Run the tests of *name* in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, __file__, "--one", name, "--answer", str(answer)]
        command += ["--on"] if instrumented else []
        for test in only:
            command += ["--only", test]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if answer.exists():
            return dict(json.loads(answer.read_text()))
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return {name: f"ended with {done.returncode}: {said[-1] if said else ''}"}


def modules(name: str) -> list[str]:
    """The modules of tests that *name* stands for."""
    package, _, classes = name.partition(":")
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        print(f"{name}: this interpreter does not ship it", flush=True)
        return []
    if not hasattr(module, "__path__"):
        return [name]
    found = (info.name for info in pkgutil.iter_modules(module.__path__))
    return [f"{package}.{inner}:{classes}" for inner in found if inner.startswith("test")]


def differs(test: str, off: list[Outcomes], on: Outcomes) -> bool:
    """Whether *test* came out otherwise than in each run without us."""
    return all(on.get(test) != outcomes.get(test) for outcomes in off)


def compare(name: str) -> tuple[Counter[str], list[str]]:
    """How the tests of *name* came out with us, and those that we change."""
    off = [run(name, instrumented=False), run(name, instrumented=False)]
    on = run(name, instrumented=True)
    tests = {*on, *off[0], *off[1]}
    suspects = sorted(test for test in tests if differs(test, off, on))
    changed = [test for test in suspects if test != name and all(changes(name, test) for _ in range(AGAIN))]
    if name in on and name not in off[0]:  # the whole module, such as one that crashed
        suspects, changed = [name], [name]
    unsteady = sum(off[0].get(test) != off[1].get(test) for test in tests)
    figures = Counter(on.values())
    print(
        f"{name}: {len(tests)} tests, {unsteady} unsteady without us, "
        f"{len(suspects)} differed, {len(changed)} each time; {dict(figures)}",
        flush=True,
    )
    for test in changed:
        print(f"  {test}: {off[0].get(test)} without us, {on.get(test)} with", flush=True)
    for test in sorted({*suspects} - {*changed}):
        print(
            f"  only after the others: {test}: {off[0].get(test)} without us, {on.get(test)} with", flush=True
        )
    return figures, changed


def changes(name: str, test: str) -> bool:
    """Whether *test* comes out otherwise with us when it is run alone."""
    return differs(
        test,
        [run(name, instrumented=False, only=(test,))],
        run(name, instrumented=True, only=(test,)),
    )


def main() -> int:
    """Compare what is named."""
    parser = argparse.ArgumentParser(description="CPython's own tests, with otel-resinstr off and on.")
    parser.add_argument("names", nargs="*", metavar="MODULE", help=f"by default {' '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="thread pools only")
    # What the process of each run is told.
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--only", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--on", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        outcomes = run_here(chosen.one, instrumented=chosen.on, only=chosen.only)
        chosen.answer.write_text(json.dumps(outcomes))
        return 0
    names = [
        module for name in chosen.names or (THREAD_POOLS if chosen.quick else ALL) for module in modules(name)
    ]
    figures: Counter[str] = Counter()
    changed: list[str] = []
    for name in names:
        one, ours = compare(name)
        figures += one
        changed += ours
    print(
        f"Python {sys.version.split()[0]}: {figures.total()} tests with us: {dict(figures)}; changed: {len(changed)}"
    )
    return 1 if changed or not figures else 0


if __name__ == "__main__":
    sys.exit(main())
