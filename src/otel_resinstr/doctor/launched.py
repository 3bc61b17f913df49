# SPDX-License-Identifier: Apache-2.0
"""The process that the launcher starts in place of the command, seen from outside."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from uuid import uuid4

from otel_resinstr.doctor import inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from otel_resinstr.doctor.command import Command

STARTED_WITHIN = 60.0
"""Seconds in which the launcher has to have done its work: a hundred instrumentations take ten on a slow machine."""

_LAST_LINES = 5

_READ_WITHIN = 1.0
"""Seconds for the rest of what it printed: a process that it started, and left behind, may keep the pipe open."""

_RECORDER_DIR, _SITE_NAME = "OTEL_RESINSTR_RECORDER_DIR", "WEBSITE_SITE_NAME"


@dataclass(frozen=True)
class EntryPoint:
    """An entry point for the launcher or the SDK, and whether it is an instrumentor that is at work."""

    group: str
    name: str
    value: str
    distribution: str
    instrumented: bool


@dataclass(frozen=True)
class Heard:
    """A line of the log."""

    logger: str
    level: int
    message: str
    error: str
    thread: str


@dataclass(frozen=True)
class Twice:
    """Something that is there twice, as the package itself finds it: `otel_resinstr.duplicates`."""

    kind: str
    what: str
    subject: str | None


@dataclass(frozen=True)
class Exporter:
    """An exporter that is alive."""

    signal: str
    name: str
    """Its module and class."""

    @property
    def protocol(self) -> str | None:
        """That of OTLP which it speaks; None for another exporter."""
        protocols = {".otlp.proto.grpc.": "grpc", ".otlp.proto.http.": "http/protobuf"}
        return next((protocol for part, protocol in protocols.items() if part in self.name), None)


@dataclass(frozen=True)
class Export:
    """What came of an export; *result* is None if there was no answer in time."""

    signal: str
    name: str
    result: str | None
    said: tuple[str, ...]


class Report:
    """What the process said of itself, once the launcher had done its work."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.executable: str = told["executable"]
        self.python: str = told["python"]
        self.prefix: str = told["prefix"]
        self.environ: dict[str, str] = told["environ"]
        self.versions: dict[str, str] = {
            name: each["version"] for name, each in told["distributions"].items() if each["version"]
        }
        self.requirements: dict[str, list[str]] = {
            name: each["requires"] for name, each in told["distributions"].items()
        }
        self.entry_points = [EntryPoint(**each) for each in told["entry_points"]]
        self.launcher_given: str | None = told["launcher"]["given"]
        self.launcher_imported: str | None = told["launcher"]["imported"]
        self.providers: dict[str, str] = told["providers"]
        self.service: str | None = told["service"]
        self.exporters = [Exporter(each["signal"], each["class"]) for each in told["exporters"]]
        self.duplicates = [Twice(**each) for each in told["duplicates"]]
        self.log = [Heard(**each) for each in told["log"]]

    def named(self, group: str) -> dict[str, EntryPoint]:
        """The entry points of a group, by name, in the order in which the launcher finds them."""
        found: dict[str, EntryPoint] = {}
        for each in self.entry_points:
            if each.group == f"opentelemetry_{group}":
                found.setdefault(each.name, each)
        return found


class Launched:
    """A process under the launcher. It is gone when the `with` block is left."""

    def __init__(
        self,
        command: Command,
        environ: Mapping[str, str],
        folder: Path,
        started_within: float = STARTED_WITHIN,
    ) -> None:
        """Start it; *command* must have a launcher and an interpreter. Raises OSError if there is no starting it."""
        self._token = uuid4().hex
        self._answers: queue.Queue[str | None] = queue.Queue()
        program = [str(command.interpreter), "-S", str(Path(inside.__file__)), self._token]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        # Where the flight recorder would be on it is, but what it leaves is not the application's.
        self._records = tempfile.TemporaryDirectory()
        recorder = {_RECORDER_DIR: self._records.name} if {_RECORDER_DIR, _SITE_NAME} & {*environ} else {}
        try:
            self._process = subprocess.Popen(  # noqa: S603  what the user wants to know about
                [str(command.launcher), *command.launcher_options, *program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**environ, **recorder},
                cwd=folder,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError:
            self._said.close()
            self._records.cleanup()
            raise
        self._questions = cast("IO[str]", self._process.stdin)
        self._lines = cast("IO[str]", self._process.stdout)
        self._reader = threading.Thread(target=self._read, name="doctor", daemon=True)
        self._reader.start()
        answer = self._answer(started_within)
        if answer is not None and recorder:
            answer["environ"].pop(_RECORDER_DIR)
            answer["environ"] |= {name: environ[name] for name in (_RECORDER_DIR,) if name in environ}
        self.report = None if answer is None else Report(answer)
        """None if it has not said anything in time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(_READ_WITHIN)
        for stream in (self._questions, self._said):
            with contextlib.suppress(OSError):  # what was not written cannot be any more
                stream.close()
        self._records.cleanup()

    def last_words(self) -> str:
        """The end of what it has said to its standard error."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def export(self, within: float) -> list[Export]:
        """Have it send an empty request with each exporter of OTLP, and wait for *within* seconds at most."""
        with contextlib.suppress(OSError):  # it has ended, and there is no answer
            self._questions.write(f"{within}\n")
            self._questions.flush()
        answer = self._answer(within + inside.WITHIN) or []
        return [Export(each["signal"], each["class"], each["result"], tuple(each["said"])) for each in answer]

    def _read(self) -> None:
        # Closed here: closing it while it is read would wait for whoever has the other end.
        with self._lines:
            for line in self._lines:
                if line.startswith(self._token):
                    self._answers.put(line.removeprefix(self._token))
        self._answers.put(None)

    def _answer(self, within: float) -> Any:
        try:
            line = self._answers.get(timeout=within)
        except queue.Empty:
            return None
        return None if line is None else json.loads(line)
