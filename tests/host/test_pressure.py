# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from fakes import FakeClock
from otel_resinstr.host.pressure import Pressure
from otel_resinstr.semconv import RESINSTR_PRESSURE_STALL_TIME


def stalls(collected):
    """By scope, resource and kind; the order of the keys of the attributes is kind, resource, scope."""
    points = collected.points(RESINSTR_PRESSURE_STALL_TIME)
    return {(scope, resource, kind): value for (kind, resource, scope), value in points.items()}


def psi(some, full=None):
    lines = [f"some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\n"]
    if full is not None:
        lines.append(f"full avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n")
    return "".join(lines)


def test_stalls_of_the_machine_and_of_the_container(collect, start, machine):
    """Seconds since the probe looks, by resource and kind; not all tasks of a machine can wait for a CPU."""
    clock = FakeClock()
    container = machine("kubernetes_v2")
    start(Pressure(container.reading(clock)))
    clock.now += 60.0
    container.set("proc/pressure/memory", psi(700000 + 18_000_000, 300000 + 6_000_000))
    container.set("sys/fs/cgroup/memory.pressure", psi(60000 + 30_000_000, 20000 + 12_500_000))
    found = stalls(collect())

    expected = dict.fromkeys(
        [
            (scope, resource, kind)
            for scope in ("system", "container")
            for resource in ("memory", "cpu", "io")
            for kind in ("some", "full")
        ],
        0.0,
    )
    del expected["system", "cpu", "full"]
    expected["system", "memory", "some"] = 18.0
    expected["system", "memory", "full"] = 6.0
    expected["container", "memory", "some"] = 30.0
    expected["container", "memory", "full"] = 12.5
    assert expected == found
    assert {float} == {type(seconds) for seconds in found.values()}


def test_version_1_has_none_for_a_container(collect, machine):
    """There is the machine's, where the kernel has it."""
    v1 = machine("kubernetes_v1")
    v1.set("proc/pressure/memory", psi(1, 1))

    assert {("system", "memory", "some"): 0.0, ("system", "memory", "full"): 0.0} == stalls(
        collect(Pressure(v1.reading()))
    )


def test_in_the_root_the_container_s_would_be_the_machine_s(collect, machine):
    """What the root's files say is not said twice."""
    root = machine("wsl")
    root.set("sys/fs/cgroup/memory.pressure", psi(5, 5))

    assert {} == stalls(collect(Pressure(root.reading())))


@pytest.mark.parametrize("text", ["", "some\n", "some total=x\n", "total=1\n", "some total=-1\n"])
def test_a_file_that_is_odd_gives_nothing(collect, machine, text):
    """Neither a part of it nor a zero."""
    odd = machine("no_cgroups")
    odd.set("proc/pressure/memory", text)

    assert {} == stalls(collect(Pressure(odd.reading())))


def test_a_kernel_without_full_for_the_cpu(collect, machine):
    """Before Linux 5.13 the file has one line."""
    old = machine("no_cgroups")
    old.set("proc/pressure/cpu", psi(7))

    assert {("system", "cpu", "some"): 0.0} == stalls(collect(Pressure(old.reading())))
