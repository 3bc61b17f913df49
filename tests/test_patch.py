# SPDX-License-Identifier: Apache-2.0
"""What is wrapped is given back as it was."""

from __future__ import annotations

import importlib
import itertools
import sys
import types

import pytest
import wrapt

from otel_resinstr._patch import ImportHook, Patch, Replacement


class Base:
    """A class of somebody else's."""

    def inherited(self):
        return f"{type(self).__name__} inherited"

    @classmethod
    def made(cls):
        return cls.__name__


class Library(Base):
    """One with a method of each kind."""

    def method(self, value, *, more=0):
        return value + more

    @classmethod
    def class_method(cls):
        return cls.__name__

    @staticmethod
    def static_method(value):
        return value


class Child(Library):
    """Somebody's subclass of it."""


def twice(wrapped, _instance, args, kwargs):
    result = wrapped(*args, **kwargs)
    return result + result


CALLS = {
    "method": (lambda: Library().method(1, more=2), 3),
    "class_method": (lambda: Child.class_method(), "Child"),  # noqa: PLW0108  looked up when it is called
    "static_method": (lambda: Library.static_method("x"), "x"),
    "inherited": (lambda: Child().inherited(), "Child inherited"),
    "made": (lambda: Child.made(), "Child"),  # noqa: PLW0108  see above
}


def doubling(original):
    def doubled(*args, **kwargs):
        result = original(*args, **kwargs)
        return result + result

    return doubled


@pytest.mark.parametrize("name", ["method", "inherited"])
def test_a_function_of_a_class_is_replaced_and_given_back(name):
    """A plain function stands where the original stood: no proxy, and the same name and signature."""
    call, result = CALLS[name]
    before = dict(vars(Library))

    replacement = Replacement(Library, name, doubling)
    ours = vars(Library)[name]
    assert (result + result, types.FunctionType, name) == (call(), type(ours), ours.__name__)
    replacement.undo()

    assert result == call()
    assert [*before] == [*vars(Library)]
    assert all(vars(Library)[key] is before[key] for key in before)


def test_a_function_that_was_replaced_twice():
    """What somebody has put over ours stays when ours is undone."""
    module = types.ModuleType("library")
    module.work = lambda: 1
    first = Replacement(module, "work", doubling)
    second = Replacement(module, "work", doubling)
    first.undo()

    assert 4 == module.work()
    second.undo()
    assert 2 == module.work()


@pytest.mark.parametrize("name", CALLS)
def test_a_function_of_a_class_is_wrapped_and_given_back(name):
    """Methods of each kind, its own and inherited ones, called on the class or on a subclass of it."""
    call, result = CALLS[name]
    before = dict(vars(Library))

    patch = Patch(Library, name, twice)
    assert result + result == call()
    patch.undo()

    assert result == call()
    assert [*before] == [*vars(Library)]
    assert all(vars(Library)[key] is before[key] for key in before)


def test_where_it_was_inherited_from_nothing_has_changed():
    """Others inherit from there too."""
    patch = Patch(Library, "inherited", twice)

    assert "Base inherited" == Base().inherited()
    patch.undo()
    assert "inherited" not in vars(Library)


def test_a_function_of_a_module_is_wrapped_and_given_back():
    """The very object that was there."""
    module = types.ModuleType("library")
    module.work = original = lambda value: value

    patch = Patch(module, "work", twice)
    assert 4 == module.work(2)
    patch.undo()

    assert module.work is original


def test_to_undo_twice_is_harmless():
    """Also if somebody has set something else in between."""
    module = types.ModuleType("library")
    module.work = lambda value: value
    patch = Patch(module, "work", twice)
    patch.undo()
    module.work = theirs = lambda value: value * 10
    patch.undo()

    assert module.work is theirs


def test_the_wrapper_of_somebody_who_came_after_us_stays():
    """Ours cannot be taken out of the middle; it passes the call on, and no more."""
    module = types.ModuleType("library")
    module.work = lambda value: value
    patch = Patch(module, "work", twice)
    module.work = theirs = wrapt.FunctionWrapper(module.work, twice)
    assert 8 == module.work(2)
    patch.undo()

    assert module.work is theirs
    assert 4 == module.work(2)


def test_two_of_ours_are_given_back_in_any_order():
    """The second is not lost if the first is undone before it, and then the first does nothing."""
    module = types.ModuleType("library")
    module.work = lambda value: value
    first = Patch(module, "work", twice)
    second = Patch(module, "work", twice)
    first.undo()
    assert 4 == module.work(2)
    second.undo()

    assert 2 == module.work(2)


def test_the_wrapped_function_looks_as_before():
    """Frameworks read names and signatures."""
    patch = Patch(Library, "method", twice)

    assert "Library.method" == Library.method.__qualname__
    patch.undo()


@pytest.mark.parametrize(("owner", "error"), [(Library, AttributeError), (types, AttributeError)])
def test_what_is_not_there_cannot_be_wrapped(owner, error):
    """A later version of a library may have dropped it: the probe breaks, and says so."""
    with pytest.raises(error):
        Patch(owner, "not_there", twice)
    assert not hasattr(owner, "not_there")


def test_what_cannot_be_set_cannot_be_wrapped():
    """The functions of classes written in C stay as they are."""
    with pytest.raises(TypeError):
        Patch(dict, "get", twice)


NUMBERS = itertools.count()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The name of a module that can be imported and was not yet."""
    # wrapt remembers what was imported: each test has a module of its own.
    name = f"resinstr_library_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_module_that_was_imported_is_found_now():
    """Whoever starts late finds what is there."""
    found = []
    ImportHook("json", found.append)

    assert [sys.modules["json"]] == found


def test_a_module_that_is_imported_later_is_found_then(library):
    """And at most once, even if it is imported anew."""
    found = []
    ImportHook(library, found.append)
    assert [] == found

    module = importlib.import_module(library)
    assert [module] == found
    assert 1 == module.value
    del sys.modules[library]
    importlib.import_module(library)

    assert [module] == found


def test_what_was_undone_before_the_import_is_not_called(library):
    """The registration of wrapt stays, and does nothing."""
    found = []
    hook = ImportHook(library, found.append)
    hook.undo()
    hook.undo()
    importlib.import_module(library)

    assert [] == found
