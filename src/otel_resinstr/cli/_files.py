# SPDX-License-Identifier: Apache-2.0
"""Files that come with the package and are no modules: where they are in a clone, and once installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(path: str, package: Path = _PACKAGE) -> Path:
    """*path*, as it is in the repository: ``collector/config/local-debug.yaml``.

    The wheel has ``collector`` and ``examples`` beside our modules, with an underscore before their names.
    """
    installed = package / f"_{path}"
    return installed if installed.exists() else package.parents[1] / path
