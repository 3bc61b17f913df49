# SPDX-License-Identifier: Apache-2.0
"""What the user chose. The only reader of the environment.

A setting is one field of `Settings`: its name in the environment, how it is read, what it accepts and what it
means stand in the field's metadata, from which the table in the README is made.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import logging
import os
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

PREFIX = "OTEL_RESINSTR_"

# The part of /home that the platform's log stream and Kudu show, and that outlives the instance.
_APP_SERVICE_FOLDER = Path("/home/LogFiles/resinstr")

_logger = logging.getLogger("otel_resinstr")


def _seconds(text: str) -> float:
    value = float(text)
    # More often than every millisecond, a beat would be all that the process does.
    if not 0.001 <= value <= 86400:  # noqa: PLR2004  said in _SECONDS
        raise ValueError(text)  # not a number is none of both
    return value


def _count(text: str) -> int:
    value = int(text)
    # As many times are remembered for each line of code.
    if not 1 <= value <= 10000:  # noqa: PLR2004  said in _COUNT
        raise ValueError(text)
    return value


def _length(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65536:  # noqa: PLR2004  said in _LENGTH
        raise ValueError(text)
    return value


def _old_database_names(text: str) -> bool:
    return "database/dup" in _names(text)


def _flag(text: str) -> bool:
    word = text.lower()
    if word not in _ON and word not in _OFF:
        raise ValueError(text)
    return word in _ON


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _setting(default: Any, variable: str, read: Callable[[str], Any], accepts: str, meaning: str) -> Any:
    metadata = {"variable": PREFIX + variable, "read": read, "accepts": accepts, "meaning": meaning}
    return field(default=default, metadata=metadata)


_ON, _OFF = ("1", "true"), ("0", "false")
_FLAG = "1 or true, 0 or false"
_SECONDS = "a number of seconds from 0.001 to 86400"
_COUNT = "a whole number from 1 to 10000"
_LENGTH = "a whole number from 0 to 65536"


@dataclass(frozen=True)
class Settings:
    """What the user chose; immutable. Each field says in its metadata which environment variable sets it.

    Text is read as the environment's is: `disabled_probes="mongodb.*"`. Raises ValueError for a value that is not
    accepted: in code a mistake is found where it is made.
    """

    disabled_probes: tuple[str, ...] = _setting(
        (),
        "DISABLED_PROBES",
        _names,
        "names of probes separated by commas; `*` and `?` match",
        "Probes that do not start, for example `mongodb.pool,process.*`.",
    )
    metric_attributes: tuple[str, ...] = _setting(
        ("auto",),
        "METRIC_ATTRIBUTES",
        _names,
        "names of attributes separated by commas; `azure`, `none` or `auto`",
        "Attributes of the process, or of its resource, that the points of all metrics have too: for back ends that "
        "drop the resource. `azure` is `process.pid,deployment.environment.name` (App Service's slot); `auto` is "
        "`azure` on App Service, and `none` elsewhere.",
    )
    cpu_window: float = _setting(
        10.0,
        "CPU_WINDOW",
        _seconds,
        _SECONDS,
        "Shortest time over which `process.cpu.utilization` is measured.",
    )
    peak_window: float = _setting(
        60.0,
        "PEAK_WINDOW",
        _seconds,
        _SECONDS,
        "Time that the largest and smallest values of process, runtime and host look back over: no shorter than the "
        "export interval, or a spike is missed.",
    )
    flush_on_sigterm: bool = _setting(
        False,  # noqa: FBT003  a default is one
        "FLUSH_ON_SIGTERM",
        _flag,
        _FLAG,
        "Where SIGTERM would end the process at once, send what is pending first (see docs/exits.md).",
    )
    flush_timeout: float = _setting(
        3.0,
        "FLUSH_TIMEOUT",
        _seconds,
        _SECONDS,
        "Longest time that this takes.",
    )
    sockets: bool = _setting(
        False,  # noqa: FBT003  a default is one
        "SOCKETS",
        _flag,
        _FLAG,
        "Report TCP connections by remote end, and the outbound (SNAT) ports that they take.",
    )
    snat_ports: int = _setting(
        128,
        "SNAT_PORTS",
        _count,
        _COUNT,
        "Outbound ports for one remote end that there are: 128 on Azure App Service.",
    )
    gc_pauses: bool = _setting(
        False,  # noqa: FBT003  as above
        "GC_PAUSES",
        _flag,
        _FLAG,
        "Report how long garbage collections took. An exception that a signal handler raises during a collection is "
        "lost then, as with any callback of the garbage collector: Ctrl-C, an alarm, a task's soft time limit.",
    )
    object_count: bool = _setting(
        False,  # noqa: FBT003  as above
        "OBJECT_COUNT",
        _flag,
        _FLAG,
        "Report how many objects the garbage collector tracks.",
    )
    tracemalloc: bool = _setting(
        False,  # noqa: FBT003  as above
        "TRACEMALLOC",
        _flag,
        _FLAG,
        "Let tracemalloc trace, so that `otel_resinstr.heap_growth()` names the lines whose memory grows. "
        "Costs a multiple of each allocation.",
    )
    eventloop_period: float = _setting(
        0.05,
        "EVENTLOOP_PERIOD",
        _seconds,
        _SECONDS,
        "Time between two looks at each running event loop.",
    )
    eventloop_threshold: float = _setting(
        0.1,
        "EVENTLOOP_THRESHOLD",
        _seconds,
        _SECONDS,
        "How long a loop must be held to count as blocked.",
    )
    eventloop_window: float = _setting(
        60.0,
        "EVENTLOOP_WINDOW",
        _seconds,
        _SECONDS,
        "Time that the gauges of the event loop's delay and utilization look back over.",
    )
    threadpool_threshold: float = _setting(
        1.0,
        "THREADPOOL_THRESHOLD",
        _seconds,
        _SECONDS,
        "How long work must wait for a thread of its pool for the pool to count as saturated.",
    )
    threadpool_window: float = _setting(
        60.0,
        "THREADPOOL_WINDOW",
        _seconds,
        _SECONDS,
        "Time that the percentile and maximum gauges of the thread pools' waits look back over.",
    )
    churn_count: int = _setting(
        10,
        "MONGODB_CHURN_COUNT",
        _count,
        _COUNT,
        "How many clients one line of code must construct within the window to be reported.",
    )
    churn_window: float = _setting(
        60.0,
        "MONGODB_CHURN_WINDOW",
        _seconds,
        _SECONDS,
        "The window of `mongodb.client.churn`.",
    )
    wait_threshold: float = _setting(
        0.01,
        "MONGODB_WAIT_THRESHOLD",
        _seconds,
        _SECONDS,
        "How long a request must wait for a connection to become a span, and in the end `mongodb.pool.exhausted`.",
    )
    lifecycle_rate: int = _setting(
        50,
        "MONGODB_LIFECYCLE_RATE",
        _count,
        _COUNT,
        "How many spans of ended clients and connections a second are made at most.",
    )
    server_interval: float | None = _setting(
        None,
        "MONGODB_SERVER_INTERVAL",
        _seconds,
        _SECONDS,
        "How often each MongoDB server is asked for its connections (`serverStatus`). Without it, it is not.",
    )
    query_text_length: int = _setting(
        0,
        "MONGODB_QUERY_TEXT_LENGTH",
        _length,
        _LENGTH,
        "Longest `db.query.text` on a command's span: its keys, with `?` for each value. 0 leaves it out.",
    )
    file_dir: str | None = _setting(
        None,
        "FILE_DIR",
        str,
        "a folder, which is made where it is not there",
        "Where the exporter `resinstr_file` writes to. Without it: `/home/LogFiles/resinstr` on Azure App Service, "
        "`resinstr` in the working directory elsewhere.",
    )
    file_megabytes: int = _setting(
        100,
        "FILE_MEGABYTES",
        _count,
        _COUNT,
        "How much all files of `resinstr_file` and the flight recorder in one folder take at most, those of earlier "
        "processes included; the oldest are removed.",
    )
    recorder_dir: str | None = _setting(
        None,
        "RECORDER_DIR",
        str,
        "a folder, which is made where it is not there",
        "Where the flight recorder writes to; it records where there is such a folder. Without it: "
        "`/home/LogFiles/resinstr` on Azure App Service, and no recorder elsewhere.",
    )
    old_database_names: bool = field(
        default=False,
        metadata={
            "variable": "OTEL_SEMCONV_STABILITY_OPT_IN",  # not of ours: all instrumentations read it
            "read": _old_database_names,
            "accepts": "names separated by commas; `database/dup` is the one that is looked for",
            "meaning": "With `database/dup`, spans of commands have the attributes' old names beside the new ones.",
        },
    )

    def __post_init__(self) -> None:
        """Check what the code chose as what the environment says is checked."""
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value == setting.default or (isinstance(value, bool) and isinstance(setting.default, bool)):
                continue
            text = ",".join(value) if isinstance(value, (tuple, list)) else str(value)
            try:
                object.__setattr__(self, setting.name, setting.metadata["read"](text))
            except ValueError:
                message = f"{setting.name}={value!r} is not accepted: it takes {setting.metadata['accepts']}"
                raise ValueError(message) from None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from *environ*, by default the environment of the process.

        Never raises: a value that is not accepted is reported once, with what is used instead. A variable with
        our prefix that no setting knows is reported with the name that it resembles.
        """
        environ = os.environ if environ is None else environ
        for variable, hint in unknown(environ):
            _warn_once(f"{variable} is not a setting of otel-resinstr and has no effect: {hint}")
        for refused in not_accepted(environ):
            _warn_once(
                f"{refused.variable}={refused.value!r} is not accepted: it takes {refused.accepts}; "
                f"{refused.default} is used instead"
            )
        return cls.accepted_from(environ)

    @classmethod
    def accepted_from(cls, environ: Mapping[str, str]) -> Settings:
        """What *environ* says and is accepted; nothing is reported."""
        chosen = {}
        for setting, text in _given(environ):
            with contextlib.suppress(ValueError):
                chosen[setting.name] = setting.metadata["read"](text)
        return cls(**chosen)

    def check_disabled_probes(self, probes: Iterable[str]) -> None:
        """Report, once, each pattern of `disabled_probes` that matches none of *probes*."""
        for pattern, hint in unknown_probes(self.disabled_probes, list(probes)):
            _warn_once(
                f"{PREFIX}DISABLED_PROBES: {pattern!r} is the name of no probe and has no effect: {hint}"
            )


def file_folder(chosen: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Where files are written to; `environ`, by default the environment of the process, tells App Service."""
    if chosen.file_dir is not None:
        return Path(chosen.file_dir)
    return _platforms_folder(environ) or Path("resinstr")


def recorder_folder(chosen: Settings, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where the flight recorder writes to, if it is to record; *environ* as above."""
    if chosen.recorder_dir is not None:
        return Path(chosen.recorder_dir)
    return _platforms_folder(environ)


def _platforms_folder(environ: Mapping[str, str] | None) -> Path | None:
    environ = os.environ if environ is None else environ
    return _APP_SERVICE_FOLDER if environ.get("WEBSITE_SITE_NAME") else None


class Refused(NamedTuple):
    """A value that is not accepted, what is used instead, and what would be accepted."""

    variable: str
    value: str
    default: str
    accepts: str


def unknown(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that have our prefix and are no setting, and a hint for each."""
    known = [setting.metadata["variable"] for setting in fields(Settings)]
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in known and text.strip():
            yield variable, _hint(variable, known)


def not_accepted(environ: Mapping[str, str]) -> Iterator[Refused]:
    """The settings whose values are not accepted."""
    for setting, text in _given(environ):
        variable = setting.metadata["variable"]
        try:
            setting.metadata["read"](text)
        except ValueError:
            yield Refused(variable, environ[variable], _shown(setting.default), setting.metadata["accepts"])


def unknown_probes(patterns: Iterable[str], probes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Those of *patterns* that match none of *probes*, and a hint for each."""
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(probe, pattern) for probe in probes):
            yield pattern, _hint(pattern, probes)


def _given(environ: Mapping[str, str]) -> Iterator[tuple[Field[Any], str]]:
    # The OpenTelemetry specification: an empty value is an unset one.
    for setting in fields(Settings):
        text = environ.get(setting.metadata["variable"], "").strip()
        if text:
            yield setting, text


def _hint(misspelt: str, known: Sequence[str]) -> str:
    # Compared without what all have in common, by which anything would be close to anything.
    by_rest = {name.removeprefix(PREFIX): name for name in known}
    close = difflib.get_close_matches(misspelt.removeprefix(PREFIX), by_rest, n=1)
    return f"did you mean {by_rest[close[0]]}?" if close else f"known are {', '.join(known)}"


def _shown(value: object) -> str:
    return "nothing" if value in {(), None} else str(value)


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    # Each subject's instrumentor reads the environment: without this the same line would come once a subject.
    if message not in _warned:
        _warned.add(message)
        with contextlib.suppress(Exception):  # a filter or handler of the application's that raises
            _logger.warning(message)
