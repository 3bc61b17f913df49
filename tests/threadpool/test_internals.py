# SPDX-License-Identifier: Apache-2.0
"""What is read from private attributes, and that each may be missing."""

from __future__ import annotations

import queue
from concurrent.futures import Future, ThreadPoolExecutor, thread
from types import SimpleNamespace

import pytest

from otel_resinstr.threadpool import _internals


class Item:
    def __init__(self, number):
        self.number = number


def test_an_executor_as_python_has_it(executor, work):
    """All of it is there in the versions that we know."""
    pool = executor(2, "job")
    pool.submit(work)

    assert (2, "job", tuple(pool._threads), pool._work_queue) == (
        _internals.max_workers(pool),
        _internals.prefix(pool),
        _internals.threads(pool),
        _internals.work_queue(pool),
    )
    assert _internals.hooks(thread)


def test_an_executor_that_has_nothing():
    """What is missing is None, and the name is that of the class."""
    nothing = SimpleNamespace()

    assert (None, "SimpleNamespace", None, None, None) == (
        _internals.max_workers(nothing),
        _internals.prefix(nothing),
        _internals.threads(nothing),
        _internals.work_queue(nothing),
        _internals.length(nothing),
    )


def test_after_its_shutdown_an_executor_has_no_limit():
    """It makes no more threads."""
    with ThreadPoolExecutor(2) as pool:
        before = _internals.max_workers(pool)

    assert (2, None) == (before, _internals.max_workers(pool))


@pytest.mark.parametrize("kind", [queue.SimpleQueue, queue._PySimpleQueue, queue.Queue, queue.LifoQueue])
def test_what_is_in_a_queue(kind):
    """Those that are left, in their order, of each kind of queue; marks are not among them."""
    held = kind()
    for number in range(6):
        held.put(Item(number))
    taken = {held.get().number, held.get().number}
    held.put(None)

    assert [number for number in range(6) if number not in taken] == [
        item.number for item in _internals.work_items(held, Item)
    ]


def test_a_queue_that_is_too_long_is_not_looked_into(monkeypatch):
    """A look costs 10 ns an item, with the GIL held."""
    monkeypatch.setattr(_internals, "_MOST", 2)
    held = queue.SimpleQueue()
    for number in range(3):
        held.put(Item(number))

    assert (None, 3) == (_internals.work_items(held, Item), _internals.length(held))


def test_whether_a_future_was_cancelled():
    """As the future itself says, whether its state is known or has to be asked for."""
    pending, cancelled, finished = Future(), Future(), Future()
    cancelled.cancel()
    finished.set_exception(KeyError())
    told = [
        SimpleNamespace(cancelled=future.cancelled) for future in (pending, cancelled, finished)
    ]  # without a state

    assert [False, True, False] == [
        _internals.is_cancelled(future) for future in (pending, cancelled, finished)
    ]
    assert [False, True, False] == [_internals.is_cancelled(future) for future in told]
    cancelled.set_running_or_notify_cancel()
    assert _internals.is_cancelled(cancelled)


@pytest.mark.parametrize(
    "module",
    [
        SimpleNamespace(),
        SimpleNamespace(_WorkItem=None, _worker=print),
        SimpleNamespace(_WorkItem=type("Item", (), {}), _worker=print),
        SimpleNamespace(_WorkItem=type("Item", (), {"run": print})),
    ],
)
def test_a_module_that_works_otherwise(module):
    """Then work is not timed."""
    assert not _internals.hooks(module)
