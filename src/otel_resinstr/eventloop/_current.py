# SPDX-License-Identifier: Apache-2.0
"""What a loop was at, as asyncio and OpenTelemetry know it: the task, and the trace that is current in it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import NonRecordingSpan, get_current_span, set_span_in_context

from otel_resinstr.eventloop._stack import handle

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from contextvars import Context as Variables
    from types import FrameType

    from opentelemetry.context import Context

_LONGEST = 100  # characters of a task's name: an application may have put anything into it


def current(loop: AbstractEventLoop | None, frames: list[FrameType]) -> tuple[str | None, Context | None]:
    """The name of the task that *loop* runs, and a context with the current span of what it runs; None if unknown.

    Before Python 3.12 a task does not tell its context; then it is that of the handle, which only asyncio's own
    loops show. The context that is returned holds the ids of the span and nothing of the application.
    """
    task = sys.modules["asyncio"].current_task(loop) if loop is not None else None
    name = None if task is None else str(task.get_name())[:_LONGEST]
    tell = getattr(task, "get_context", None)
    variables = tell() if tell is not None else getattr(handle(frames), "_context", None)
    return name, None if variables is None else _span(variables)


def _span(variables: Variables | Any) -> Context | None:
    # A copy, since nobody can enter a context that is entered already. It is made in one step of the interpreter's.
    context = variables.copy().run(get_current_span).get_span_context()
    return set_span_in_context(NonRecordingSpan(context)) if context.is_valid else None
