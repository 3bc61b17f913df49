# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of thread pools come out the same with us; `make python-suite` runs those of asyncio too."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
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
