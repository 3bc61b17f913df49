# SPDX-License-Identifier: Apache-2.0
"""Whether Azure Monitor's exporter is installed is never a reason to measure nothing."""

from __future__ import annotations

import pytest

import otel_resinstr
from otel_resinstr import _instruments
from otel_resinstr._azure import exporter_version
from otel_resinstr.mongodb._conventions import azure_reads_old_names

OURS = "Name: azure-monitor-opentelemetry-exporter\nVersion: 1.0.0b58\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install something by that name, whose metadata are these bytes."""
    folder = tmp_path / "azure_monitor_opentelemetry_exporter-1.0.0b58.dist-info"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return (folder / "METADATA").write_bytes


def test_damaged_metadata_are_those_of_no_exporter(installed):
    """What cannot be decoded raises no error, and all that is measured is measured."""
    installed(b"\xff\xfe" + OURS.encode())

    assert exporter_version() is None
    assert not azure_reads_old_names()
    otel_resinstr.instrument()
    assert _instruments._live


def test_the_packages_are_read_once(installed):
    """What is installed does not change while a process runs; there is one answer for all who ask."""
    installed(OURS.encode())
    assert "1.0.0b58" == exporter_version()
    installed(OURS.replace("b58", "b59").encode())

    assert "1.0.0b58" == exporter_version()
