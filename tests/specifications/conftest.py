# SPDX-License-Identifier: Apache-2.0
"""Without pymongo there is nothing to test here."""

from importlib.util import find_spec

if find_spec("pymongo") is None:
    collect_ignore_glob = ["test_*.py"]
