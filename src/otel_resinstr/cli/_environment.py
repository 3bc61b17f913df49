# SPDX-License-Identifier: Apache-2.0
"""The environment of the programs that the demo starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def neutral(environment: Mapping[str, str]) -> dict[str, str]:
    """*environment* without what would make the demo another one on each machine: OpenTelemetry's settings.

    And without a proxy for loopback: that is where everything here listens.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(("OTEL_", "OTELCOL_"))}
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [environment.get(name), "127.0.0.1"]))
    return kept
