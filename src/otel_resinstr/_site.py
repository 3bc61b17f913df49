# SPDX-License-Identifier: Apache-2.0
"""The line of the application to blame: the innermost frame that is not a library's plumbing.

A frame counts as plumbing by the name of its module, not by where the file lies: an application is often itself
installed into site-packages, and a virtual environment may lie inside the application's folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# Drivers, ODMs, web frameworks, servers and task runners: what stands between an application's line and the
# driver. Matched against the first part of a frame's module name, beside the standard library.
_LIBRARIES = frozenset(
    """
    aiohttp anyio asgiref beanie bottle bson bunnet celery connexion dependency_injector django
    django_mongodb_backend dramatiq eventlet falcon fastapi fastapi_cli flask flask_mongoengine
    flask_pymongo gevent granian greenlet gridfs gunicorn hypercorn injector kombu litestar mongoengine
    mongomock_motor motor odmantic opentelemetry otel_resinstr pydantic pymongo pymongo_inmemory pyramid
    quart rloop robyn rq sanic starlette tenacity tornado trio umongo uvicorn uvloop waitress werkzeug
    wrapt
    """.split()  # noqa: SIM905  a line for each of them is no easier to read
)


@dataclass(frozen=True)
class Site:
    """A line of code: in short for a metric, in full for a span or an event."""

    path: str
    line: int
    function: str

    @property
    def label(self) -> str:
        """``file.py:line function``, without the folder, which would make a metric's attribute unbounded."""
        return f"{self.path.replace(chr(92), '/').rpartition('/')[2]}:{self.line} {self.function}"


def application_site(frame: FrameType | None, end: int = 0) -> Site | None:
    """The innermost frame of the application at or outside *frame*, or None where there is only plumbing.

    The frame with the ``id`` *end*, and what is outside of it, is not looked at. Costs less than 1 µs a frame. Keeps
    no frame.
    """
    while frame is not None and id(frame) != end:
        if not _is_plumbing(frame):
            return Site(frame.f_code.co_filename, frame.f_lineno, _function(frame))
        frame = frame.f_back
    return None


def _is_plumbing(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    if name == "__main__":  # `python -m uvicorn` is uvicorn, `python app.py` is nobody's package
        name = frame.f_globals.get("__package__") or name
    package = str(name).partition(".")[0]
    return (
        package in _LIBRARIES
        or package in sys.stdlib_module_names
        or frame.f_code.co_filename.startswith("<")
    )


def _function(frame: FrameType) -> str:
    # The qualified name tells `Reports.load` from `load`; code objects have it since Python 3.11.
    return str(getattr(frame.f_code, "co_qualname", frame.f_code.co_name))
