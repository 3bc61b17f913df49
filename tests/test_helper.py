# SPDX-License-Identifier: Apache-2.0
"""Helpers of multiprocessing are recognised, those of this very Python among them."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import types

import psutil
import pytest

from otel_resinstr._helper import is_helper
from support import clean_environ, run_python

TRACKER = "from joblib.externals.loky.backend.resource_tracker import main; main(5, 0)"

CODES = {
    "from multiprocessing.resource_tracker import main;main(5)": True,
    "from multiprocessing.forkserver import main; main(5, 6, ['__main__'], **{})": True,
    TRACKER: True,
    "from billiard.semaphore_tracker import main;main(5)": True,
    "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)": False,
    "from application.main import main; main()": False,
    "print('from multiprocessing.forkserver import main')": False,
}


@pytest.mark.parametrize(("code", "expected"), CODES.items())
def test_the_code_on_the_command_line_tells(code, expected, monkeypatch):
    """Trackers and fork servers are helpers; what is spawned for the application is none."""
    for name in [name for name in sys.modules if name.endswith((".resource_tracker", ".forkserver"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "argv", ["-c", "more"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-X", "dev", "-c", code, "more"])

    assert expected is is_helper()


@pytest.mark.parametrize(
    ("argv", "orig_argv"),
    [(["main.py", "-c", TRACKER], ["python", "main.py", "-c", TRACKER]), (["-c"], ["embedding"]), ([], [])],
    ids=["argument", "embedded", "nothing"],
)
def test_an_argument_of_the_applications_is_none(argv, orig_argv, monkeypatch):
    """Nor is a program that has Python inside, and no command line of Python's."""
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)

    assert is_helper() is False


def test_who_has_the_module_already_is_none(monkeypatch):
    """The application's code runs, in a process that was forked from the helper."""
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", TRACKER])
    name = "joblib.externals.loky.backend.resource_tracker"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    assert is_helper() is False


PROGRAM = """
import multiprocessing, sys

def ask(pipe):
    from otel_resinstr._helper import is_helper
    pipe.send(is_helper())
    pipe.recv()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    ours, theirs = context.Pipe()
    process = context.Process(target=ask, args=(theirs,))
    process.start()
    print(ours.recv(), process.pid, flush=True)
    sys.stdin.read()
    ours.send(None)
    process.join()
"""

# As `site` would ask, in a process with that command line.
ASK = """
import sys
from otel_resinstr._helper import is_helper
sys.argv, sys.orig_argv = ["-c"], {!r}
print(is_helper())
"""


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there are no helpers"
)
@pytest.mark.parametrize(("method", "helpers"), [("fork", 0), ("spawn", 1), ("forkserver", 2)])
def test_this_pythons_helpers_are_recognised_and_its_workers_are_none(method, helpers, tmp_path):
    """Whatever their command lines are."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, path, method],
        env=clean_environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        worker_is_one, worker = program.stdout.readline().split()
        children = psutil.Process(program.pid).children(recursive=True)
        commands = [child.cmdline() for child in children if child.pid != int(worker)]
        program.stdin.close()
        assert 0 == program.wait(60)

    assert "False" == worker_is_one
    assert ["True\n"] * helpers == [run_python(ASK.format(command)) for command in commands]
