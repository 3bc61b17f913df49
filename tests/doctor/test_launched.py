# SPDX-License-Identifier: Apache-2.0
"""The process in the command's place, where it does not do what it should."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from otel_resinstr.doctor.command import Command
from otel_resinstr.doctor.launched import Launched


@pytest.fixture
def launcher(tmp_path):
    """Writes one that does something else."""

    def write(code):
        path = tmp_path / "launcher"
        path.write_text(f"#!{sys.executable} -S\n{code}\n")
        path.chmod(0o755)
        return Command("", path, interpreter=Path(sys.executable))

    return write


def test_one_that_hangs_is_ended(launcher, tmp_path):
    """It has some time, and then it is gone, with all that belongs to it."""
    begun = time.monotonic()
    with Launched(launcher("import time; time.sleep(600)"), {}, tmp_path, started_within=0.1) as launched:
        assert launched.report is None

    assert time.monotonic() - begun < 300


def test_one_that_leaves_a_process_behind_is_not_waited_for(launcher, tmp_path):
    """Which has our end of the pipe still; what is read from is closed when that has ended."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"""
import subprocess, sys
subprocess.Popen(["cat", {str(fifo)!r}])
print(sys.argv[-1] + "null", flush=True)
sys.stdin.read()
"""
    with Launched(launcher(code), {"PATH": os.environ["PATH"]}, tmp_path) as launched:
        pass

    assert launched._reader.is_alive()
    fifo.open("w").close()
    launched._reader.join(60)
    assert launched._lines.closed


def test_one_that_ends_has_its_last_words(launcher, tmp_path):
    """Five lines of them; and whoever asks it for an export gets no answer."""
    with Launched(launcher("import sys; sys.exit('\\n'.join('abcdefg'))"), {}, tmp_path) as launched:
        assert launched.report is None
        assert "c\nd\ne\nf\ng" == launched.last_words()
        assert [] == launched.export(0.1)


@pytest.mark.parametrize("given", [{}, {"OTEL_RESINSTR_RECORDER_DIR": "/home/LogFiles/mine"}])
def test_the_flight_recorder_leaves_nothing_with_the_application(launcher, tmp_path, given):
    """On App Service it is on by itself. What is said of the environment is what it is."""
    environ = {"WEBSITE_SITE_NAME": "shop", **given}
    told = {
        **dict.fromkeys(("executable", "python", "prefix", "service"), ""),
        **{name: {} for name in ("distributions", "providers")},
        **{name: [] for name in ("entry_points", "exporters", "duplicates", "log")},
        "launcher": {"given": None, "imported": None},
    }
    code = f"""
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["OTEL_RESINSTR_RECORDER_DIR"])
folder.joinpath("fatal.txt").touch()
pathlib.Path("folder").write_text(str(folder))
told = {{**{told!r}, "environ": {{k: v for k, v in os.environ.items() if k != "LC_CTYPE"}}}}
print(sys.argv[-1] + json.dumps(told), flush=True)
sys.stdin.read()
"""
    with Launched(launcher(code), environ, tmp_path) as launched:
        assert environ == launched.report.environ

    folder = Path((tmp_path / "folder").read_text())
    assert not folder.exists()
    assert folder.name not in ("mine", "resinstr")
