# SPDX-License-Identifier: Apache-2.0
"""The line to blame is the application's, wherever its files lie."""

from __future__ import annotations

import sys
from functools import partial

import pytest

from otel_resinstr import _site
from otel_resinstr._site import Site, application_site

CALL = """
def call(inner):
    return inner()
"""


def module(name, path="/srv/app/code.py", package=None):
    """A function `call` that belongs to the module *name*."""
    namespace = {"__name__": name, "__package__": package}
    exec(compile(CALL, path, "exec"), namespace)
    return namespace["call"]


def site_below(*calls):
    """What is blamed when each of *calls* calls the next one, and the last is in the standard library."""

    def innermost():
        # The frames of this test itself are no part of the application.
        return application_site(cut(sys._getframe(1), len(calls)))

    for call in reversed(calls):
        innermost = partial(call, innermost)
    return innermost()


class Cut:
    """A frame as `application_site` reads it, without those outside of it."""

    def __init__(self, frame, back):
        self.f_code, self.f_lineno, self.f_globals = frame.f_code, frame.f_lineno, frame.f_globals
        self.f_back = back


def cut(frame, depth):
    """The *depth* frames of `call` at and outside of *frame*."""
    frames = []
    while frame is not None and len(frames) < depth:
        if frame.f_code.co_name == "call":
            frames.append(frame)
        frame = frame.f_back
    outer = None
    for one in reversed(frames):
        outer = Cut(one, outer)
    return outer


def test_the_innermost_line_of_the_application_is_blamed():
    """Not the driver's, nor the framework's that called the application."""
    chain = (
        module("uvicorn.server"),
        module("shop.main", "/srv/main.py"),
        module("shop.orders"),
        module("pymongo"),
    )

    assert Site("/srv/app/code.py", 3, "call") == site_below(*chain)


def test_with_plumbing_only_nobody_is_blamed():
    """A client that a framework constructs by itself is no line's fault."""
    assert site_below(module("uvicorn.server"), module("pymongo.mongo_client"), module("threading")) is None
    assert application_site(None) is None


@pytest.mark.parametrize(
    "name",
    [
        "pymongo.synchronous.mongo_client",
        "motor",
        "wrapt.wrappers",
        "otel_resinstr.mongodb",
        "asyncio.events",
        "json",
    ],
)
def test_a_library_is_known_by_the_name_of_its_module(name):
    """Wherever its file lies."""
    assert site_below(module("shop"), module(name)).function == "call"
    assert site_below(module(name)) is None


@pytest.mark.parametrize("name", ["shop", "pymongo_shop", "threadings", "__main__", "myapp.pymongo"])
def test_what_only_resembles_a_library_is_the_application(name):
    """So is what lies in site-packages, where applications are installed too."""
    path = "/usr/lib/python3/site-packages/shop/db.py"

    assert path == site_below(module(name, path)).path


def test_a_library_that_is_run_as_a_program_is_a_library():
    """`python -m uvicorn` is uvicorn, though its module is called __main__; `python app.py` is the application."""
    assert site_below(module("__main__", package="uvicorn")) is None
    assert site_below(module("__main__", package="shop")) is not None
    assert site_below(module("__main__", package="")) is not None


def test_code_without_a_file_is_nobody_s_line():
    """What a template engine or `dataclasses` generates has no file to open."""
    assert site_below(module("shop", "<string>")) is None


def test_code_without_a_module_is_the_application():
    """`exec` of a file, as some task runners do."""
    assert site_below(module(None)) is not None


@pytest.mark.parametrize("path", ["/srv/shop/orders.py", "C:\\shop\\orders.py", "orders.py"])
def test_the_label_has_no_folder(path):
    """It is a metric's attribute: the same on each machine."""
    assert "orders.py:12 load" == Site(path, 12, "load").label


def test_the_function_is_qualified_where_the_interpreter_knows_it():
    """`Reports.load` is told from `load`, from Python 3.11 on."""

    class Reports:
        def load(self):
            return _site._function(sys._getframe())

    qualified = (
        f"{test_the_function_is_qualified_where_the_interpreter_knows_it.__name__}.<locals>.Reports.load"
    )

    assert (qualified if sys.version_info >= (3, 11) else "load") == Reports().load()
