# SPDX-License-Identifier: Apache-2.0
"""The Collector's configurations that come with the package, and what their heads say of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_resinstr.cli._files import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_OVERLAY = "add-"
_SECRET = re.compile("CONNECTION_STRING|HEADERS|PASSWORD")
_VARIABLE = re.compile(r"^#   ([A-Z][A-Z_]+) +(\S+) +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Variable:
    """A variable of the environment that a configuration reads."""

    name: str
    default: str
    says: str

    def value(self, environment: Mapping[str, str]) -> str:
        """What the Collector will take, for a person to read: a secret only shows whether it is set."""
        given = environment.get(self.name)
        if given is None:
            return self.default
        return "(set)" if _SECRET.search(self.name) else given


@dataclass(frozen=True)
class Configuration:
    """A file of ``collector/config/``. An overlay is no configuration by itself: it is laid over another one."""

    path: Path

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return self.path.stem

    @property
    def is_overlay(self) -> bool:
        """Whether it has to be laid over another one."""
        return self.name.startswith(_OVERLAY)

    @property
    def text(self) -> str:
        """The file."""
        return self.path.read_text(encoding="utf-8")

    @property
    def _head(self) -> str:
        return self.text.partition("\n\n")[0]

    @property
    def says(self) -> str:
        """What it is for, in a sentence or two."""
        _license, about, *_ = re.split(r"^#\n", self._head, flags=re.MULTILINE)
        return re.sub(r"\s*\n# |\s*\n$", " ", about.removeprefix("# ")).strip()

    @property
    def variables(self) -> list[Variable]:
        """What it reads from the environment."""
        return [Variable(*found) for found in _VARIABLE.findall(self._head)]


def configurations() -> dict[str, Configuration]:
    """All of them, by name."""
    paths = sorted(shipped("collector/config").glob("*.yaml"))
    return {path.stem: Configuration(path) for path in paths}


def variables(of: Iterable[Configuration]) -> Iterator[Variable]:
    """The variables of several configurations, each once."""
    return iter({variable.name: variable for one in of for variable in one.variables}.values())
