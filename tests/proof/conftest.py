# SPDX-License-Identifier: Apache-2.0
"""What is proven of whole subjects, whatever the order of things; without pymongo there is nothing to prove."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("pymongo") is None:
    collect_ignore_glob = ["test_*.py"]
