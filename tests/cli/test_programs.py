# SPDX-License-Identifier: Apache-2.0
"""Programs that are gone when the command is."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

import psutil
import pytest

from otel_resinstr.cli import _programs
from otel_resinstr.cli._failure import Failure
from otel_resinstr.cli._programs import Programs, free_ports, start_on_free_ports

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
TAKEN = "raise SystemExit('OSError: [Errno 98] Address already in use')"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {SLEEP!r}]).wait()"


@pytest.fixture
def launch(tmp_path):
    """Starts Python code as a program and waits until it says that it is up."""

    def start(programs, code=SLEEP, environment=None):
        log = tmp_path / "program.log"
        command = [sys.executable, "-S", "-c", code]
        program = programs.start("the program", command, log, environment or {}, tmp_path)
        while b"up" not in log.read_bytes() and program.exit_code() is None:
            time.sleep(0.01)
        return program

    return start


@pytest.fixture(autouse=True)
def children():
    """The processes that a test has started; whatever it does, none outlives it."""
    before = set(psutil.Process().children(recursive=True))

    def children():
        return set(psutil.Process().children(recursive=True)) - before

    yield children
    assert set() == children()


def test_a_program_runs_until_the_end(launch, tmp_path):
    """It has the environment and the folder that it was given, and what it prints is in its log."""
    code = "import os; print(os.getcwd(), sorted(os.environ)); " + SLEEP
    with Programs() as programs:
        program = launch(programs, code, {"ONLY": "this"})

        assert None is program.exit_code()

    # LC_CTYPE is set by the interpreter itself.
    assert f"  | {tmp_path} ['LC_CTYPE', 'ONLY']\n  | up" == program.last_words()
    assert -signal.SIGTERM == program.exit_code()


def test_last_words_are_the_last(launch):
    """A long log is shown from its end."""
    with Programs() as programs:
        program = launch(programs, "print(*range(100), sep='\\n')")

    assert [f"  | {number}" for number in range(85, 100)] == program.last_words().splitlines()


def test_a_program_that_has_ended_is_left_alone(launch):
    """Its id may be another's by now."""
    with Programs() as programs:
        program = launch(programs, "raise SystemExit(3)")
        while program.exit_code() is None:
            time.sleep(0.01)
        program.stop()
        program.stop()

    assert 3 == program.exit_code()


def test_what_does_not_end_is_killed(launch, monkeypatch):
    """It is asked first, and has some seconds to do it."""
    monkeypatch.setattr(_programs, "STOP_WITHIN", 0.2)
    with Programs() as programs:
        program = launch(programs, DEAF)

    assert -signal.SIGKILL == program.exit_code()


def test_what_a_program_has_started_goes_with_it(launch, children):
    """A Collector may be a script around the real one: the whole group is ended."""
    with Programs() as programs:
        launch(programs, PARENT)

        assert 2 == len(children())


def test_a_program_that_cannot_be_started_is_a_failure(tmp_path, programs):
    """The message names it and the reason."""
    with pytest.raises(Failure, match=r"the program cannot be started: .*No such file") as raised:
        programs.start("the program", [tmp_path / "missing"], tmp_path / "log", {}, tmp_path)

    assert 1 == raised.value.exit_code


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_us_and_all_programs(launch, number, exit_code):
    """With the exit code of a shell's own command, and with what is done on it afterwards as it was before."""
    former = signal.getsignal(number)

    started = []

    def interrupted():
        with Programs() as programs:
            started.append(launch(programs))
            os.kill(os.getpid(), number)
            started.append("more")

    with pytest.raises(SystemExit) as raised:
        interrupted()

    [program] = started
    assert exit_code == raised.value.code
    assert -signal.SIGTERM == program.exit_code()
    assert former == signal.getsignal(number)


def test_a_signal_while_a_program_starts_leaves_none_behind(launch):
    """It waits until the program is known; then it ends it."""

    class Interrupting(dict):
        def keys(self):
            os.kill(os.getpid(), signal.SIGINT)
            return super().keys()

        def items(self):
            os.kill(os.getpid(), signal.SIGINT)
            return super().items()

    with pytest.raises(SystemExit) as raised, Programs() as programs:
        launch(programs, environment=Interrupting(PATH=""))

    assert 130 == raised.value.code


def test_a_second_signal_does_not_cut_the_end_short(launch):
    """Who presses Ctrl-C twice has nothing left behind either."""

    class Impatient:
        def __exit__(self, *_):
            os.kill(os.getpid(), signal.SIGINT)

        def __enter__(self):
            return self

    def interrupted():
        with Programs() as programs, Impatient():
            launch(programs)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as raised:
        interrupted()

    assert 143 == raised.value.code


def test_a_signal_at_the_end_changes_nothing(launch):
    """When all is done it is too late to interrupt it: all programs are ended, and nothing is raised."""

    class Last:
        def stop(self):
            os.kill(os.getpid(), signal.SIGINT)

    with Programs() as programs:
        program = launch(programs)
        programs._programs.append(Last())

    assert -signal.SIGTERM == program.exit_code()


def test_what_is_ignored_stays_ignored():
    """Under nohup the end of the terminal is not ours."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Programs():
            os.kill(os.getpid(), signal.SIGHUP)

        assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_free_ports_are_free_and_differ():
    """Each can be listened on."""
    ports = free_ports(4)

    assert 4 == len(set(ports))
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_program_that_answers_is_up(launch, programs):
    """It is asked until it answers, on the ports that it was started with."""
    asked = []

    def answers(ports):
        asked.append(ports)
        return len(asked) == 3

    program, ports = start_on_free_ports(2, lambda _: launch(programs), answers, 60, "remedy")

    assert [ports] * 3 == asked
    assert None is program.exit_code()


def test_a_taken_port_is_tried_again_with_others(launch, programs):
    """Twice: between the look for a free port and its use another process may take it."""
    tried = []

    def start(ports):
        tried.append(ports)
        return launch(programs, SLEEP if len(tried) == 3 else TAKEN)

    _, ports = start_on_free_ports(1, start, lambda _: len(tried) == 3, 60, "remedy")

    assert tried[2] == ports


@pytest.mark.parametrize(
    ("words", "attempts"), [("bind: address already in use", 3), ("no such component", 1)]
)
def test_a_program_that_ends_is_a_failure(launch, programs, words, attempts):
    """With its last words, and with what to do; only a taken port is worth another attempt."""
    tried = []

    def start(ports):
        tried.append(ports)
        return launch(programs, f"raise SystemExit('{words}')")

    with pytest.raises(Failure) as raised:
        start_on_free_ports(1, start, lambda _: False, 60, "Do this.")

    assert attempts == len(tried)
    assert raised.value.message.startswith(f"the program does not start:\n  | {words}")
    assert raised.value.message.endswith("\nDo this.")


def test_a_program_that_does_not_answer_in_time_is_a_failure(launch, programs, children):
    """It is ended."""
    with pytest.raises(Failure, match=r"does not start:\n  \| up\nDo this\."):
        start_on_free_ports(1, lambda _: launch(programs), lambda _: False, 0.2, "Do this.")

    assert set() == children()
