# SPDX-License-Identifier: Apache-2.0
"""The stacks that a fault in C leaves behind: in processes of their own, since pytest has `faulthandler` itself."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from support import clean_environ, run_python

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals and modes of Unix")

BEGIN = """
import faulthandler, os, signal, sys
from pathlib import Path

from otel_resinstr._fatal import MOST_FILES, Fatal
from otel_resinstr._probe import Running, Telemetry

folder = Path(sys.argv[1]) / "out"


class Probe:
    name = "test.fatal"

    def __init__(self):
        self.fatal = Fatal(folder)

    def start(self, lease):
        self.fatal.start(lease)


def files():
    return sorted(path.name for path in folder.iterdir())


probe = Probe()
running = Running([probe], Telemetry())
"""


def program(code, folder, **environ):
    return run_python(BEGIN + textwrap.dedent(code), str(folder), **environ)


def test_a_fatal_signal_leaves_the_stacks_of_all_threads(tmp_path):
    """In a file of the process that only its user may read."""
    code = """
def the_line_to_blame():
    os.kill(os.getpid(), signal.SIGSEGV)

probe.fatal.enable()
the_line_to_blame()
"""
    died = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, str(tmp_path)], stderr=subprocess.PIPE, env=clean_environ()
    )
    assert b"" == died.communicate(timeout=60)[1]

    [path] = (tmp_path / "out").iterdir()
    assert -signal.SIGSEGV == died.returncode
    assert path.name.startswith("fatal-")
    assert path.name.endswith(f"-{died.pid}.txt")
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    text = path.read_text()
    assert text.startswith("Fatal Python error: Segmentation fault\n")
    assert " in the_line_to_blame\n" in text


def test_it_is_undone(tmp_path):
    """Patched while it runs; without file or handler when it has ended."""
    code = """
        probe.fatal.enable()
        print(faulthandler.is_enabled(), len(files()))
        running.stop()
        print(faulthandler.is_enabled(), files(), faulthandler.enable.__module__)
        running.stop()
    """

    assert "True 1\nFalse [] faulthandler\n" == program(code, tmp_path)


def test_what_is_enabled_already_stays_as_it_is(tmp_path):
    """PYTHONFAULTHANDLER, or the application."""
    code = """
        probe.fatal.enable()
        running.stop()
        print(faulthandler.is_enabled(), folder.exists())
    """

    assert "True False\n" == program(code, tmp_path, PYTHONFAULTHANDLER="1")


def test_an_application_that_enables_it_later_has_it(tmp_path):
    """Ours is gone at once, and ends nothing of it."""
    code = """
        faulthandler.enable()
        faulthandler.disable()
        probe.fatal.enable()
        faulthandler.enable(all_threads=False)
        print(faulthandler.is_enabled(), files())
        running.stop()
        print(faulthandler.is_enabled(), files())
    """

    assert "True []\nTrue []\n" == program(code, tmp_path)


def test_a_process_that_ends_as_it_is_meant_to_leaves_no_file(tmp_path):
    """It goes on to be open; somebody else may have removed it as well."""
    code = """
        probe.fatal.enable()
        probe.fatal.tidy()
        print(faulthandler.is_enabled(), files())
        probe.fatal.tidy()
    """

    assert "True []\n" == program(code, tmp_path)


def test_a_forked_child_has_a_file_of_its_own(tmp_path):
    """And none until it makes one: two processes never write to one file."""
    code = """
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)
        first = os.fork()
        if not first:
            assert not faulthandler.is_enabled()
            os._exit(0)
        os.waitpid(first, 0)
        probe.fatal.enable()
        child = os.fork()
        if not child:
            print(faulthandler.is_enabled(), len(files()), flush=True)
            probe.fatal.enable()
            print(faulthandler.is_enabled(), len(files()), flush=True)
            running.stop()
            os._exit(0)
        os.waitpid(child, 0)
        print([name.endswith(f"-{os.getpid()}.txt") for name in files()], faulthandler.is_enabled())
    """

    assert "True 1\nTrue 2\n[True] True\n" == program(code, tmp_path)


def test_few_files_are_kept(tmp_path):
    """Processes that are killed leave empty ones: those of the last day stay, those with stacks, and the newest."""
    code = """
        folder.mkdir()
        for number in range(MOST_FILES + 5):
            path = folder / f"fatal-20260101T000000{number:06}-7.txt"
            path.write_text("stacks" if number == 3 else "")
            if number != 1:
                os.utime(path, (0, 0))
        probe.fatal.enable()
        print(len(files()) - MOST_FILES, *files()[:3])
        probe.fatal.tidy()
    """

    kept = " ".join(f"fatal-20260101T00000000000{number}-7.txt" for number in (1, 3, 7))
    assert f"1 {kept}\n" == program(code, tmp_path)


def test_a_handler_of_a_fault_is_left_alone(tmp_path):
    """Of C's as well, by which runtimes such as a JVM live."""
    code = """
        signal.signal(signal.SIGFPE, lambda *_: None)
        probe.fatal.enable()
        signal.signal(signal.SIGFPE, signal.SIG_DFL)
        print(faulthandler.is_enabled(), folder.exists())
    """

    assert "False False\n" == program(code, tmp_path)


@pytest.mark.parametrize("name", ["SIGFPE", "SIGABRT"])
def test_a_handler_that_came_later_stays(tmp_path, name):
    """In a forked child and at the end: ours are left as they are, and write nowhere."""
    code = f"""
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)
        probe.fatal.enable()
        signal.signal(signal.{name}, lambda *_: print("theirs", flush=True))
        child = os.fork()
        if not child:
            signal.raise_signal(signal.{name})
            os._exit(0)
        os.waitpid(child, 0)
        running.stop()
        signal.raise_signal(signal.{name})
        print(faulthandler.is_enabled(), files())
        faulthandler.enable()
        faulthandler.disable()
    """

    assert "theirs\ntheirs\nTrue []\n" == program(code, tmp_path)


def test_where_nothing_tells_whose_the_handlers_are_they_stay(tmp_path):
    """An interpreter without `ctypes`, or a system that refuses."""
    code = """
        import types

        refusing = types.SimpleNamespace(
            create_string_buffer=bytearray, CDLL=lambda _: types.SimpleNamespace(sigaction=lambda *_: -1)
        )
        sys.modules["ctypes"] = refusing if MODULE else None
        probe.fatal.enable()
        running.stop()
        print(faulthandler.is_enabled(), files())
    """

    for module in ("0", "1"):
        assert "True []\n" == program(code.replace("MODULE", module), tmp_path)


def test_one_that_the_application_has_disabled_stays_disabled(tmp_path):
    """In a forked child, and at the end."""
    code = """
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)
        probe.fatal.enable()
        faulthandler.disable()
        child = os.fork()
        if not child:
            print(faulthandler.is_enabled(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        running.stop()
        print(faulthandler.is_enabled(), files())
    """

    assert "False\nFalse []\n" == program(code, tmp_path)


@pytest.mark.parametrize("end", ["running.stop()", "probe.fatal.tidy()", "faulthandler.enable()"])
def test_one_that_ends_while_the_file_is_made_leaves_none(tmp_path, end):
    """The folder is on a slow share, and looked at in another thread."""
    code = f"""
        make_room = probe.fatal._make_room

        def slow(before):
            make_room(before)
            {end}

        probe.fatal._make_room = slow
        probe.fatal.enable()
        print(faulthandler.is_enabled(), files())
        probe.fatal.enable()
    """

    assert f"{end == 'faulthandler.enable()'} []\n" == program(code, tmp_path)


def test_a_file_with_stacks_stays(tmp_path):
    """Of a signal after which the process goes on to end as it is meant to, as gunicorn's worker at SIGABRT."""
    code = """
        def handle(*_):
            sys.exit(1)

        signal.signal(signal.SIGABRT, handle)
        probe.fatal.enable()
        try:
            os.kill(os.getpid(), signal.SIGABRT)
        except SystemExit:
            probe.fatal.tidy()
            running.stop()
        print(["Fatal Python error: Aborted" in path.read_text() for path in folder.iterdir()])
    """

    assert "[True]\n" == program(code, tmp_path)
