# SPDX-License-Identifier: Apache-2.0
"""Wrapping a function of somebody else's, and giving the original back.

The only module that knows wrapt. A wrapper is called as ``wrapper(wrapped, instance, args, kwargs)``.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable

    Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
    # Makes, of the original, the function that is to take its place.
    Make = Callable[[Callable[..., Any]], Callable[..., Any]]

_ABSENT = object()


class Replacement:
    """The function that *make* makes of the attribute *name* of *owner* in its place, until it is undone.

    For a plain function that is called so often that the microsecond of a `Patch` counts. What *make* makes calls the
    original, also after the end.

    Raises AttributeError where there is no such attribute, and TypeError where it cannot be set.
    """

    def __init__(self, owner: Any, name: str, make: Make) -> None:
        self._owner = owner
        self._name = name
        # What stands in the owner itself; nothing, where the attribute is inherited.
        self._own = vars(owner).get(name, _ABSENT)
        self._active = True
        # Not bound to *owner* when it is found: an inherited class method belongs to each subclass.
        original = inspect.getattr_static(owner, name) if isinstance(owner, type) else getattr(owner, name)
        self._wrapped = self._instead(original, make)
        setattr(owner, name, self._wrapped)

    def _instead(self, original: Any, make: Any) -> Any:
        return functools.wraps(original)(make(original))

    def undo(self) -> None:
        """Put the original back.

        Where somebody has wrapped ours since, ours cannot be taken out of the middle: it stays, and only passes
        the call on.
        """
        self._active = False
        if vars(self._owner).get(self._name) is not self._wrapped:
            return
        if self._own is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._own)


class Patch(Replacement):
    """*wrapper* around the attribute *name* of *owner*, whatever kind of function it is, until it is undone."""

    def __init__(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        super().__init__(owner, name, lambda original: self._around(original, wrapper))

    def _instead(self, original: Any, make: Any) -> Any:
        return make(original)

    def _around(self, original: Any, wrapper: Wrapper) -> Any:
        return wrapt.FunctionWrapper(original, wrapper, enabled=self._is_active)

    def _is_active(self) -> bool:
        return self._active


class ImportHook:
    """Calls *found* with a module as soon as it has been imported: now, if it has been already; at most once.

    wrapt keeps no way to remove a hook; one that is undone stays registered and does nothing.
    """

    def __init__(self, module: str, found: Callable[[Any], None]) -> None:
        self._found: Callable[[Any], None] | None = found
        wrapt.register_post_import_hook(self._imported, module)

    def _imported(self, module: Any) -> None:
        found, self._found = self._found, None
        if found is not None:
            found(module)

    def undo(self) -> None:
        """Forget what was to be called."""
        self._found = None
