# SPDX-License-Identifier: Apache-2.0
"""A program in the foreground."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._foreground import Foreground

SLEEPS = "import signal; signal.sigwait([signal.SIGINT])"
# Ends when it is asked to, with a code of its own; says when it can be asked.
ENDS = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""


def never() -> bool:
    return False


def nothing() -> None:
    pass


def test_the_exit_code_is_that_of_the_program():
    """Also if it ends before it was ready."""
    assert 3 == Foreground([sys.executable, "-c", "raise SystemExit(3)"]).run(never, nothing)


def test_an_end_by_a_signal_is_told_as_a_shell_tells_it():
    """128 and the signal's number."""
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    assert 128 + signal.SIGKILL == Foreground([sys.executable, "-c", killed]).run(never, nothing)


def test_what_cannot_be_started_is_a_failure(tmp_path):
    """With the reason, and the handlers of signals are given back."""
    with pytest.raises(Failure, match="cannot be started: "):
        Foreground([tmp_path / "nothing"]).run(never, nothing)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_it_to_end(tmp_path, number):
    """Whichever it is, the program gets SIGTERM, and ends in its own way."""
    ready = tmp_path / "ready"

    code = Foreground([sys.executable, "-c", ENDS, ready]).run(
        ready.exists, lambda: os.kill(os.getpid(), number)
    )

    assert 7 == code


def test_a_signal_before_it_is_ready_asks_it_too(tmp_path):
    """Nobody has to wait for it to become ready in order to stop it."""
    ready = tmp_path / "ready"

    def stopped_meanwhile() -> bool:
        if ready.exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    code = Foreground([sys.executable, "-c", ENDS, ready]).run(stopped_meanwhile, pytest.fail)

    assert 7 == code


def test_a_signal_before_the_start_is_not_forgotten():
    """It comes between our handler and the program: the program is asked as soon as it is there."""
    foreground = Foreground([sys.executable, "-c", SLEEPS])
    foreground._ask(signal.SIGTERM, None)

    assert 128 + signal.SIGTERM == foreground.run(never, pytest.fail)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a program that its parent was killed")
def test_where_we_are_killed_it_is_asked_to_end_all_the_same():
    """No Collector is left behind that holds the ports of the next one."""
    program = "import signal; print('runs', flush=True); print(signal.sigwait([signal.SIGTERM]).name)"
    # Blocked before it is there, so that it comes to the one who waits for it.
    ours = f"""
import signal, sys
from otel_resinstr.cli._foreground import Foreground
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
Foreground([sys.executable, "-c", {program!r}]).run(lambda: False, lambda: None)
"""
    with subprocess.Popen([sys.executable, "-c", ours], stdout=subprocess.PIPE, text=True) as resinstr:
        assert resinstr.stdout is not None
        assert "runs\n" == resinstr.stdout.readline()
        resinstr.kill()

        # All of it: whoever could write more has ended.
        assert "SIGTERM\n" == resinstr.stdout.read()


def test_elsewhere_it_is_started_as_it_is(monkeypatch):
    """There is no such call."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert 3 == Foreground([sys.executable, "-c", "raise SystemExit(3)"]).run(never, nothing)


def test_a_signal_that_was_ignored_stays_ignored():
    """Under nohup, a terminal that goes away ends nothing."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code = Foreground([sys.executable, "-c", "raise SystemExit(0)"]).run(never, nothing)
        assert (0, signal.SIG_IGN) == (code, signal.getsignal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, former)
