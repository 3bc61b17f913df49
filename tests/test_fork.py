# SPDX-License-Identifier: Apache-2.0
"""The list of what a forked child calls. What it is good for is proven with real children in tests/lifecycle/."""

from __future__ import annotations

import os

import pytest

from otel_resinstr import _fork


@pytest.fixture
def calls():
    """What was called, and ways to add calls; the list is as before afterwards."""
    before = _fork._callbacks, _fork._at_last
    yield []
    _fork._callbacks, _fork._at_last = before


def test_a_child_calls_what_was_added_in_that_order(calls):
    """What starts a thread comes after what renews locks, whenever it was added."""
    _fork._callbacks = _fork._at_last = ()
    _fork.add(lambda: calls.append("first"))
    _fork.add_at_last(lambda: calls.append("last"))
    _fork.add(lambda: calls.append("second"))

    _fork._run_in_child()

    assert ["first", "second", "last"] == calls


def test_what_was_removed_is_not_called(calls):
    """Nor is it kept; to remove it twice is harmless."""
    before = _fork._callbacks
    one, two = (lambda: calls.append(1)), (lambda: calls.append(2))
    _fork.add(one)
    _fork.add(two)
    _fork.remove(one)
    _fork.remove(one)
    assert (*before, two) == _fork._callbacks
    _fork.remove(two)

    assert before == _fork._callbacks


def test_the_bound_method_of_one_object_is_not_that_of_another(calls):
    """Each set of probes renews its own events; one that stops leaves the others in the list."""
    before = _fork._callbacks
    ours, theirs = [0], [0]
    _fork.add(ours.clear)
    _fork.add(theirs.clear)
    _fork.remove(ours.clear)

    _fork._run_in_child()

    assert ([0], []) == (ours, theirs)
    _fork.remove(theirs.clear)
    assert before == _fork._callbacks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_the_list_is_called_in_a_child_only(calls):
    """One hook for the life of the process, since the interpreter cannot forget one."""
    reading, writing = os.pipe()

    def tell():
        calls.append(os.getpid())
        os.write(writing, b"child")

    _fork.add(tell)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)

    with os.fdopen(reading, "rb") as told:
        assert b"child" == told.read()
    assert [] == calls
