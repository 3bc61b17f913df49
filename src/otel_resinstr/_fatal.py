# SPDX-License-Identifier: Apache-2.0
"""What a fatal signal leaves behind: the stacks of all threads, in a file, by Python's own `faulthandler`."""

from __future__ import annotations

import contextlib
import datetime as dt
import faulthandler
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from otel_resinstr._signals import is_free

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otel_resinstr._probe import Lease

MOST_FILES = 50
"""As many are kept in a folder, and those of the last day: rather with stacks than empty, rather new."""

DAY = 86400.0

_enable = faulthandler.enable  # also while ours stands in its place

_FAULTS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE") if hasattr(signal, name)
)


class Fatal:
    """A file of this process's own in *folder* that takes the stacks if it dies of a fault in C.

    Nothing is done where `faulthandler` is enabled already, by ``PYTHONFAULTHANDLER`` or by the application, nor where
    one of the faults has a handler: a runtime such as a JVM, or of WebAssembly, lives by faults. It needs the file open
    beforehand; a process that ends otherwise, and can, removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._file = -1  # without a path: nowhere, and yet what `faulthandler` has
        self._set: object = None
        self._over = False
        self._lock = threading.RLock()

    def start(self, lease: Lease) -> None:
        """Give everything back at the end of *lease*; `enable` is yet to be called, also in each forked child."""
        lease.after_fork(self._forked)
        lease.at_end(self._disable)
        lease.replace(faulthandler, "enable", self._watched)

    def enable(self) -> None:
        """Make the file, and let `faulthandler` have it. Raises OSError."""
        if not self._possible():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = dt.datetime.now(dt.timezone.utc)
        self._make_room(now.timestamp() - DAY)
        path = self._folder / f"fatal-{now:%Y%m%dT%H%M%S%f}-{os.getpid()}.txt"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with self._lock:  # never while the folder, which may be on a slow share, is looked at
            possible = self._possible()
            if possible:
                fresh = not faulthandler.is_enabled()
                _enable(file)
                if fresh:
                    self._set = _actions()
                self._path, self._file, file = path, file, self._file
        if not possible:
            path.unlink()
        if file >= 0:
            os.close(file)

    def tidy(self) -> None:
        """Remove the file, if it is empty, since the process ends as it is meant to. It stays open: it may yet fail."""
        with self._lock:
            self._over = True
            path = self._path
        _remove(path)

    def _possible(self) -> bool:
        if self._over or self._path is not None:
            return False
        if faulthandler.is_enabled():
            return self._file >= 0
        return all(map(is_free, _FAULTS))

    def _make_room(self, before: float) -> None:
        with contextlib.suppress(FileNotFoundError):  # another process is at it too
            states = [(path.stat(), path) for path in self._folder.glob("fatal-*.txt")]
            found = sorted((state.st_size > 0, path, state.st_mtime) for state, path in states)
            for _, path, written in found[: 1 - MOST_FILES]:
                if written < before:  # that of a process which may live
                    path.unlink()

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`faulthandler.enable`, after which it is the caller's."""

        def enable(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                result = original(*args, **kwargs)
                path, file = self._let_go()
            _close(path, file)
            return result

        return enable

    def _disable(self) -> None:
        with self._lock:
            self._over = True
            if self._file < 0:
                return
            if faulthandler.is_enabled():
                # That puts back what was before us. Who has set a handler since would lose it.
                if self._set is None or self._set != _actions():
                    path, file = self._nowhere()
                else:
                    faulthandler.disable()
                    path, file = self._let_go()
            else:
                path, file = self._let_go()
        _close(path, file)

    def _let_go(self) -> tuple[Path | None, int]:
        path, file = self._path, self._file
        self._path, self._file = None, -1
        return path, file

    def _nowhere(self) -> tuple[Path | None, int]:
        """Let `faulthandler` have no file, and its handlers stay as they are."""
        path, file = self._path, self._file
        self._file = os.open(os.devnull, os.O_WRONLY)
        _enable(self._file)
        self._path = None
        return path, file

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self._over = False
        # The file is the parent's.
        if self._path is not None:
            _, file = self._nowhere() if faulthandler.is_enabled() else self._let_go()
            os.close(file)


def _close(path: Path | None, file: int) -> None:
    _remove(path)
    if file >= 0:
        os.close(file)


def _remove(path: Path | None) -> None:
    with contextlib.suppress(OSError):
        if path is not None and not path.stat().st_size:
            path.unlink()


def _actions() -> object:
    """What the kernel does at each fault, to compare; None where that cannot be told: Python knows its own handlers."""
    with contextlib.suppress(Exception):
        import ctypes  # noqa: PLC0415  not every system has it

        found = []
        for number in (*_FAULTS, signal.SIGABRT):
            action = ctypes.create_string_buffer(512)
            if ctypes.CDLL(None).sigaction(int(number), None, action):
                return None
            found.append(
                action.raw[: ctypes.sizeof(ctypes.c_void_p)]
            )  # the handler; there is noise behind it
        return found
    return None
