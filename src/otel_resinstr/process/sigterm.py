# SPDX-License-Identifier: Apache-2.0
"""SIGTERM ends the process, after what has to happen at its end."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from otel_resinstr import _exit, _flush
from otel_resinstr._signals import is_free

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Lease


def _to_this_process(number: int) -> None:
    # Not `raise_signal`, which is for this thread: it may have blocked the signal, and others have not.
    os.kill(os.getpid(), number)


class Sigterm:
    """Does at SIGTERM what has to happen at the end, for *timeout* seconds at most; then the default action follows.

    That is what probes have asked for (`Lease.at_exit`), and, with *flush*, to send what is pending.
    By default SIGTERM ends a process at once: nothing of `atexit` runs, and what was measured since the last export is
    lost. uvicorn ends itself likewise when it has shut down. A handler is set where there is none. One that is set
    later takes its place: called by that one, ours does nothing, since the application ends itself as it will. uvicorn
    puts it back before it sends itself the signal again.
    gunicorn resets all handlers in each worker, after which uvicorn's worker has none: ours is set again
    when uvicorn's server begins to serve.

    Cost: as any handler of Python's, it waits for the main thread's next line of Python: a process that hangs in a
    function of C is no longer ended by SIGTERM.
    """

    name = "process.sigterm"

    def __init__(
        self, timeout: float, send: Callable[[int], None] = _to_this_process, *, flush: bool = True
    ) -> None:
        self._timeout = timeout
        self._flush = flush
        self._send = send
        self._ending = False

    def start(self, lease: Lease) -> None:
        """Set the handler, where there is none."""
        self._lease = lease
        lease.after_fork(self._forked)
        lease.when_imported("uvicorn.server", self._found_uvicorn)
        lease.at_end(self._leave)
        self._set()

    def _set(self) -> None:
        if is_free(signal.SIGTERM):
            _set_handler(self._handle)

    def _leave(self) -> None:
        # Where somebody else's has taken its place, ours may be called by it, and does nothing.
        if signal.getsignal(signal.SIGTERM) == self._handle:
            _set_handler(signal.SIG_DFL)

    def _forked(self) -> None:
        self._ending = False

    def _found_uvicorn(self, module: Any) -> None:
        server = getattr(module, "Server", None)
        if hasattr(server, "serve"):
            self._lease.patch(server, "serve", self._serve)

    def _serve(self, wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any) -> Any:
        self._lease.guard(self._set)
        return wrapped(*args, **kwargs)

    def _handle(self, number: int, _frame: Any) -> None:
        # It comes again while it is handled where a service manager sends it to all processes, and a master to its own.
        # And who has a handler, and calls ours as the one from before, has a way to end.
        if self._ending or signal.getsignal(number) != self._handle:
            return
        self._ending = True
        try:
            if not self._lease.ended:
                (_flush.out if self._flush else _flush.only)(_exit.run, self._timeout)
        finally:
            # Also if the handler of another signal raises here, or if this thread, which may not wait, is gevent's.
            _set_handler(signal.SIG_DFL)
            self._send(number)


def _set_handler(handler: Any) -> None:
    with contextlib.suppress(ValueError):  # this is not the main thread
        signal.signal(signal.SIGTERM, handler)
