# SPDX-License-Identifier: Apache-2.0
"""Programs to start: fakes written in a few lines, and the real ones where they are there."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_resinstr.cli import _collector
from otel_resinstr.cli._programs import Programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's variables nor a proxy change what a test does."""
    for name in os.environ:
        if name.startswith(("OTEL_", "OTELCOL_")) and name not in ("OTELCOL_BIN", "OTELCOL_BUILD_ROOT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


_USUAL = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


@pytest.fixture(autouse=True)
def _signals_are_as_they_were() -> Iterator[None]:
    """What is done on a signal is the usual thing, also under nohup or in the background, and is given back."""
    former = {number: signal.signal(number, usual) for number, usual in _USUAL.items()}
    yield
    after = {number: signal.getsignal(number) for number in _USUAL}
    for number, handler in former.items():
        signal.signal(number, handler)
    assert after == _USUAL


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Ends what a test starts."""
    with Programs() as programs:
        yield programs


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a program of its own: its name, and its lines of Python."""

    def write(name: str, code: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!{sys.executable} -S\n{textwrap.dedent(code)}")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """A real Collector: the one that the demo would find."""
    found = _collector.find(None, os.environ)
    if found is None:
        reason = "NO COLLECTOR: run `make collector`, or set OTELCOL_BIN"
        if "CI" in os.environ:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a server that the demo's own code has started."""
    pytest.importorskip("pymongo")
    from otel_resinstr.cli import _mongodb

    with Programs() as programs:
        yield _mongodb.start_server(programs, tmp_path_factory.mktemp("mongodb"))
