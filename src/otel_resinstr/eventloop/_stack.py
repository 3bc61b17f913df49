# SPDX-License-Identifier: Apache-2.0
"""Reading the stack of a thread that runs a loop: does it wait, and if not, who is at it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from otel_resinstr._site import Site, application_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_DEEPEST = 40  # frames of a stack that are reported, the innermost ones

# A loop that minds its own business shows nothing but these.
_MACHINERY = frozenset(("asyncio", "otel_resinstr", "rloop", "selectors", "threading", "uvloop", "wrapt"))

# Where a loop turns: what it runs next has `_run` of a handle in between. nest_asyncio has a copy of its own.
_TURNING = ("asyncio.base_events", "nest_asyncio")

IMPORTS = "imports"
NOBODY = "no line of the application"
NOBODY_IMPORTS = "no line of the application, but a library that imports"


def stacks() -> dict[int, FrameType]:
    """The innermost frame of each thread, by its ident; nothing on an interpreter that does not tell.

    Costs less than 1 µs a thread.
    """
    tell: Callable[[], dict[int, FrameType]] = getattr(sys, "_current_frames", dict)
    return tell()


def inside(frame: FrameType | None, base: int) -> list[FrameType]:
    """What a loop runs: the frames from *frame* outwards to the one with the id *base*, without that.

    The thread is not stopped meanwhile. It cannot tear the stack either: we have had the GIL for much less
    than the 5 ms after which it can be taken from us (`sys.getswitchinterval`).
    """
    frames = []
    while frame is not None and id(frame) != base:
        frames.append(frame)
        frame = frame.f_back
    return frames


def waits(frame: FrameType | None, base: int) -> bool | None:
    """Whether the loop itself is at it, waiting or between two callbacks, and nothing that it has called.

    None where the stack shows nothing of either: a loop that is written in C waits, or runs what is written in C as
    well. A selector alone proves nothing: `subprocess.run` waits in one too. Costs 1 to 3 µs for a loop that waits.
    """
    known = True
    while frame is not None and id(frame) != base:
        module = str(frame.f_globals.get("__name__"))
        name = frame.f_code.co_name
        if module == "asyncio.events" and name == "_run":
            return False  # a callback, perhaps the loop's own that reads who woke it
        if module in _TURNING and name == "_run_once":
            return True  # whatever is inside of this is a selector, perhaps one of the application's
        known = known and module.partition(".")[0] in _MACHINERY
        frame = frame.f_back
    return None if known else False


def minds_itself(frames: list[FrameType]) -> bool:
    """Whether the callback that is run is one of asyncio's own, such as the one that reads who woke the loop.

    One that is written in C shows nothing inside of its handle, and is none of those.
    """
    for depth, frame in enumerate(frames):
        module = str(frame.f_globals.get("__name__"))
        if module == "asyncio.events" and frame.f_code.co_name == "_run":
            return depth > 0
        if not module.startswith("asyncio."):
            return False
    return False


def blamed(frames: list[FrameType], base: int) -> tuple[Site, str]:
    """The line that the loop is held by, and what is to be said of it besides; nothing, mostly.

    For an import it is the outermost line that imports: what the modules do inside of it is not the point.
    """
    importing = [
        outer
        for outer, inner in zip(reversed(frames), reversed(frames[:-1]), strict=False)
        if _imports(inner)
    ]
    for outer in importing:
        if site := application_site(outer, id(outer.f_back)):
            return site, IMPORTS
    site = application_site(frames[0], base)
    if site is None:
        frame, remark = (importing[0], NOBODY_IMPORTS) if importing else (frames[0], NOBODY)
        return Site(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name), remark
    return site, IMPORTS if any(map(_imports, frames)) else ""


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib.") or (
        str(frame.f_globals.get("__name__")).partition(".")[0] == "importlib"
    )


def text(frames: list[FrameType]) -> str:
    """The innermost of *frames* as a traceback shows them, but for the sources, which would have to be read."""
    shown = [(frame.f_code, frame.f_lineno) for frame in reversed(frames[:_DEEPEST])]
    return "\n".join(f'  File "{code.co_filename}", line {line}, in {code.co_name}' for code, line in shown)


def handle(frames: list[FrameType]) -> Any:
    """The handle whose callback asyncio's own loop runs, or None."""
    for frame in reversed(frames):
        if frame.f_code.co_name == "_run" and frame.f_globals.get("__name__") == "asyncio.events":
            return frame.f_locals.get("self")
    return None
