# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of thread pools come out the same with us; `make python-suite` runs those of asyncio too."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[1] / "tools" / "python_suite.py"
THREAD_POOLS = "test.test_concurrent_futures.test_thread_pool"  # since Python 3.12


def shipped():
    try:
        return find_spec(THREAD_POOLS) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not shipped(), reason="this interpreter does not ship its tests of thread pools")
def test_pythons_own_tests_of_thread_pools_come_out_the_same():
    """Off twice, on once; a test that differs is run again, and must not differ each time."""
    suite = subprocess.run(
        [sys.executable, SUITE, THREAD_POOLS], capture_output=True, text=True, timeout=110, check=False
    )

    assert (0, "") == (suite.returncode, suite.stderr)
    assert "'passed'" in suite.stdout
    assert suite.stdout.endswith("changed: 0\n")


@pytest.fixture
def suite():
    """The tool, as a module."""
    spec = spec_from_file_location("python_suite", SUITE)
    suite = module_from_spec(spec)
    spec.loader.exec_module(suite)
    return suite


OFF = {"t.first": "passed", "t.second": "passed"}


@pytest.mark.parametrize(
    ("on", "alone", "changed", "said"),
    [
        (OFF, {}, [], ""),
        ({"module": "ended with -11: "}, {}, ["module"], "  module: None without us, ended with -11:  with"),
        (
            {**OFF, "t.second": "failed"},
            {"t.second": "failed"},
            ["t.second"],
            "  t.second: passed without us, failed with",
        ),
        (
            {**OFF, "t.second": "failed"},
            {},
            [],
            "  only after the others: t.second: passed without us, failed with",
        ),
    ],
)
def test_what_we_change_is_told(suite, monkeypatch, capsys, on, alone, changed, said):
    """A module that does not come to its end, a test that fails alone, and one that fails only after others."""

    def run(name, *, instrumented, only=()):
        outcomes = on if instrumented else OFF
        return {test: alone.get(test, "passed") if instrumented else "passed" for test in only} or outcomes

    monkeypatch.setattr(suite, "run", run)
    figures, found = suite.compare("module")

    assert (changed, len(on)) == (found, figures.total())
    assert [said] == (capsys.readouterr().out.splitlines()[1:] or [""])


def test_a_suite_without_a_test_fails(suite, monkeypatch):
    """It has shown nothing, as where an interpreter does not ship the tests that are named."""
    monkeypatch.setattr(sys, "argv", ["python_suite.py", "test.no_such_tests"])

    assert 1 == suite.main()
