# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from otel_resinstr._kernel import read


def test_a_file_is_read_to_its_end(tmp_path):
    """Also one that is longer than what the kernel gives at a time."""
    long = tmp_path / "long"
    long.write_bytes(b"0123456789" * 20_000)

    assert long.read_bytes() == read(os.fspath(long))
    assert b"" == read(os.devnull)


def test_no_descriptor_is_left_open(tmp_path):
    """Neither after a file that was read, nor after one that could not be: a directory can be opened."""
    before = set(Path("/proc/self/fd").iterdir())
    read("/proc/self/stat")
    with pytest.raises(IsADirectoryError):
        read(os.fspath(tmp_path))
    with pytest.raises(FileNotFoundError):
        read(os.fspath(tmp_path / "missing"))

    assert before == set(Path("/proc/self/fd").iterdir())
