# SPDX-License-Identifier: Apache-2.0
"""The clocks of the system, as they are and where they are not."""

from __future__ import annotations

import threading
import time

import pytest

from mongo import eventually
from otel_resinstr.eventloop._clocks import Clocks, number_of


def test_the_clock_of_a_thread_is_that_of_the_thread():
    """It grows by what that thread computes, and is read from another one."""
    clocks = Clocks()
    names, go, done, end = [], threading.Event(), threading.Event(), threading.Event()

    def work():
        names.append(clocks.name_of(threading.get_ident()))
        done.set()
        go.wait(20)
        begin = time.thread_time()
        while time.thread_time() - begin < 0.05:
            pass
        done.set()
        end.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    assert done.wait(20)
    before = clocks.thread(names[0])
    done.clear()
    go.set()
    assert done.wait(20)
    after = clocks.thread(names[0])
    end.set()
    thread.join()

    assert 0.05 <= after - before < 0.2


def test_a_thread_that_has_ended_has_no_clock_any_more():
    """Nothing breaks, and nothing is told."""
    clocks, names = Clocks(), []
    thread = threading.Thread(target=lambda: names.append(clocks.name_of(threading.get_ident())))
    thread.start()
    thread.join()

    assert eventually(lambda: clocks.thread(names[0]) is None)  # joined is not yet ended, to the kernel


def test_a_platform_without_clocks_of_threads(monkeypatch):
    """macOS and Windows have none."""
    monkeypatch.delattr(time, "pthread_getcpuclockid", raising=False)
    clocks = Clocks()

    assert (None, None) == (clocks.name_of(threading.get_ident()), clocks.thread(None))


def test_a_clock_of_the_process_grows_with_work():
    """It is that of all threads."""
    clocks = Clocks()
    before = clocks.process()
    while clocks.process() - before < 0.01:
        pass

    assert clocks.process() >= before + 0.01


@pytest.mark.parametrize(
    ("text", "expected"), [("5 1500000000 7\n", 1.5), ("", None), ("what\n", None), (None, None)]
)
def test_how_long_a_thread_was_kept_from_a_cpu(tmp_path, text, expected):
    """The second figure, in nanoseconds; nothing of a file that is not there, or is something else."""
    path = tmp_path / "self" / "task" / "17" / "schedstat"
    path.parent.mkdir(parents=True)
    if text is not None:
        path.write_text(text)

    assert expected == Clocks().queued(17, tmp_path)


def test_on_linux_it_is_told():
    """The kernel of this machine has the file, if it is Linux; of a thread that is none there is nothing."""
    queued = Clocks().queued(threading.get_native_id())

    assert queued is None or queued >= 0.0
    assert None is Clocks().queued(None)


def test_the_number_of_a_thread():
    """One's own, and that of another which `threading` has started; of one that it has not there is none."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(20,))
    thread.start()
    numbers = [number_of(threading.get_ident()), number_of(thread.ident), number_of(-1)]
    end.set()
    thread.join()

    assert [threading.get_native_id(), thread.native_id, None] == numbers
