# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from otel_resinstr.host import HostReading
from otel_resinstr.host.memory import Memory
from otel_resinstr.semconv import (
    SYSTEM_MEMORY_LINUX_AVAILABLE,
    SYSTEM_MEMORY_USAGE,
    SYSTEM_MEMORY_UTILIZATION,
)

MIB = 1 << 20
GIB = 1 << 30


def test_memory_by_state(collect, machine):
    """The states add up to the machine; available is the kernel's own estimate, and none of them."""
    collected = collect(Memory(machine("kubernetes_v2").reading()))

    states = {("used",): 6400 * MIB, ("free",): 2 * GIB, ("buffers",): 256 * MIB, ("cached",): 7680 * MIB}
    assert {
        SYSTEM_MEMORY_USAGE.name: states,
        SYSTEM_MEMORY_UTILIZATION.name: {state: size / (16 * GIB) for state, size in states.items()},
        SYSTEM_MEMORY_LINUX_AVAILABLE.name: {(): 10 * GIB},
    } == collected.as_dict()
    assert sum(collected.points(SYSTEM_MEMORY_USAGE).values()) == 16 * GIB


def test_an_old_kernel_does_not_say_what_is_available(collect, machine):
    """One that is missing is absent; the others are there."""
    old = machine("kubernetes_v2")
    old.replace("proc/meminfo", "MemAvailable", "MemElse")

    assert [SYSTEM_MEMORY_USAGE.name, SYSTEM_MEMORY_UTILIZATION.name] == collect(
        Memory(old.reading())
    ).names()


def test_without_proc_psutil_says_what_it_knows(collect, tmp_path):
    """macOS and Windows: used, free and available."""
    told = SimpleNamespace(total=8 * GIB, free=1 * GIB, available=3 * GIB)

    assert {
        SYSTEM_MEMORY_USAGE.name: {("used",): 7 * GIB, ("free",): 1 * GIB},
        SYSTEM_MEMORY_UTILIZATION.name: {("used",): 7 / 8, ("free",): 1 / 8},
        SYSTEM_MEMORY_LINUX_AVAILABLE.name: {(): 3 * GIB},
    } == collect(Memory(HostReading(tmp_path, machine=lambda: told))).as_dict()


def test_nothing_known_is_nothing_said(collect, tmp_path):
    """No zero, no error."""

    def refuse():
        raise psutil.AccessDenied

    assert [] == collect(Memory(HostReading(tmp_path, machine=refuse))).names()


@pytest.mark.skipif(not psutil.LINUX, reason="other systems have other states")
def test_it_agrees_with_psutil(collect):
    """On this machine, whatever it is."""
    collected = collect(Memory(HostReading()))
    told = psutil.virtual_memory()

    assert sum(collected.points(SYSTEM_MEMORY_USAGE).values()) == told.total
    assert told.available == pytest.approx(collected.value(SYSTEM_MEMORY_LINUX_AVAILABLE), abs=512 * MIB)
    cached = collected.points(SYSTEM_MEMORY_USAGE)[("cached",)]
    assert told.cached == pytest.approx(cached, abs=512 * MIB)
