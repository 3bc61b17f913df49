# SPDX-License-Identifier: Apache-2.0
"""A short run of `make soak`: clients of all kinds, and what is said of them beside the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mongo import PROGRAM
from support import clean_environ

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc/net/tcp is what it is compared with"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="SecantusDB has no wheel for this platform"),
    pytest.mark.timeout(400),
]


def test_while_clients_live_and_end_all_who_count_have_the_same_number():
    """Gauges, kernel, server and garbage collector agree, in forked children too; see `soak.py`."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("soak.py"), "--seconds", "10", "--every", "2"],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert (0, "all right") == (done.returncode, done.stdout.splitlines()[-1]), done.stdout + done.stderr
