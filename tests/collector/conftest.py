# SPDX-License-Identifier: Apache-2.0
"""
Exporters in these tests send to where the test says, and to nowhere else.
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporters in tests see neither the developer's OTEL_* variables nor a proxy."""
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
