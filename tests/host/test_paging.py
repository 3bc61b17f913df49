# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest

from fakes import FakeClock
from otel_resinstr.host import HostReading
from otel_resinstr.host.paging import Paging
from otel_resinstr.semconv import SYSTEM_PAGING_FAULTS, SYSTEM_PAGING_OPERATIONS, SYSTEM_PAGING_USAGE

MIB = 1 << 20
VMSTAT = "proc/vmstat"


def test_paging_since_the_probe_looks(collect, start, machine):
    """Faults and swapped pages count from the start of the probe, not from that of the machine."""
    clock = FakeClock()
    swapping = machine("docker_v1")
    start(Paging(swapping.reading(clock)))
    before = collect().as_dict()
    clock.now += 60.0
    swapping.replace(VMSTAT, "pgfault 900000\npgmajfault 4000", "pgfault 900500\npgmajfault 4100")
    swapping.replace(VMSTAT, "pswpin 300\npswpout 500", "pswpin 307\npswpout 520")

    swap = {("used",): 512 * MIB, ("free",): 1536 * MIB}
    assert {
        SYSTEM_PAGING_USAGE.name: swap,
        SYSTEM_PAGING_FAULTS.name: {("major",): 0, ("minor",): 0},
        SYSTEM_PAGING_OPERATIONS.name: {("in", "major"): 0, ("out", "major"): 0},
    } == before
    assert {
        SYSTEM_PAGING_USAGE.name: swap,
        SYSTEM_PAGING_FAULTS.name: {("major",): 100, ("minor",): 400},
        SYSTEM_PAGING_OPERATIONS.name: {("in", "major"): 7, ("out", "major"): 20},
    } == collect().as_dict()


def test_a_machine_without_swap_has_no_point_for_it(collect, machine):
    """No swap is not a swap space of which 0 bytes are free, which would look full."""
    assert SYSTEM_PAGING_USAGE.name not in collect(Paging(machine("kubernetes_v2").reading())).names()


def test_what_the_kernel_does_not_count_is_absent(collect, machine):
    """A kernel without swapping has no lines for it."""
    small = machine("docker_v1")
    small.replace(VMSTAT, "pswpin 300\npswpout 500\n", "")
    small.replace(VMSTAT, "pgmajfault 4000\n", "")
    small.replace("proc/meminfo", "SwapFree:        1572864 kB\n", "")

    assert [] == collect(Paging(small.reading())).names()


def test_a_counter_that_began_anew_goes_on(collect, start, machine):
    """A sandbox that was moved to another machine: the count does not go down."""
    clock = FakeClock()
    moved = machine("docker_v1")
    start(Paging(moved.reading(clock)))
    seen = []
    for major in (4100, 7, 9):
        clock.now += 60.0
        moved.set(VMSTAT, f"pgfault 900000\npgmajfault {major}\npswpin 0\npswpout 0\n")
        seen.append(collect().points(SYSTEM_PAGING_FAULTS)[("major",)])

    assert [100, 100, 102] == seen


@pytest.mark.parametrize(
    ("used", "expected"), [(3, {("used",): 3, ("free",): 5}), (0, {("used",): 0, ("free",): 5})]
)
def test_without_proc_psutil_knows_the_swap_space(collect, tmp_path, used, expected):
    """And nothing else that means the same everywhere."""
    reading = HostReading(tmp_path, swap=lambda: SimpleNamespace(used=used, free=5))

    assert {SYSTEM_PAGING_USAGE.name: expected} == collect(Paging(reading)).as_dict()
