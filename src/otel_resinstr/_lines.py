# SPDX-License-Identifier: Apache-2.0
"""Lines in files that several processes keep in one folder, bounded in all.

A file belongs to one process and one kind of lines: its name is made anew in a forked child, and taken only if no
file has it. It is open only while a line is written, so nothing is inherited, and nothing is left to close.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SHARE = 20
"""The number of files that the room is for: one is rotated when it has its part of it."""

MOST_FILES = 500
"""So that a folder with many processes that end soon stays quick to look through."""

_STEPS = 20
"""A file grows by so many parts, or by a larger line; the folder is looked through once for each."""

_OURS = re.compile(r"[a-z]+-\d{8}T\d{12}-\d+(?:-\d+)?\.jsonl")
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)  # Windows would end lines its own way


class Lines:
    """Lines of one *kind*, a word in lower case, in *folder*; all files of all kinds there take at most *room* bytes.

    To hold to that, those are removed that were written to the longest time ago, whichever process wrote them.
    Several processes that write at once may each exceed it by a line, or by a 400th of it if that is more.
    """

    def __init__(self, folder: Path, kind: str, room: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # the working directory is gone: writing will say so
            folder = folder.absolute()  # the application may go elsewhere
        self.folder = folder
        self._kind = kind
        self._room = room
        self._pid = 0
        self._path: Path | None = None
        self._made = 0  # bytes that there is room for without another look
        # Re-entrant: a signal handler that writes may have interrupted a write.
        self._lock = threading.RLock()

    @property
    def path(self) -> Path | None:
        """The file that was written to last, if it can be written to."""
        return self._path

    def write(self, line: bytes) -> None:
        """Append *line* as a whole, or raise OSError and leave the files as they were.

        Does not wait for the disk to have it (fsync). Costs a system call or two beside opening, writing and closing
        the file, and now and then a look at each file of the folder.
        """
        if self._pid != os.getpid():
            # A forked child; another thread of its parent may have been writing. The pid comes last: who sees it
            # finds the rest. Two threads may both come here, and each have a file.
            self._lock, self._path, self._made = threading.RLock(), None, 0
            self._pid = os.getpid()
        with self._lock:
            if len(line) > self._room:
                raise OSError(errno.EFBIG, "one line is larger than all files may be", str(self.folder))
            file = self._open(len(line))
            try:
                if self._made < len(line):
                    self._make_room(max(len(line), self._room // (SHARE * _STEPS)))
                self._append(file, line)
                self._made -= len(line)
            finally:
                os.close(file)

    def _open(self, more: int) -> int:
        """The file to write *more* bytes to: a new one if there is none, somebody removed it, or it is full."""
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                file = os.open(self._path, _APPEND)
                size = os.fstat(file).st_size
                if not size or size + more <= self._room // SHARE:
                    return file
                os.close(file)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._made = 0  # one file more to count
        now = dt.datetime.now(dt.timezone.utc)
        name = f"{self._kind}-{now:%Y%m%dT%H%M%S%f}-{self._pid}"
        # Containers that share a folder may have the same ids.
        for number in range(MOST_FILES):
            path = self.folder / (f"{name}-{number}.jsonl" if number else f"{name}.jsonl")
            with contextlib.suppress(FileExistsError):
                file = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
                self._path = path
                return file
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    def _make_room(self, more: int) -> None:
        """Remove the oldest files but the one that is written to, until there is room for *more* bytes."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # another process makes room as well
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime_ns, entry.path, status.st_size))
        taken, count = sum(size for _, _, size in found), len(found)
        for _, path, size in sorted(found):
            if taken + more <= self._room and count <= MOST_FILES:
                break
            if path != str(self._path):
                try:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)  # noqa: PTH108  a path as scandir has it
                except OSError:  # somebody else's, or open on Windows: the next one may go
                    continue
                taken, count = taken - size, count - 1
        if taken + more > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        self._made = more

    def _append(self, file: int, line: bytes) -> None:
        before = os.fstat(file).st_size
        try:
            # One call, as a rule: what is killed meanwhile leaves at most its last line incomplete.
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            path, self._path = self._path, None  # nothing may come after a part of a line that stays
            os.ftruncate(file, before)
            self._path = path
            raise
