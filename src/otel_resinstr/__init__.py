# SPDX-License-Identifier: Apache-2.0
"""Says which suspect it is when a Python service with MongoDB stalls.

Under ``opentelemetry-instrument`` nothing has to be called. Elsewhere, for example after
``configure_azure_monitor()``, call `instrument` once.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from otel_resinstr._flush import flush
from otel_resinstr.recorder import dump
from otel_resinstr.runtime.heap import growth as heap_growth
from otel_resinstr.settings import Settings
from otel_resinstr.version import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Settings", "__version__", "dump", "flush", "heap_growth", "instrument", "uninstrument"]


def instrument(
    settings: Settings | None = None,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
) -> None:
    """Start every subject that is not running yet.

    A probe that cannot start is reported in the log and left out. Raises TypeError, and nothing else, where *settings*
    are no `Settings`.

    Args:
        settings: What to watch and how; by default what the environment says.
        meter_provider: Where metrics go; by default the global provider, set now or later.
        tracer_provider: Where spans go; likewise.
        logger_provider: Where events go; likewise.
    """
    if not isinstance(settings, (Settings, type(None))):
        raise TypeError(f"settings: takes otel_resinstr.Settings, not {type(settings).__qualname__}")
    from otel_resinstr.instrumentors import SUBJECTS, say_what_is_doubled  # noqa: PLC0415  see after_the_launcher

    for subject in SUBJECTS:
        instrumentor = subject()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(
                skip_dep_check=True,
                settings=settings,
                meter_provider=meter_provider,
                tracer_provider=tracer_provider,
                logger_provider=logger_provider,
            )
    with contextlib.suppress(Exception):
        say_what_is_doubled(launcher=False, code=True)


def uninstrument() -> None:
    """Stop every subject: nothing of ours is patched, reported or running afterwards."""
    from otel_resinstr.instrumentors import SUBJECTS  # noqa: PLC0415  see after_the_launcher

    for subject in reversed(SUBJECTS):
        instrumentor = subject()
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


def after_the_launcher() -> None:
    """What the launcher calls when it has loaded all instrumentations (`opentelemetry_post_instrument`).

    Never raises, and can be imported also where our instrumentors cannot, as without psutil: the launcher leaves those
    out and says so, but what this raised would end its work.
    """
    with contextlib.suppress(Exception):
        from otel_resinstr.instrumentors import after_the_launcher as say  # noqa: PLC0415  see above

        say()
