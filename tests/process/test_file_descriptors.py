# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys

import pytest

from fakes import FakeReading, run
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.file_descriptors import FileDescriptors
from otel_resinstr.semconv import (
    PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
    PROCESS_WINDOWS_HANDLE_COUNT,
    RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT,
)


def test_descriptors_and_their_limit(collect):
    """On Unix: how many are open and how many may be, and no handles."""
    process = FakeReading(descriptors=7, descriptor_limit=1024)

    assert {
        PROCESS_UNIX_FILE_DESCRIPTOR_COUNT.name: {(): 7},
        RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT.name: {(): 1024},
    } == collect(FileDescriptors(process)).as_dict()


def test_a_process_without_a_limit_reports_no_limit(collect):
    """No limit is no point, not infinity and not zero."""
    process = FakeReading(descriptors=7)

    assert {PROCESS_UNIX_FILE_DESCRIPTOR_COUNT.name: {(): 7}} == collect(FileDescriptors(process)).as_dict()


def test_handles(collect):
    """On Windows: handles, and no descriptors."""
    assert {PROCESS_WINDOWS_HANDLE_COUNT.name: {(): 321}} == collect(
        FileDescriptors(FakeReading(handles=321))
    ).as_dict()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has handles")
def test_descriptors_that_are_opened_show(collect, start):
    """Twenty descriptors more are twenty more, and the limit is the one that the system enforces."""
    start(FileDescriptors(ProcessReading()))
    before = collect()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    with_them = collect()
    for descriptor in opened:
        os.close(descriptor)
    after = collect()

    counts = [each.value(PROCESS_UNIX_FILE_DESCRIPTOR_COUNT) for each in (before, with_them, after)]
    assert [0, 20, 0] == [count - counts[0] for count in counts]
    assert PROCESS_WINDOWS_HANDLE_COUNT.name not in with_them.names()


@pytest.mark.skipif(sys.platform != "linux", reason="the list of descriptors is Linux's")
def test_the_count_is_exact():
    """The descriptor that reads the list of descriptors is not counted, and the soft limit is the limit."""
    assert {
        PROCESS_UNIX_FILE_DESCRIPTOR_COUNT.name: {"": 4},
        RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT.name: {"": 100},
    } == run("""
import resource
from otel_resinstr.process.file_descriptors import FileDescriptors

os.closerange(3, 1000)
os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
start(FileDescriptors(ProcessReading()))
print(json.dumps(collect()))
""")
