# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mmap
import sys

import pytest

from fakes import FakeReading
from otel_resinstr.process import ProcessReading, reading
from otel_resinstr.process.faults import Faults
from otel_resinstr.semconv import PROCESS_PAGING_FAULTS


def test_faults_by_type(collect):
    """Major and minor faults, each once."""
    process = FakeReading(faults=reading.Faults(major=3, minor=4000))

    assert {PROCESS_PAGING_FAULTS.name: {("major",): 3, ("minor",): 4000}} == collect(
        Faults(process)
    ).as_dict()


def test_unknown_faults_are_absent(collect):
    """A system that does not count them has no faults to report, rather than none."""
    assert {} == collect(Faults(FakeReading())).as_dict()


@pytest.mark.skipif(sys.platform == "win32", reason="not told apart")
def test_touching_new_pages_is_counted(collect, start):
    """Each of a thousand small pages of new memory takes at most one minor fault, and large pages take fewer."""
    start(Faults(ProcessReading()))
    before = collect().points(PROCESS_PAGING_FAULTS)
    memory = mmap.mmap(-1, 1000 * mmap.PAGESIZE)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(1000):
        memory[page * mmap.PAGESIZE] = 1
    after = collect().points(PROCESS_PAGING_FAULTS)
    memory.close()

    assert after[("minor",)] - before[("minor",)] >= 1
    assert after[("major",)] >= before[("major",)] >= 0
