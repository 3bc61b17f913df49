# SPDX-License-Identifier: Apache-2.0
"""Programs that the command line starts, and that are gone when it is, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from otel_resinstr.cli._failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import FrameType
    from typing import Any

    from typing_extensions import Self

STOP_WITHIN = 5.0
"""Seconds in which a program has to end when it is asked to; then it is killed."""

_TAIL = 15
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Program:
    """A program that was started; what it prints is in its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-_TAIL:])

    def stop(self) -> None:
        """End it and what it has started, if it still runs: asked first, then killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Once it has ended and we know, its id may be another's.
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_WITHIN)


class Programs:
    """Starts programs, and stops them all at its end: also on Ctrl-C, SIGTERM, or when the terminal goes away.

    Each is the first of a process group of its own, so that Ctrl-C reaches only us, and we decide the order.
    """

    def __init__(self) -> None:
        self._programs: list[Program] = []
        self._former: dict[int, Any] = {}
        self._starting = False
        self._received: int | None = None

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as it is under nohup
                self._former[number] = signal.signal(number, self._interrupted)
        return self

    def _interrupted(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if not self._starting:
            self._leave()

    def _leave(self) -> NoReturn:
        self._ignore_signals()
        raise SystemExit(128 + (self._received or 0))

    def _ignore_signals(self) -> None:
        # A second one must not cut the clearing up short; it takes seconds at most.
        for number in self._former:
            signal.signal(number, signal.SIG_IGN)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str],
        folder: Path,
    ) -> Program:
        """Start *command* in *folder*, with *environment* as its whole environment and *log* for what it prints."""
        # A signal between the birth of the process and its entry in our list would leave it behind.
        self._starting = True
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603  the commands are ours or named by the user
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=folder,
                    start_new_session=True,
                )
            self._programs.append(Program(name, process, log))
        except OSError as error:
            raise Failure(f"{name} cannot be started: {error}") from None
        finally:
            self._starting = False
            if self._received is not None:
                self._leave()
        return self._programs[-1]

    def __exit__(self, *_: object) -> None:
        self._ignore_signals()
        for program in reversed(self._programs):
            program.stop()
        for number, former in self._former.items():
            signal.signal(number, former)


def start_on_free_ports(
    number: int,
    start: Callable[[list[int]], Program],
    answers: Callable[[list[int]], bool],
    within: float,
    remedy: str,
) -> tuple[Program, list[int]]:
    """*start* a program on so many free ports of loopback, and wait until it *answers* there.

    Started again on others if one was taken meanwhile. Fails with what the program said last, and the *remedy*, if it
    ends, or does not answer *within* seconds.
    """
    attempts = 3
    while True:
        ports = free_ports(number)
        program = start(ports)
        deadline = time.monotonic() + within
        while program.exit_code() is None and time.monotonic() < deadline:
            if answers(ports):
                return program, ports
            time.sleep(0.05)
        program.stop()
        attempts -= 1
        if not attempts or "address already in use" not in program.last_words().lower():
            raise Failure(f"{program.name} does not start:\n{program.last_words()}\n{remedy}")


def free_ports(number: int) -> list[int]:
    """So many ports of loopback that nobody listens on at this moment."""
    with ExitStack() as held:  # all at a time: no two are the same
        return [
            held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)
        ]
