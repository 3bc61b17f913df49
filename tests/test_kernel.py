# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from otel_resinstr._kernel import Entries, field, number, read, statm


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


def test_what_a_system_has_no_flag_for_is_not_asked_for(tmp_path, monkeypatch):
    """Windows has no O_CLOEXEC: there a missing file is a missing file, and one that is there is read."""
    monkeypatch.delattr(os, "O_CLOEXEC", raising=False)
    (tmp_path / "file").write_bytes(b"text")

    assert b"text" == read(os.fspath(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        read(os.fspath(tmp_path / "missing"))


def test_a_file_that_is_being_read_is_not_inherited(tmp_path, monkeypatch):
    """By a program that another thread starts meanwhile."""
    (tmp_path / "file").write_bytes(b"text")
    inheritable = []
    close = os.close

    def closing(descriptor):
        inheritable.append(os.get_inheritable(descriptor))
        close(descriptor)

    monkeypatch.setattr(os, "close", closing)
    read(os.fspath(tmp_path / "file"))

    assert [False] == inheritable


@pytest.mark.parametrize(
    "text",
    [b"", b"-1", b"1.5", b"0x1", b"1_000", b"max", b"\xd9\xa1", b"9223372036854775808", b"9" * 400, b"1 2"],
)
def test_what_is_no_number_is_an_error(text):
    """Nothing is guessed, and nothing gets out that an exporter could not write."""
    with pytest.raises(ValueError, match=r".*"):
        number(text)


def test_numbers():
    """With whatever white space is around them, up to the largest that a metric can carry."""
    assert [0, 7, (1 << 63) - 1] == [number(text) for text in (b"0", b" 7\n", b"9223372036854775807")]


def test_fields():
    """Found by the beginning of the line, the first line included, and not by the end of another name."""
    text = b"MemTotal:  16 kB\nSwapTotal: 5 kB\nTotal: 9\nlast 3"

    assert [16, 5, 9, 3, None] == [
        field(text, name) for name in (b"MemTotal:", b"SwapTotal:", b"Total:", b"last ", b"Free:")
    ]


@pytest.mark.parametrize("text", [b"a\n", b"a -1\n", b"a", b"a x\n"])
def test_a_field_without_a_number_is_an_error(text):
    """The line is there, and does not say what it should."""
    with pytest.raises(ValueError, match=r".*"):
        field(text, b"a")


@pytest.mark.parametrize("text", [b"", b"1", b"-1 2", b"a b"])
def test_a_statm_that_is_odd_is_an_error(text):
    """And so is unknown to whoever asks."""
    with pytest.raises(ValueError, match=r".*"):
        statm(text)


class Told(Entries):
    """A directory that tells of itself what the test says."""

    says = 0

    def _told(self):
        return self.says


@pytest.mark.parametrize("told", ["right", "nothing", "wrong"])
def test_a_directory_that_tells_how_many_it_holds_is_asked(tmp_path, told):
    """A kernel that does not tell, or tells something else, has its directory listed each time."""
    for name in range(5):
        (tmp_path / str(name)).touch()
    entries = Told(os.fspath(tmp_path), links=False, besides=1)
    entries.says = {"right": 4, "nothing": 0, "wrong": 4096}[told]

    assert 4 == entries.count()
    entries.says = 17

    assert (17 if told == "right" else 4) == entries.count()


@pytest.mark.parametrize("links", [False, True])
def test_what_a_directory_tells_is_its_size_or_its_links(tmp_path, links):
    """A directory in a directory is a link to it; the size of an ordinary one is something else."""
    (tmp_path / "one").mkdir()
    told = tmp_path.stat()
    entries = Entries(os.fspath(tmp_path), links=links)

    assert (told.st_nlink - 2 if links else told.st_size) == entries._told()


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    """For whoever asks to take it for unknown."""
    with pytest.raises(FileNotFoundError):
        Entries(os.fspath(tmp_path / "none"), links=True).count()
