# SPDX-License-Identifier: Apache-2.0
"""Lines in files that several processes keep in one folder, bounded in all.

A file belongs to one process and one signal: its name is made anew in a forked child, and taken only if no file
has it. It is open only while a line is written, so nothing is inherited, and nothing is left to close.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import threading
from typing import TYPE_CHECKING

from otel_resinstr import _fork

if TYPE_CHECKING:
    from pathlib import Path

SHARE = 20
"""The number of files that the room is for: one is rotated when it has its part of it."""

MOST_FILES = 500
"""So that a folder with many processes that end soon stays quick to look through."""

_OURS = re.compile(r"(?:metrics|traces|logs)-\d{8}T\d{12}-\d+(?:-\d+)?\.jsonl")
_WINDOWS_BINARY = getattr(os, "O_BINARY", 0)

_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603  another thread may have held it while the process was forked
    _lock = threading.Lock()


_fork.add_at_last(_renew_lock)


class Lines:
    """The lines of one *signal* in *folder*; all files there of this module's take at most *room* bytes.

    To hold to that, those are removed that were written to the longest time ago, whichever process wrote them.
    Several processes that write at once may each exceed it by a line.
    """

    def __init__(self, folder: Path, signal: str, room: int) -> None:
        self._folder = folder.absolute()  # the application may go elsewhere
        self._signal = signal
        self._room = room
        self._pid = 0
        self._path: Path | None = None

    def write(self, line: bytes) -> None:
        """Append *line* as a whole, or raise OSError and leave the files as they were.

        Costs a look at each file of the folder, and one write; does not wait for the disk to have it (fsync).
        """
        with _lock:
            if len(line) > self._room:
                raise OSError(errno.EFBIG, "One request is larger than all files may be")
            if self._pid != os.getpid():
                self._pid, self._path = os.getpid(), None
            file = self._open(len(line))
            try:
                self._make_room(len(line))
                self._append(file, line)
            finally:
                os.close(file)

    def _open(self, more: int) -> int:
        """The file to write *more* bytes to: a new one if there is none, somebody removed it, or it is full."""
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                file = os.open(self._path, os.O_WRONLY | os.O_APPEND | _WINDOWS_BINARY)
                if os.fstat(file).st_size + more <= self._room // SHARE:
                    return file
                os.close(file)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = dt.datetime.now(dt.timezone.utc)
        name = f"{self._signal}-{now:%Y%m%dT%H%M%S%f}-{self._pid}"
        # Containers that share a folder may have the same ids.
        for number in range(MOST_FILES):
            path = self._folder / (f"{name}-{number}.jsonl" if number else f"{name}.jsonl")
            with contextlib.suppress(FileExistsError):
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | _WINDOWS_BINARY
                file = os.open(path, flags, 0o600)
                self._path = path
                return file
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    def _make_room(self, more: int) -> None:
        """Remove the oldest files but the one that is written to, until there is room for *more* bytes."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # another process makes room as well
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime_ns, entry.path, status.st_size))
        taken, count = sum(size for _, _, size in found), len(found)
        for _, path, size in sorted(found):
            if taken + more <= self._room and count <= MOST_FILES:
                return
            if path != str(self._path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108  a path as scandir has it
                taken, count = taken - size, count - 1

    def _append(self, file: int, line: bytes) -> None:
        before = os.fstat(file).st_size
        # One call: what is killed meanwhile leaves at most its last line incomplete.
        written = os.write(file, line)
        if written == len(line):
            return
        path, self._path = self._path, None  # nothing may come after a part of a line that stays
        os.ftruncate(file, before)
        self._path = path
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
