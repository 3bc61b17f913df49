# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest

from fakes import MACHINES, FakeReading, run
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.disk_io import DiskIO
from otel_resinstr.semconv import PROCESS_DISK_IO


def test_bytes_by_direction(collect):
    """What went to and came from storage, not what passed through the page cache."""
    assert {PROCESS_DISK_IO.name: {("read",): 81920, ("write",): 40960}} == collect(
        DiskIO(ProcessReading(MACHINES / "kubernetes_v2"))
    ).as_dict()


def test_unknown_bytes_are_absent(collect):
    """A process that may not read its own account reports nothing."""
    assert {} == collect(DiskIO(FakeReading())).as_dict()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_forked_child_has_an_account_of_its_own():
    """The counters of a child begin at zero: what the parent wrote is the parent's."""
    parent, child = run("""
import tempfile
from otel_resinstr.process.disk_io import DiskIO

start(DiskIO(ProcessReading()))
with tempfile.NamedTemporaryFile(dir=os.getcwd()) as file:
    file.write(bytes(1 << 20))
    file.flush()
    os.fsync(file.fileno())
    print(json.dumps((collect(), forked(collect))))
""")

    # A file system in memory has no storage to write to.
    assert parent[PROCESS_DISK_IO.name]["write"] in (0, pytest.approx(1 << 20, rel=0.5))
    assert child[PROCESS_DISK_IO.name]["write"] == 0
