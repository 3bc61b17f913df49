# SPDX-License-Identifier: Apache-2.0
"""What a command line starts: with which interpreter, under which launcher, and which server. Nothing is run."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCHER = "opentelemetry-instrument"

_PYTHON = re.compile(r"pypy3?|python(\d(\.\d+)?t?)?")
_FLAGS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_UVICORN_WORKER = re.compile(r"uvicorn")


@dataclass(frozen=True)
class Server:
    """A server that makes processes of its own; what the command line does not say is None."""

    name: str
    workers: int | None = None
    worker_class: str | None = None
    preload: bool = False
    reload: bool = False
    unread: str | None = None
    """A file of settings that was not understood."""

    @property
    def runs_uvicorn(self) -> bool:
        """Whether requests are served by uvicorn, which ends by SIGTERM."""
        return self.name == "uvicorn" or bool(_UVICORN_WORKER.search(self.worker_class or ""))

    @property
    def several(self) -> bool:
        """Whether there are several processes."""
        return self.name == "gunicorn" or (self.workers or 1) > 1 or self.reload

    @property
    def model(self) -> str:
        """How its processes come to be, for a person."""
        if self.name == "gunicorn":
            kind = f" of {self.worker_class}" if self.worker_class else ""
            when = "after the application is loaded" if self.preload else "each loads the application"
            return f"gunicorn forks {_counted(self.workers or 1)}{kind}, {when}"
        if self.name == "uvicorn" and self.several:
            return f"uvicorn spawns {_counted(self.workers or 1)}, each of which starts anew"
        return f"{self.name}: one process"


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


@dataclass(frozen=True)
class Command:
    """A command line, as far as it says what will be instrumented."""

    name: str
    """Of the program, without its arguments: these may have secrets."""
    launcher: Path | None
    launcher_options: tuple[str, ...] = ()
    interpreter: Path | None = None
    flags: tuple[str, ...] = ()
    """Of the interpreter."""
    server: Server | None = None
    found: bool = True
    """Whether there is such a program."""


def recognise(words: Sequence[str], environ: Mapping[str, str], folder: Path) -> Command:
    """What *words* start in *folder*; without words it is this interpreter that is meant."""
    launcher_name, options, words = _without_launcher(words)
    path = environ.get("PATH", os.defpath)
    if not words:
        return Command(
            "", _launcher(launcher_name, path, Path(sys.executable)), options, Path(sys.executable)
        )
    program = _which(words[0], path, folder)
    if program is None:
        name = words[0].partition("=")[0]  # a variable of a shell's may hold a secret
        return Command(name, _launcher(launcher_name, path, None), options, found=False)
    name, rest = program.name.removesuffix(".exe"), list(words[1:])
    interpreter, flags = (program, []) if _PYTHON.fullmatch(name) else _shebang(program, path)
    if interpreter == program:
        flags, name, rest = _run_by_python(rest)
    return Command(
        Path(name).name,
        _launcher(launcher_name, path, interpreter),
        options,
        interpreter,
        tuple(flags),
        _server(Path(name).name, rest, environ, folder),
    )


def _without_launcher(words: Sequence[str]) -> tuple[str | None, tuple[str, ...], Sequence[str]]:
    """The launcher that *words* begin with, its options, each of which takes a value, and what it starts."""
    if not words or Path(words[0]).name.removesuffix(".exe") != LAUNCHER:
        return None, (), words
    at = 1
    while at < len(words) and words[at].startswith("--"):
        at += 1 if "=" in words[at] else 2
    return words[0], tuple(words[1:at]), words[at:]


def _launcher(name: str | None, path: str, interpreter: Path | None) -> Path | None:
    """The launcher that would run: the one named, the first on the PATH, or the one beside the interpreter."""
    found = shutil.which(name or LAUNCHER, path=path)
    if found is None and name is None and interpreter is not None:
        found = shutil.which(interpreter.with_name(LAUNCHER))
    return Path(found).absolute() if found else None


def _which(name: str, path: str, folder: Path) -> Path | None:
    found = shutil.which(str(folder / name) if os.sep in name else name, path=path)
    return Path(found).absolute() if found else None


def _shebang(program: Path, path: str) -> tuple[Path | None, list[str]]:
    """The Python that runs the script *program*, and its flags; None if it is no script of Python's."""
    try:
        with program.open("rb") as file:
            first, second = (os.fsdecode(file.readline(1024)).strip() for _ in range(2))
    except OSError:
        return None, []
    if not first.startswith("#!"):
        return None, []
    line = first.removeprefix("#!")
    # Installers write a script of the shell where the path is too long for the kernel, or has a space.
    through_shell = re.match(r"""'''exec' (?:"([^"]+)"|(\S+)) "\$0" "\$@\"""", second)
    if through_shell:
        line = shlex.quote(through_shell[1] or through_shell[2])
    words = _split(line)
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if word != "-S"]
        found = shutil.which(words[0], path=path) if words else None
        words[:1] = [found] if found else []
    if not words or not _PYTHON.fullmatch(Path(words[0]).name.removesuffix(".exe")):
        return None, []
    return Path(words[0]), words[1:]


def _run_by_python(words: list[str]) -> tuple[list[str], str, list[str]]:
    """The flags of the interpreter, what it runs, a module or a file, and the arguments of that."""
    flags: list[str] = []
    while words and words[0].startswith("-"):
        flag, words = words[0], words[1:]
        if flag in ("-m", "-c", "-"):
            return flags, words[0] if flag == "-m" and words else "python", words[1:]
        flags.append(flag)
        if flag in _FLAGS_WITH_VALUE:
            words = words[1:]
    return flags, words[0] if words else "python", words[1:]


def _server(name: str, words: list[str], environ: Mapping[str, str], folder: Path) -> Server | None:
    concurrency = _whole(environ.get("WEB_CONCURRENCY"))
    if name == "uvicorn":
        told = _options(words, flags=("--reload",), values=("--workers",))
        return Server(name, _whole(told.get("workers")) or concurrency, reload=bool(told.get("reload")))
    if name != "gunicorn":
        return None
    # Later ones win: https://docs.gunicorn.org/en/stable/configure.html
    by_line = _gunicorn_options(_split(environ.get("GUNICORN_CMD_ARGS", "")))
    by_line.update(_gunicorn_options(words))
    file = folder / str(by_line.get("config") or "gunicorn.conf.py").removeprefix("file:")
    by_file = _assigned(file) if file.exists() else {}
    told = {**(by_file or {}), **by_line}
    return Server(
        name,
        _whole(told.get("workers")) or concurrency,
        None if told.get("worker_class") is None else str(told["worker_class"]),
        preload=bool(told.get("preload") or told.get("preload_app")),
        reload=bool(told.get("reload")),
        unread=str(file) if by_file is None or ("config" in by_line and not file.exists()) else None,
    )


def _gunicorn_options(words: list[str]) -> dict[str, Any]:
    return _options(
        words,
        flags=("--preload", "--reload"),
        values=("-w/--workers", "-k/--worker-class", "-c/--config"),
    )


def _options(words: list[str], flags: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    """Those options in *words* that are asked for; what cannot be understood is not there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in flags:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS)
    for value in values:
        parser.add_argument(*value.split("/"), default=argparse.SUPPRESS)
    try:
        return vars(parser.parse_known_args(words)[0])
    except argparse.ArgumentError:
        return {}


def _assigned(file: Path) -> dict[str, Any] | None:
    """What a file of settings assigns that can be read without running it; None if it makes no sense."""
    found: dict[str, Any] = {}
    try:
        statements = ast.parse(file.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            found.update(dict.fromkeys(names, statement.value.value))
    return found


def _split(text: str) -> list[str]:
    """The words of *text*, as a shell has them; none if its quotes make no sense."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _whole(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None
