# SPDX-License-Identifier: Apache-2.0
"""Reading stacks: who waits, and who does not."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from otel_resinstr._site import Site
from otel_resinstr.eventloop._stack import (
    IMPORTS,
    NOBODY,
    NOBODY_IMPORTS,
    blamed,
    handle,
    inside,
    minds_itself,
    stacks,
    text,
    waits,
)


def frames(*shown):
    """A stack, the innermost frame first: of each the module, the function and, if it matters, the file."""
    made = []
    outer = None
    for module, function, *path in reversed(shown):
        outer = SimpleNamespace(
            f_back=outer,
            f_globals={"__name__": module},
            f_code=SimpleNamespace(
                co_name=function, co_filename=path[0] if path else f"/{module}.py", co_qualname=function
            ),
            f_lineno=7,
            f_locals={"self": "the handle"},
        )
        made.insert(0, outer)
    return made


TURNS = [("asyncio.base_events", "_run_once"), ("asyncio.base_events", "run_forever")]


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        (True, [("selectors", "select"), *TURNS]),
        (True, TURNS),
        (True, [("app.selector", "select"), *TURNS]),  # an application's own selector
        (True, [("selectors", "select"), ("nest_asyncio", "_run_once"), ("nest_asyncio", "run_forever")]),
        (None, [("otel_resinstr.eventloop.loops", "_run_forever"), ("asyncio.runners", "run")]),  # uvloop
        (None, []),
        (False, [("app", "handler"), ("asyncio.events", "_run"), *TURNS]),
        (
            False,
            [
                ("selectors", "select"),
                ("subprocess", "run"),
                ("app", "f"),
                ("asyncio.events", "_run"),
                *TURNS,
            ],
        ),
        (False, [("selectors", "select"), ("subprocess", "run"), ("app", "f"), ("asyncio.runners", "run")]),
        (False, [("app", "_run_once"), ("asyncio.events", "_run"), *TURNS]),  # its name proves nothing
        (False, [("app", "handler"), ("asyncio.runners", "run")]),  # uvloop
        (False, [("asyncio.selector_events", "_read_from_self"), ("asyncio.events", "_run"), *TURNS]),
        (False, [("qasync", "run_forever")]),  # a loop of which nothing is known
    ],
)
def test_whether_a_loop_waits(expected, shown):
    """By the frames between the innermost and the one that started the loop."""
    stack = frames(*shown, ("app", "main"))

    assert expected == waits(stack[0], id(stack[-1]))


def test_what_is_outside_of_the_loop_does_not_count():
    """The line that started it is an application's."""
    stack = frames(
        ("app", "handler"), ("asyncio.events", "_run"), *TURNS, ("app", "main"), ("__main__", "<module>")
    )

    assert stack[:4] == inside(stack[0], id(stack[4]))


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        (
            (Site("/app.py", 7, "f"), ""),
            [("pymongo.pool", "receive"), ("app", "f"), ("asyncio.events", "_run")],
        ),
        ((Site("/queue.py", 7, "get"), NOBODY), [("queue", "get"), ("asyncio.events", "_run")]),
        (
            (Site("/app.py", 7, "f"), IMPORTS),
            [
                ("big", "<module>"),
                ("importlib._bootstrap", "_load", "<frozen importlib._bootstrap>"),
                ("bigger", "<module>"),
                ("importlib._bootstrap", "_load", "<frozen importlib._bootstrap>"),
                ("app", "f"),
            ],
        ),
        (  # uvicorn imports the application in its loop; what that does besides importing is its own line
            (Site("/app.py", 7, "<module>"), IMPORTS),
            [
                ("app", "<module>"),
                ("importlib._bootstrap", "_load", "<frozen importlib._bootstrap>"),
                ("importlib", "import_module"),
                ("uvicorn.importer", "import_from_string"),
            ],
        ),
        (  # uvicorn imports its protocols when it starts
            (Site("/uvicorn.config.py", 7, "load"), NOBODY_IMPORTS),
            [
                ("websockets", "<module>", "<frozen importlib._bootstrap>"),
                ("importlib._bootstrap", "_load", "<frozen importlib._bootstrap>"),
                ("uvicorn.protocols", "<module>"),
                ("importlib._bootstrap", "_load", "<frozen importlib._bootstrap>"),
                ("uvicorn.config", "load"),
                ("uvicorn.server", "serve"),
                ("asyncio.events", "_run"),
            ],
        ),
        ((Site("/plugins.py", 7, "load"), IMPORTS), [("importlib", "import_module"), ("plugins", "load")]),
    ],
)
def test_who_is_to_blame(expected, shown):
    """The innermost line of the application; for an import, the outermost that imports."""
    assert expected == blamed(frames(*shown), 0)


def test_a_callback_of_asyncios_own():
    """Nothing but asyncio's modules inside of the handle."""
    own = frames(("asyncio.selector_events", "_read_from_self"), ("asyncio.events", "_run"), *TURNS)
    others = frames(("app", "f"), ("asyncio.events", "_run"), *TURNS)
    in_c = frames(("asyncio.events", "_run"), *TURNS)
    no_handle = frames(("asyncio.runners", "run"))

    assert [True, False, False, False] == [minds_itself(stack) for stack in (own, others, in_c, no_handle)]


def test_the_handle_that_is_run():
    """asyncio shows it, uvloop does not."""
    assert "the handle" == handle(frames(("app", "f"), ("asyncio.events", "_run"), *TURNS))
    assert None is handle(frames(("app", "f")))


def test_a_deep_stack_is_cut():
    """Forty frames, the innermost; the outermost of them comes first, as in a traceback."""
    lines = text(frames(*(("app", f"f{number}") for number in range(50)))).splitlines()

    assert 40 == len(lines)
    assert ('  File "/app.py", line 7, in f39', '  File "/app.py", line 7, in f0') == (lines[0], lines[-1])


def test_an_interpreter_that_does_not_show_stacks(monkeypatch):
    """`sys._current_frames` is CPython's own: without it there are no stacks, and no error."""
    assert threading.get_ident() in stacks()
    monkeypatch.delattr(sys, "_current_frames")
    assert {} == stacks()
