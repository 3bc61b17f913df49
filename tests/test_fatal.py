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
        probe.fatal.tidy()
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

    assert "False 1\nTrue 2\n[True] True\n" == program(code, tmp_path)


def test_few_files_are_kept(tmp_path):
    """Processes that are killed leave empty ones: the newest stay, and before them those that say something."""
    code = """
        folder.mkdir()
        for number in range(MOST_FILES + 5):
            (folder / f"fatal-20260101T000000{number:06}-7.txt").write_text("stacks" if number == 3 else "")
        probe.fatal.enable()
        print(len(files()) == MOST_FILES, *files()[:2])
        probe.fatal.tidy()
    """

    assert "True fatal-20260101T000000000003-7.txt fatal-20260101T000000000007-7.txt\n" == program(
        code, tmp_path
    )
