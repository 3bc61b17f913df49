# SPDX-License-Identifier: Apache-2.0
"""Lines in files: whole, of one process, bounded, and private."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from otel_resinstr import _lines
from otel_resinstr._lines import Lines
from support import clean_environ, run_python

ROOM = 2000
LINE = b"x" * 49 + b"\n"  # two fit into a file of a twentieth

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and signals of Unix")


def content(folder):
    """The lines in all files of *folder*, the oldest file first."""
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(True)]


def size(folder):
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def test_a_file_says_its_signal_its_start_and_its_process(tmp_path):
    """And nobody but the user may read it, nor look into the folder that was made for it."""
    before = os.umask(0)
    try:
        Lines(tmp_path / "a" / "b", "metrics", ROOM).write(LINE)
    finally:
        os.umask(before)

    [path] = (tmp_path / "a" / "b").iterdir()
    assert re.fullmatch(rf"metrics-\d{{8}}T\d{{12}}-{os.getpid()}\.jsonl", path.name)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
    assert [LINE] == content(path.parent)


def test_the_folder_stays_where_the_application_was_when_it_began(tmp_path, monkeypatch):
    """A relative folder does not move with the working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    lines = Lines(Path("resinstr"), "logs", ROOM)
    monkeypatch.chdir(tmp_path / "elsewhere")

    lines.write(LINE)

    assert [LINE] == content(tmp_path / "resinstr")


def test_a_working_directory_that_is_gone_is_said_when_a_line_is_written(tmp_path, monkeypatch):
    """And not when the application starts."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    lines = Lines(Path("resinstr"), "logs", ROOM)

    with pytest.raises(FileNotFoundError):
        lines.write(LINE)


def test_a_full_file_is_followed_by_another_and_the_oldest_go(tmp_path):
    """All files together never take more than the room, and the newest lines are what is left."""
    lines = Lines(tmp_path, "metrics", ROOM)
    written = [b"%049d\n" % number for number in range(100)]
    for line in written:
        lines.write(line)
        assert size(tmp_path) <= ROOM
        assert all(path.stat().st_size <= ROOM // _lines.SHARE for path in tmp_path.iterdir())

    assert written[-40:] == content(tmp_path)


def test_files_of_processes_that_are_gone_count_and_what_is_not_ours_stays(tmp_path):
    """An earlier process's file makes room, whatever its signal; others' files are neither counted nor removed."""
    earlier = tmp_path / "traces-20260101T000000000000-7.jsonl"
    earlier.write_bytes(b"y" * (ROOM - 60))
    os.utime(earlier, (1, 1))
    others = tmp_path / "metrics.jsonl"
    others.write_bytes(b"z" * ROOM)
    lines = Lines(tmp_path, "logs", ROOM)

    lines.write(LINE)
    assert earlier.exists()

    lines.write(LINE)
    assert not earlier.exists()
    assert ROOM == others.stat().st_size


def test_the_file_that_is_written_to_stays(tmp_path):
    """Even if all others were written to later, as where one process says little and another much."""
    lines = Lines(tmp_path, "logs", ROOM)
    lines.write(LINE)
    [own] = tmp_path.iterdir()
    os.utime(own, (1, 1))
    other = tmp_path / "traces-20260101T000000000000-7.jsonl"
    other.write_bytes(b"y" * (ROOM - 60))

    lines.write(LINE)

    assert [own] == list(tmp_path.iterdir())
    assert [LINE, LINE] == content(tmp_path)


def test_the_folder_is_looked_through_as_the_file_grows(tmp_path):
    """Not at each line: what others have written is seen when 400th of the room has been written, or for a new file."""
    lines = Lines(tmp_path, "logs", 400_000)
    lines.write(b"x" * 499 + b"\n")
    earlier = tmp_path / "traces-20260101T000000000000-7.jsonl"
    earlier.write_bytes(b"y" * 400_000)
    os.utime(earlier, (1, 1))

    lines.write(b"x" * 499 + b"\n")
    assert earlier.exists()

    lines.write(LINE)
    assert not earlier.exists()


def test_an_empty_file_takes_a_line_of_any_size(tmp_path):
    """A disk that is full leaves one empty file behind, and not one at each try."""
    lines = Lines(tmp_path, "metrics", ROOM)
    with pytest.MonkeyPatch.context() as full:
        full.setattr(os, "write", no_space)
        for _ in range(3):
            with pytest.raises(OSError, match="No space left"):
                lines.write(b"x" * 500 + b"\n")
    [path] = tmp_path.iterdir()
    assert 0 == path.stat().st_size

    lines.write(b"x" * 500 + b"\n")

    assert [b"x" * 500 + b"\n"] == content(tmp_path)


def no_space(_file, _line):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_there_are_few_files(tmp_path, monkeypatch):
    """Processes that end soon leave small files: their number is bounded as well."""
    monkeypatch.setattr(_lines, "MOST_FILES", 3)
    for _ in range(5):
        Lines(tmp_path, "metrics", ROOM).write(LINE)

    assert 3 == len(list(tmp_path.iterdir()))


def test_a_line_larger_than_the_room_is_refused(tmp_path):
    """Nothing is removed for it."""
    lines = Lines(tmp_path, "metrics", ROOM)
    lines.write(LINE)

    with pytest.raises(OSError, match="one line is larger than all files may be") as refused:
        lines.write(b"x" * (ROOM + 1))

    assert errno.EFBIG == refused.value.errno
    assert [LINE] == content(tmp_path)


def test_a_line_larger_than_a_file_has_one_of_its_own(tmp_path):
    """As long as there is room for it."""
    lines = Lines(tmp_path, "metrics", ROOM)
    large = b"x" * (ROOM - 1) + b"\n"
    lines.write(LINE)
    lines.write(large)

    assert [large] == content(tmp_path)


def test_a_file_that_somebody_removed_is_followed_by_another(tmp_path):
    """Whoever cleans up the folder does not end the telemetry."""
    lines = Lines(tmp_path, "metrics", ROOM)
    lines.write(LINE)
    [path] = tmp_path.iterdir()
    path.unlink()

    lines.write(LINE)

    assert [LINE] == content(tmp_path)


class Clock(_lines.dt.datetime):
    """A clock that stands still: all processes start at once."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, 3, 4, 5, 6, tzinfo=tz)


def test_a_name_that_another_process_has_is_not_taken(tmp_path, monkeypatch):
    """Containers that share a folder may have the same process ids, and start at the same time."""
    monkeypatch.setattr(_lines.dt, "datetime", Clock)
    monkeypatch.setattr(_lines, "MOST_FILES", 2)
    for _ in range(2):
        Lines(tmp_path, "logs", ROOM).write(LINE)

    with pytest.raises(FileExistsError):
        Lines(tmp_path, "logs", ROOM).write(LINE)

    name = f"logs-20260102T030405000006-{os.getpid()}"
    assert [f"{name}-1.jsonl", f"{name}.jsonl"] == sorted(path.name for path in tmp_path.iterdir())
    assert [LINE, LINE] == content(tmp_path)


def test_a_file_that_goes_while_room_is_made_is_no_failure(tmp_path, monkeypatch):
    """Two processes may remove the same one."""
    gone = tmp_path / "logs-20260101T000000000000-7.jsonl"
    gone.write_bytes(b"y" * ROOM)
    os.utime(gone, (1, 1))
    unlink = os.unlink

    def twice(path):
        unlink(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", twice)
    Lines(tmp_path, "logs", ROOM).write(LINE)

    assert [LINE] == content(tmp_path)


def test_what_cannot_be_removed_is_left_and_the_next_one_goes(tmp_path):
    """A folder with such a name, here: it is the oldest entry. Telemetry goes on."""
    stays = tmp_path / "logs-20260101T000000000000-7.jsonl"
    stays.mkdir()
    goes = tmp_path / "logs-20260101T000000000000-8.jsonl"
    goes.write_bytes(b"y" * 10_000)
    os.utime(stays, (1, 1))
    os.utime(goes, (2, 2))

    Lines(tmp_path, "logs", 10_000).write(LINE)

    assert stays.exists()
    assert not goes.exists()


def test_where_nothing_can_be_removed_there_is_no_room(tmp_path, monkeypatch):
    """It is said as of a full disk, and nothing is written."""

    def refuse(path):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    stays = tmp_path / "logs-20260101T000000000000-7.jsonl"
    stays.write_bytes(b"y" * ROOM)
    monkeypatch.setattr(os, "unlink", refuse)

    with pytest.raises(OSError, match="No space left") as refused:
        Lines(tmp_path, "logs", ROOM).write(LINE)

    assert errno.ENOSPC == refused.value.errno
    assert [b"y" * ROOM] == content(tmp_path)


def test_threads_write_whole_lines(tmp_path):
    """Spans may end in many threads at once."""
    lines = Lines(tmp_path, "traces", 10**6)
    of_thread = [b"%d" % number * 4000 + b"\n" for number in range(4)]

    threads = [
        threading.Thread(target=lambda line=line: [lines.write(line) for _ in range(20)])
        for line in of_thread
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(of_thread * 20) == sorted(content(tmp_path))


def test_a_signal_handler_writes_while_its_thread_is_writing(tmp_path):
    """What interrupts a write may write itself, and does not wait for ever."""
    lines = Lines(tmp_path, "recorder", ROOM)
    before = signal.signal(signal.SIGUSR1, lambda *_: lines.write(b"handler\n"))
    try:
        with lines._lock:
            signal.raise_signal(signal.SIGUSR1)
            lines.write(b"thread\n")
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert [b"handler\n", b"thread\n"] == content(tmp_path)


FORK = """
    import os, sys, threading
    from pathlib import Path
    from otel_resinstr._lines import Lines

    lines = Lines(Path(sys.argv[1]), "metrics", 2000)
    lines.write(b"parent\\n")
    held, end = threading.Event(), threading.Event()

    def hold():
        with lines._lock:
            held.set()
            end.wait()

    threading.Thread(target=hold).start()
    held.wait()
    child = os.fork()
    if child == 0:
        lines.write(b"child\\n")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    end.set()
    lines.write(b"parent\\n")
    print(os.getpid(), child)
"""


def test_a_forked_child_has_a_file_of_its_own(tmp_path):
    """Also when another thread of the parent was writing while it was forked."""
    parent, child = run_python(FORK, str(tmp_path)).split()

    by_process = {path.stem.rpartition("-")[2]: path.read_bytes() for path in tmp_path.iterdir()}
    assert {parent: b"parent\nparent\n", child: b"child\n"} == by_process


SEVERAL = """
    import os, sys
    from pathlib import Path
    from otel_resinstr._lines import Lines

    lines = Lines(Path(sys.argv[1]), "metrics", 40000)
    lines.write(b"%d begins\\n" % os.getpid())
    os.fork()
    os.fork()  # by both: four processes
    for number in range(500):
        lines.write(b"%d %050d\\n" % (os.getpid(), number))
    try:
        while True:
            assert os.wait()[1] == 0
    except ChildProcessError:
        pass
"""


def test_several_processes_never_share_a_file_and_keep_to_the_room(tmp_path):
    """Two programs with forks: eight processes that write at once, and remove each other's oldest files."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SEVERAL), str(tmp_path)],
            stderr=subprocess.PIPE,
            env=clean_environ(),
        )
        for _ in range(2)
    ]
    said = [program.communicate(timeout=60)[1] for program in programs]

    assert [(0, b"")] * 2 == [
        (program.returncode, text) for program, text in zip(programs, said, strict=True)
    ]
    of_pid = {}
    for path in tmp_path.iterdir():
        pid = int(re.fullmatch(r"metrics-\d{8}T\d{12}-(\d+)(?:-\d+)?\.jsonl", path.name)[1])
        lines = path.read_bytes().splitlines(True)
        assert {pid} == {int(line.split()[0]) for line in lines}
        assert all(line.endswith(b"\n") for line in lines)
        assert path.stat().st_size <= 40000 // _lines.SHARE
        of_pid[pid] = of_pid.get(pid, 0) + len(lines)
    assert len(of_pid) > 1
    assert 0.5 * 40000 < size(tmp_path) <= 40000 + 8 * 100


LIMIT = """
    import resource, sys
    from pathlib import Path
    from otel_resinstr._lines import Lines

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120, before[1]))
    lines = Lines(Path(sys.argv[1]), "metrics", 100000)
    line = b"x" * 49 + b"\\n"
    lines.write(line)
    lines.write(line)
    for _ in range(2):
        try:
            lines.write(line)  # 20 of its bytes fit
        except OSError as failure:
            print(failure)
    lines.write(b"y" * 19 + b"\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
"""


def test_what_fits_only_in_part_is_taken_back(tmp_path):
    """A file that may not grow keeps its whole lines, and the next line that fits follows them."""
    assert "[Errno 27] File too large\n" * 2 == run_python(LIMIT, str(tmp_path))
    assert [LINE, LINE, b"y" * 19 + b"\n"] == content(tmp_path)
    assert 1 == len(list(tmp_path.iterdir()))


def test_nothing_follows_a_part_that_could_not_be_taken_back(tmp_path, monkeypatch):
    """What was cut off stays the last of its file."""
    lines = Lines(tmp_path, "metrics", 10 * ROOM)
    lines.write(LINE)
    write = os.write

    def refuse(_file, _size):
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as broken:
        broken.setattr(
            os, "write", lambda file, line: write(file, line[:7]) if len(line) == 50 else no_space(file, line)
        )
        broken.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="broken"):
            lines.write(LINE)
    lines.write(LINE)

    assert [LINE, LINE[:7], LINE] == content(tmp_path)
    assert 2 == len(list(tmp_path.iterdir()))


ENDLESS = """
import sys
from pathlib import Path
from otel_resinstr._lines import Lines

lines = Lines(Path(sys.argv[1]), "metrics", 10**8)
number = 0
while True:
    lines.write(b"%d " % number * 10000 + b"\\n")
    number += 1
    if number == 20:
        print("now", flush=True)
"""


def test_what_is_killed_leaves_whole_lines_up_to_the_last(tmp_path):
    """SIGKILL while it writes: of all lines but the last each byte is there, and they are in order."""
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environ()) as program:
        try:
            assert b"now\n" == program.stdout.readline()
        finally:
            program.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == program.returncode

    lines = content(tmp_path)
    assert len(lines) >= 20
    assert [b"%d " % number * 10000 + b"\n" for number in range(len(lines) - 1)] == lines[:-1]
    last = b"%d " % (len(lines) - 1) * 10000 + b"\n"
    assert last.startswith(lines[-1])
