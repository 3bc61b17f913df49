# SPDX-License-Identifier: Apache-2.0
"""Connection strings of Azure Monitor; whether one is answered is in test_mistakes."""

from __future__ import annotations

import pytest

from otel_resinstr.doctor.checks.azure import MALFORMED, UNREACHABLE, check
from otel_resinstr.doctor.command import Command
from otel_resinstr.doctor.context import Context


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("IngestionEndpoint=https://x/", "it has no InstrumentationKey"),
        ("InstrumentationKey=hunter2", "its InstrumentationKey is not one (8-4-4-4-12 digits)"),
        (
            "InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=westeurope",
            "its IngestionEndpoint is not an address",
        ),
    ],
)
def test_what_is_wrong_with_a_connection_string(text, why):
    """Said without what stands in it."""
    environ = {"APPLICATIONINSIGHTS_CONNECTION_STRING": text}
    context = Context(Command("", None), environ, None, "", list, list)

    assert [MALFORMED.found("", why=why)] == list(check(context))


@pytest.mark.parametrize("host", [f"{'x' * 64}.invalid", "127.0.0.1:port"])
def test_an_end_point_that_cannot_be_asked(host):
    """A name that is too long, and a port that is none, are refused before anything is sent."""
    text = f"InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=http://{host}/"
    context = Context(
        Command("", None), {"APPLICATIONINSIGHTS_CONNECTION_STRING": text}, None, "", list, list
    )

    [finding] = check(context)

    assert UNREACHABLE.found(finding.evidence, host=host) == finding
