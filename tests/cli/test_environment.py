# SPDX-License-Identifier: Apache-2.0
"""The environment of the programs that the demo starts."""

from __future__ import annotations

from otel_resinstr.cli._environment import neutral


def test_the_demo_is_the_same_on_each_machine():
    """OpenTelemetry's settings and ours stay outside, all else goes in, and loopback needs no proxy."""
    found = neutral(
        {
            "PATH": "/bin",
            "OTEL_SDK_DISABLED": "true",
            "OTEL_RESINSTR_DISABLED_PROBES": "*",
            "OTELCOL_OUT": "/elsewhere",
            "NO_PROXY": "internal",
        }
    )

    assert {"PATH": "/bin", "NO_PROXY": "internal,127.0.0.1", "no_proxy": "127.0.0.1"} == found
