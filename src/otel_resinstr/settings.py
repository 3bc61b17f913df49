# SPDX-License-Identifier: Apache-2.0
"""What the user chose. The only reader of the environment.

A setting is one field of `Settings`: its name in the environment, how it is read, what it accepts and what it
means stand in the field's metadata, from which the table in the README is made.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "OTEL_RESINSTR_"

_logger = logging.getLogger("otel_resinstr")


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _setting(default: Any, variable: str, read: Callable[[str], Any], accepts: str, meaning: str) -> Any:  # noqa: ANN401
    metadata = {"variable": PREFIX + variable, "read": read, "accepts": accepts, "meaning": meaning}
    return field(default=default, metadata=metadata)


_POSITIVE_SECONDS = "a positive number of seconds"


@dataclass(frozen=True)
class Settings:
    """What the user chose; immutable. Each field says in its metadata which environment variable sets it."""

    disabled_probes: tuple[str, ...] = _setting(
        (),
        "DISABLED_PROBES",
        _names,
        "names of probes separated by commas; `*` and `?` match",
        "Probes that do not start, for example `mongodb.pool,process.*`.",
    )
    cpu_window: float = _setting(
        10.0,
        "CPU_WINDOW",
        _seconds,
        _POSITIVE_SECONDS,
        "Shortest time over which `process.cpu.utilization` is measured.",
    )
    eventloop_period: float = _setting(
        0.1,
        "EVENTLOOP_PERIOD",
        _seconds,
        _POSITIVE_SECONDS,
        "Time between two beats sent to each running event loop.",
    )
    eventloop_threshold: float = _setting(
        0.1,
        "EVENTLOOP_THRESHOLD",
        _seconds,
        _POSITIVE_SECONDS,
        "How late a beat must be for the loop to count as blocked.",
    )
    eventloop_window: float = _setting(
        60.0,
        "EVENTLOOP_WINDOW",
        _seconds,
        _POSITIVE_SECONDS,
        "Time that the percentile and maximum gauges of the event loop delay look back over.",
    )
    churn_count: int = _setting(
        10,
        "MONGODB_CHURN_COUNT",
        _count,
        "a whole number from 1",
        "How many clients one line of code must construct within the window to be reported.",
    )
    churn_window: float = _setting(
        60.0,
        "MONGODB_CHURN_WINDOW",
        _seconds,
        _POSITIVE_SECONDS,
        "The window of `mongodb.client.churn`.",
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from *environ*, by default the environment of the process.

        Never raises: a value that is not accepted is reported once, with what is used instead. A variable with
        our prefix that no setting knows is reported with the name that it resembles.
        """
        environ = os.environ if environ is None else environ
        known = {setting.metadata["variable"]: setting for setting in fields(cls)}
        chosen = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX):
                continue
            setting = known.get(variable)
            if setting is None:
                _warn_once(_unknown(variable, list(known)))
            elif text.strip():  # The OpenTelemetry specification: an empty value is an unset one.
                try:
                    chosen[setting.name] = setting.metadata["read"](text.strip())
                except ValueError:
                    _warn_once(
                        f"{variable}={text!r} is not accepted: it takes {setting.metadata['accepts']}; "
                        f"{_shown(setting.default)} is used instead"
                    )
        return cls(**chosen)


def _unknown(variable: str, known: list[str]) -> str:
    close = difflib.get_close_matches(variable, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{variable} is not a setting of otel-resinstr and has no effect: {hint}"


def _shown(value: object) -> str:
    return "nothing" if value == () else str(value)


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    # Each subject's instrumentor reads the environment: without this the same line would come once a subject.
    if message not in _warned:
        _warned.add(message)
        _logger.warning(message)
