# SPDX-License-Identifier: Apache-2.0
"""The entry points: each subject's list of probes. The table of contents of the package."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

# contrib's module opens with a blanket "type: ignore", so that mypy sees no class in it
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_resinstr import _fork, _metric_attributes, duplicates
from otel_resinstr._helper import is_helper
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.eventloop.blocked import Blocked
from otel_resinstr.eventloop.cpu import Cpu as EventLoopCpu
from otel_resinstr.eventloop.delay import Delay
from otel_resinstr.eventloop.loops import Loops
from otel_resinstr.eventloop.tasks import Tasks
from otel_resinstr.eventloop.utilization import Utilization
from otel_resinstr.host import HostReading
from otel_resinstr.host.container import Container
from otel_resinstr.host.memory import Memory as HostMemory
from otel_resinstr.host.neighbours import Neighbours
from otel_resinstr.host.paging import Paging
from otel_resinstr.host.peaks import Peaks as HostPeaks
from otel_resinstr.host.pressure import Pressure
from otel_resinstr.host.shortage import Shortage
from otel_resinstr.mongodb.clients import Clients
from otel_resinstr.mongodb.commands import Commands
from otel_resinstr.mongodb.failures import Failures
from otel_resinstr.mongodb.heartbeat import Heartbeat
from otel_resinstr.mongodb.ledger import Ledger
from otel_resinstr.mongodb.lifecycle import Lifecycle
from otel_resinstr.mongodb.pool import Pool
from otel_resinstr.mongodb.server import Server
from otel_resinstr.mongodb.waits import Waits
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.context_switches import ContextSwitches
from otel_resinstr.process.cpu import Cpu
from otel_resinstr.process.disk_io import DiskIO
from otel_resinstr.process.export_lock import ExportLock
from otel_resinstr.process.faults import Faults
from otel_resinstr.process.file_descriptors import FileDescriptors
from otel_resinstr.process.memory import Memory
from otel_resinstr.process.peaks import Peaks
from otel_resinstr.process.sigterm import Sigterm
from otel_resinstr.process.sockets import Sockets
from otel_resinstr.process.threads import Threads
from otel_resinstr.process.uptime import Uptime
from otel_resinstr.recorder import Recorder
from otel_resinstr.runtime.gc import GC
from otel_resinstr.runtime.gc_pauses import GCPauses
from otel_resinstr.runtime.heap import Heap
from otel_resinstr.runtime.objects import Objects
from otel_resinstr.runtime.threads_by_group import ThreadsByGroup
from otel_resinstr.settings import Settings, recorder_folder
from otel_resinstr.threadpool.anyio_limiters import AnyioLimiters
from otel_resinstr.threadpool.executors import Executors
from otel_resinstr.threadpool.pools import Pools
from otel_resinstr.threadpool.saturation import Saturation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from otel_resinstr._probe import Probe


class SubjectInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # see the import
    """One subject: its probes start and stop together, and as one can be switched off by the launcher.

    ``instrument()`` takes ``settings``, ``meter_provider``, ``tracer_provider`` and ``logger_provider``; what is
    not given comes from the environment, and from the global providers, also if they are set later.
    """

    subject: str
    _running: Running | None = None

    @abstractmethod
    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: a library that is missing is one that is never imported, and its probes wait for that."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if is_helper():
            # What runs for the application is forked from it, or nothing is.
            self._given = kwargs
            _fork.add(self._start_in_child)
        else:
            self._start(kwargs)

    def _start_in_child(self) -> None:
        _fork.remove(self._start_in_child)
        # The SDK may just have collected in the helper, where no probe looks after its locks: to make an
        # instrument would take for ever.
        ExportLock().renew()
        self._start(self._given)

    def _start(self, kwargs: dict[str, Any]) -> None:
        settings = kwargs.get("settings") or Settings.from_environment()
        telemetry = Telemetry(
            kwargs.get("meter_provider"),
            kwargs.get("tracer_provider"),
            kwargs.get("logger_provider"),
            metric_attributes=_metric_attributes.chosen(settings.metric_attributes),
        )
        self._running = Running(self.probes(settings), telemetry, settings.disabled_probes, self.subject)
        if settings.disabled_probes:
            # A subject that cannot make its probes reports that when it starts.
            with contextlib.suppress(Exception):
                settings.check_disabled_probes(names_of_probes())

    def _uninstrument(self, **_kwargs: Any) -> None:
        _fork.remove(self._start_in_child)
        if self._running is not None:
            self._running.stop()
            self._running = None


class ProcessInstrumentor(SubjectInstrumentor):
    """What the operating system says of this process."""

    subject = "process"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""
        yield ExportLock()
        reading = ProcessReading()
        yield Cpu(reading, window=settings.cpu_window)
        yield Memory(reading)
        yield Faults(reading)
        yield Threads(reading)
        yield FileDescriptors(reading)
        yield ContextSwitches(reading)
        yield DiskIO(reading)
        yield Uptime(reading)
        yield Peaks(reading, window=settings.peak_window)
        if settings.sockets:
            yield Sockets(ports=settings.snat_ports)
        if settings.flush_on_sigterm:
            yield Sigterm(timeout=settings.flush_timeout)


class RuntimeInstrumentor(SubjectInstrumentor):
    """What CPython says of itself."""

    subject = "runtime"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""
        yield ThreadsByGroup()
        yield GC()
        if settings.gc_pauses:
            yield GCPauses(window=settings.peak_window)
        yield Heap(trace=settings.tracemalloc)
        if settings.object_count:
            yield Objects()


class HostInstrumentor(SubjectInstrumentor):
    """The machine and the container around the process."""

    subject = "host"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""
        reading = HostReading()
        yield HostMemory(reading)
        yield Paging(reading)
        yield Container(reading)
        yield Pressure(reading)
        yield Neighbours(reading)
        yield HostPeaks(reading, window=settings.peak_window)
        yield Shortage(reading)


class EventLoopInstrumentor(SubjectInstrumentor):
    """How well event loops keep up."""

    subject = "eventloop"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""
        loops = Loops(period=settings.eventloop_period, threshold=settings.eventloop_threshold)
        yield loops
        yield Delay(loops, window=settings.eventloop_window)
        yield Blocked(loops, threshold=settings.eventloop_threshold)
        yield Utilization(loops, window=settings.eventloop_window)
        yield EventLoopCpu(loops)
        yield Tasks(loops)


class ThreadPoolInstrumentor(SubjectInstrumentor):
    """Who waits for a thread, and for whom."""

    subject = "threadpool"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""
        pools = Pools(window=settings.threadpool_window)
        yield pools
        yield Executors(pools)
        yield AnyioLimiters(pools)
        yield Saturation(pools, threshold=settings.threadpool_threshold)


class MongoDBInstrumentor(SubjectInstrumentor):
    """What pymongo's clients do."""

    subject = "mongodb"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The probes of the subject, in the order in which they start."""
        clients = Clients()
        yield clients
        yield Pool(clients)
        yield Waits(clients, threshold=settings.wait_threshold)
        yield Failures(clients)
        yield Heartbeat(clients)
        yield Commands(
            clients,
            query_text_length=settings.query_text_length,
            old_names=settings.old_database_names,
        )
        yield Ledger(clients, churn_count=settings.churn_count, churn_window=settings.churn_window)
        yield Lifecycle(clients, rate=settings.lifecycle_rate)
        yield Server(clients, interval=settings.server_interval)


class RecorderInstrumentor(SubjectInstrumentor):
    """What all of them had to say in the last minutes."""

    subject = "recorder"

    def probes(self, settings: Settings) -> Iterator[Probe]:
        """The recorder, which does nothing without a folder, and SIGTERM for it."""
        folder = recorder_folder(settings)
        yield Recorder(folder, settings.file_megabytes, began=lambda: ProcessReading().create_time())
        disabled = any(fnmatch.fnmatchcase(Recorder.name, pattern) for pattern in settings.disabled_probes)
        if folder is not None and not disabled:
            # Where the subject `process` has set the same handler, this one finds it and does nothing.
            yield Sigterm(timeout=settings.flush_timeout, flush=settings.flush_on_sigterm)


SUBJECTS: tuple[type[SubjectInstrumentor], ...] = (
    ProcessInstrumentor,
    RuntimeInstrumentor,
    HostInstrumentor,
    EventLoopInstrumentor,
    ThreadPoolInstrumentor,
    MongoDBInstrumentor,
    RecorderInstrumentor,
)


def names_of_probes() -> list[str]:
    """What the settings can name: all probes of all subjects, also those that are off unless asked for."""
    flags = [setting.name for setting in dataclasses.fields(Settings) if setting.default is False]
    all_on: dict[str, Any] = dict.fromkeys(flags, True)
    return [probe.name for subject in SUBJECTS for probe in subject().probes(Settings(**all_on))]


def say_what_is_doubled(*, launcher: bool, code: bool) -> None:
    """Warn, once, of what reports the same as the subjects that run, or sets OpenTelemetry up a second time."""
    running = [subject.subject for subject in SUBJECTS if subject().is_instrumented_by_opentelemetry]
    if running:
        duplicates.warn(duplicates.find(os.environ, launcher=launcher, code=code), running)


def after_the_launcher() -> None:
    """Warn of what the launcher has loaded beside us."""
    launcher = duplicates.begun_by_the_launcher() or not duplicates.attached(os.environ)
    say_what_is_doubled(launcher=launcher, code=False)
