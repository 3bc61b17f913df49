# SPDX-License-Identifier: Apache-2.0
"""Whether Azure Monitor's exporter is installed: what it drops has to be said in another way.

Who installs it uses it; where it is not, nothing is said twice.
"""

from __future__ import annotations

import functools
from importlib import metadata


@functools.cache
def exporter_version() -> str | None:
    """The version of Azure Monitor's exporter that is installed, or None. Never raises.

    Reads the environment's list of packages, once.
    """
    try:
        return metadata.version("azure-monitor-opentelemetry-exporter")
    except Exception:  # noqa: BLE001  not installed, or its files are damaged: no reason to measure nothing
        return None
