# SPDX-License-Identifier: Apache-2.0
"""The figures of one process that verdicts rest on. What did not arrive is None, never 0."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from otel_resinstr import semconv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_resinstr.explain.readings import Attributes, Point, Process


@dataclass(frozen=True)
class Figures:
    """What one process did and held while it was watched. Each field names the metric or event behind it."""

    seconds: float | None = None
    """Between the first and the last collection of any metric."""
    check_outs: int | None = None
    """How often a connection was taken from a pool, for each command once: ``db.client.connection.wait_time``."""
    threads_peak: int | None = None
    """``process.thread.count``."""
    driver_threads_peak: int | None = None
    """``cpython.thread.count`` of the groups ``pymongo.*``."""
    driver_threads_per_client: float | None = None
    """At the collection that has the peak."""
    sockets_peak: int | None = None
    """``mongodb.client.socket.count``; None if that of the monitors is not known."""
    sockets_per_client: float | None = None
    """At the collection that has the peak."""
    pool_connections_peak: int | None = None
    """``db.client.connection.count``."""
    pool_connections_created: int | None = None
    """``mongodb.connection.created``."""
    descriptors_first: int | None = None
    """``process.unix.file_descriptor.count``, or ``process.windows.handle.count``."""
    descriptors_peak: int | None = None
    descriptors_limit: int | None = None
    """``resinstr.process.file_descriptor.limit``."""
    memory_first: int | None = None
    """``process.memory.usage``, in bytes."""
    memory_peak: int | None = None
    clients_created: int | None = None
    """``mongodb.client.created``."""
    clients_closed: int | None = None
    """``mongodb.client.closed``."""
    clients_dropped: int | None = None
    clients_peak: int | None = None
    """``mongodb.client.active_instance.count``."""
    clients_halfway: int | None = None
    """The same, half of the collections before the last."""
    client_site: str | None = None
    """The line that constructs the most clients: the events ``mongodb.client.churn`` and ``.leak``, or
    ``mongodb.client.created``."""
    cpu_per_second: float | None = None
    """Growth of ``process.cpu.time`` from the first to the last collection, in seconds a second."""
    connect_time: float | None = None
    """Mean of ``db.client.connection.create_time``, in seconds."""
    loop_delay_max: float | None = None
    """``asyncio.eventloop.delay.max``, in seconds."""
    loop_blocks: int | None = None
    """``asyncio.eventloop.blocked``."""
    loop_site: str | None = None
    """The line that held the loop in the most events ``asyncio.eventloop.blocked``."""
    pool_wait_max: float | None = None
    """``cpython.thread_pool.work_item.wait.max``, in seconds."""
    pool_queue_peak: int | None = None
    """``cpython.thread_pool.queue.length``."""
    pool_site: str | None = None
    """The line that most threads of a pool were at, in the most events ``cpython.thread_pool.saturated``."""

    @property
    def memory_growth(self) -> int | None:
        """From the first collection to the peak, in bytes."""
        if self.memory_peak is None or self.memory_first is None:
            return None
        return self.memory_peak - self.memory_first

    @property
    def clients_per_second(self) -> float | None:
        """How often a client is constructed."""
        return _ratio(self.clients_created, self.seconds)


def figures(process: Process) -> Figures:
    """The figures of *process*."""
    descriptors = _values(process, semconv.PROCESS_UNIX_FILE_DESCRIPTOR_COUNT) or _values(
        process, semconv.PROCESS_WINDOWS_HANDLE_COUNT
    )
    memory = _values(process, semconv.PROCESS_MEMORY_USAGE)
    created = _last(_values(process, semconv.MONGODB_CLIENT_CREATED))
    clients = process.totals(semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT.name)
    driver_threads = process.totals(semconv.CPYTHON_THREAD_COUNT.name, _of_the_driver)
    sockets = _sockets(process)
    delays = _each(process, semconv.ASYNCIO_EVENTLOOP_DELAY_MAX)
    pool_waits = _each(process, semconv.CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX)
    connects = process.totals(semconv.DB_CLIENT_CONNECTION_CREATE_TIME.name)
    waits = process.totals(semconv.DB_CLIENT_CONNECTION_WAIT_TIME.name)
    return Figures(
        seconds=_seconds(process),
        check_outs=waits[-1].count if waits else None,
        threads_peak=_peak(_values(process, semconv.PROCESS_THREAD_COUNT)),
        driver_threads_peak=_peak(_counts(driver_threads)),
        driver_threads_per_client=_at_its_peak(driver_threads, clients),
        sockets_peak=_peak(_counts(sockets)),
        sockets_per_client=_at_its_peak(sockets, clients),
        pool_connections_peak=_peak(_values(process, semconv.DB_CLIENT_CONNECTION_COUNT)),
        pool_connections_created=_last(_values(process, semconv.MONGODB_CONNECTION_CREATED)),
        descriptors_first=_first(descriptors),
        descriptors_peak=_peak(descriptors),
        descriptors_limit=_last(_values(process, semconv.RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT)),
        memory_first=_first(memory),
        memory_peak=_peak(memory),
        clients_created=created,
        clients_closed=_ended(process, created, "closed"),
        clients_dropped=_ended(process, created, "dropped"),
        clients_peak=_peak(_counts(clients)),
        clients_halfway=_last(_counts(clients[: (len(clients) + 1) // 2])),
        client_site=_client_site(process),
        cpu_per_second=_cpu_per_second(process),
        connect_time=_ratio(connects[-1].value, connects[-1].count) if connects else None,
        loop_delay_max=max(delays, default=None),
        loop_blocks=_last(_values(process, semconv.ASYNCIO_EVENTLOOP_BLOCKED)),
        loop_site=_site_of(process, semconv.ASYNCIO_EVENTLOOP_BLOCKED_EVENT),
        pool_wait_max=max(pool_waits, default=None),
        pool_queue_peak=_peak(_values(process, semconv.CPYTHON_THREAD_POOL_QUEUE_LENGTH)),
        pool_site=_site_of(process, semconv.CPYTHON_THREAD_POOL_SATURATED),
    )


def _each(process: Process, metric: semconv.Metric) -> list[float]:
    """*metric* at each collection, of each series by itself: what does not add up."""
    return [point.value for series in process.series(metric.name) for point in series.points()]


def _values(
    process: Process, metric: semconv.Metric, where: Callable[[Attributes], bool] = lambda _: True
) -> list[int]:
    """*metric*, which counts something, at each collection that has it."""
    return _counts(process.totals(metric.name, where))


def _counts(points: Sequence[Point]) -> list[int]:
    return [round(point.value) for point in points]


def _first(values: Sequence[int]) -> int | None:
    return values[0] if values else None


def _last(values: Sequence[int]) -> int | None:
    return values[-1] if values else None


def _peak(values: Sequence[int]) -> int | None:
    return max(values, default=None)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _at_its_peak(held: Sequence[Point], clients: Sequence[Point]) -> float | None:
    """How much of *held* there is for each of the *clients* when it is at its peak."""
    if not held:
        return None
    # The latest of several: what has just been constructed has not started its threads yet.
    peak = max(held, key=lambda point: (point.value, point.at))
    return _ratio(peak.value, {point.at: point.value for point in clients}.get(peak.at))


def _seconds(process: Process) -> float | None:
    watched = process.watched()
    return None if watched is None else watched[1] - watched[0]


def _of_the_driver(attributes: Attributes) -> bool:
    return str(attributes.get(semconv.CPYTHON_THREAD_GROUP)).startswith("pymongo.")


def _sockets(process: Process) -> list[Point]:
    name = semconv.MONGODB_CLIENT_SOCKET_COUNT.name
    types = {series.attributes.get(semconv.MONGODB_CLIENT_SOCKET_TYPE) for series in process.series(name)}
    # The monitors' are absent where the driver does not let them be counted; the rest alone is not all sockets.
    return process.totals(name) if "monitor" in types else []


def _ended(process: Process, created: int | None, reason: str) -> int | None:
    """Clients that ended for *reason*."""
    ended = _values(
        process,
        semconv.MONGODB_CLIENT_CLOSED,
        lambda attributes: attributes.get(semconv.MONGODB_CLIENT_CLOSE_REASON) == reason,
    )
    # The probe reports a reason from the first client on that ended for it. If it reports what was created, no
    # series is a zero that is known.
    return _last(ended) if ended or created is None else 0


def _cpu_per_second(process: Process) -> float | None:
    cpu = process.totals(semconv.PROCESS_CPU_TIME.name)
    # From the first collection on: what it took to start is not the work's doing.
    return _ratio(cpu[-1].value - cpu[0].value, cpu[-1].at - cpu[0].at) if cpu else None


_CLIENTS_OF = {
    semconv.MONGODB_CLIENT_CHURN.name: semconv.MONGODB_CLIENT_CHURN_CREATED,
    semconv.MONGODB_CLIENT_LEAK.name: semconv.MONGODB_CLIENT_LEAK_ACTIVE,
}


def _client_site(process: Process) -> str | None:
    created: Counter[str] = Counter()
    for series in process.series(semconv.MONGODB_CLIENT_CREATED.name):
        created[str(series.attributes.get(semconv.MONGODB_CLIENT_SITE))] += round(series.points()[-1].value)
    reported: Counter[str] = Counter()
    for event in process.events:
        if (figure := _CLIENTS_OF.get(event.name)) is not None:
            clients = event.attributes.get(figure)
            reported[_site(event.attributes)] += clients if isinstance(clients, int) else 1
    return _most(reported) or _most(created)


def _site_of(process: Process, event: semconv.Event) -> str | None:
    """The line that is named by the most of the events."""
    return _most(
        Counter(
            _site(found.attributes)
            for found in process.events
            # Without one where other threads, or the machine, are to blame.
            if found.name == event.name and semconv.CODE_FILE_PATH in found.attributes
        )
    )


def _site(attributes: Attributes) -> str:
    """``file.py:line function``, as ``mongodb.client.site`` has it."""
    path = attributes.get(semconv.CODE_FILE_PATH)
    if path is None:
        return str(attributes.get(semconv.MONGODB_CLIENT_SITE))
    # Windows' paths are read anywhere, and those of others as well.
    file = PureWindowsPath(str(path)).name
    return f"{file}:{attributes.get(semconv.CODE_LINE_NUMBER)} {attributes.get(semconv.CODE_FUNCTION_NAME)}"


def _most(sites: Counter[str]) -> str | None:
    return sites.most_common(1)[0][0] if sites else None
