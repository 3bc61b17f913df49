# SPDX-License-Identifier: Apache-2.0
"""What a fatal signal leaves behind: the stacks of all threads, in a file, by Python's own `faulthandler`."""

from __future__ import annotations

import contextlib
import datetime as dt
import faulthandler
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otel_resinstr._probe import Lease

MOST_FILES = 50
"""As many are kept in a folder: the newest ones, and those with stacks before those of processes that were killed."""

_enable = faulthandler.enable  # also while ours stands in its place


class Fatal:
    """A file of this process's own in *folder* that takes the stacks if it dies of a fault in C.

    Nothing is done where `faulthandler` is enabled already, by ``PYTHONFAULTHANDLER`` or by the application. It needs
    the file open beforehand; a process that ends otherwise, and can, removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._file = -1

    def start(self, lease: Lease) -> None:
        """Give everything back at the end of *lease*; `enable` is yet to be called, also in each forked child."""
        lease.after_fork(self._forked)
        lease.at_end(self._disable)
        lease.replace(faulthandler, "enable", self._watched)

    def enable(self) -> None:
        """Make the file, and let `faulthandler` have it. Raises OSError."""
        if faulthandler.is_enabled():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process is at it too
            found = sorted((path.stat().st_size > 0, path) for path in self._folder.glob("fatal-*.txt"))
            for _, path in found[: 1 - MOST_FILES]:
                path.unlink()
        now = dt.datetime.now(dt.timezone.utc)
        path = self._folder / f"fatal-{now:%Y%m%dT%H%M%S%f}-{os.getpid()}.txt"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._path = path
        _enable(self._file)

    def tidy(self) -> None:
        """Remove the file, since the process ends as it is meant to. It stays open: what is to come is not known."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`faulthandler.enable`, after which it is the caller's."""

        def enable(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            self._let_go()
            return result

        return enable

    def _disable(self) -> None:
        if self._path is not None:
            faulthandler.disable()
            self._let_go()

    def _let_go(self) -> None:
        if self._path is not None:
            self.tidy()
            os.close(self._file)
            self._path = None

    def _forked(self) -> None:
        # The file is the parent's.
        if self._path is not None:
            faulthandler.disable()
            os.close(self._file)
            self._path = None
