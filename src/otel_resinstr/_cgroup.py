# SPDX-License-Identifier: Apache-2.0
"""The memory and the CPU time that control groups leave to this process.

A limit binds everything below it, so the smallest one counts that the process's own cgroup or any of its ancestors
has. Version 1 of cgroups keeps a tree for each controller, version 2 keeps one for all, and a hybrid machine has
both, so that each controller is looked for by itself.

https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/index.html and
https://man7.org/linux/man-pages/man7/cgroups.7.html define what is read here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from otel_resinstr._kernel import read

if TYPE_CHECKING:
    from collections.abc import Iterator

# Version 1 has no word for "no limit" but the largest number of bytes that it counts, rounded down to whole pages;
# the size of a page varies.
_UNLIMITED = 1 << 62

_MEMORY = "memory"
_CPU = "cpu"


class _Mount(NamedTuple):
    """A mounted tree of cgroups: *root* is the cgroup that is seen at *point*."""

    root: str
    point: str
    v2: bool
    options: frozenset[str]


class _Place(NamedTuple):
    """Where the limits of one controller are: the directory of the process's cgroup, then those above it."""

    directories: tuple[str, ...]
    v2: bool


class Cgroup:
    """The limits of the cgroups that the process is in. Unknown, or no limit, is None; nothing here raises.

    Cost: one read for the membership and one for each ancestor at each question. Where the files are is found out
    again only when the membership has changed: a process may be moved, and a forked child be put elsewhere.
    """

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        """Read below *root*."""
        self._root = os.fspath(root).rstrip("/")
        # One value, so that two threads that ask at the same time see a membership with its own places.
        self._found: tuple[str, dict[str, _Place]] = ("", {})

    def memory_limit(self) -> int | None:
        """The smallest limit of memory in bytes."""
        place = self._place(_MEMORY)
        if place is None:
            return None
        name = "memory.max" if place.v2 else "memory.limit_in_bytes"
        limits = (_number(_read(f"{directory}/{name}")) for directory in place.directories)
        return min((limit for limit in limits if limit is not None), default=None)

    def cpu_limit(self) -> float | None:
        """The smallest quota of CPU time, in CPUs: 1.5 is 150 ms in each 100 ms."""
        place = self._place(_CPU)
        if place is None:
            return None
        limits = (_quota(directory, v2=place.v2) for directory in place.directories)
        return min((limit for limit in limits if limit is not None), default=None)

    def _place(self, controller: str) -> _Place | None:
        membership = _read(f"{self._root}/proc/self/cgroup") or ""
        known, places = self._found
        if membership != known:
            places = dict(self._find(membership))
            self._found = (membership, places)
        return places.get(controller)

    def _find(self, membership: str) -> Iterator[tuple[str, _Place]]:
        mounts = list(_mounts(_read(f"{self._root}/proc/self/mountinfo") or ""))
        v1, v2 = _paths(membership)
        for controller in (_MEMORY, _CPU):
            if controller in v1:
                path = v1[controller]
                usable = [mount for mount in mounts if not mount.v2 and controller in mount.options]
            else:
                path = v2
                usable = [mount for mount in mounts if mount.v2]
            # What is mounted may begin below the process's cgroup, or beside it (the trees of other containers): only
            # a mount that shows it helps, and best is the one that shows most of its ancestors.
            shown = [(below, mount) for mount in usable if (below := _below(path, mount.root)) is not None]
            if shown:
                below, mount = min(shown, key=lambda each: len(each[1].root))
                point = f"{self._root}{mount.point}".rstrip("/")
                yield controller, _Place(tuple(point + part for part in _upwards(below)), mount.v2)


def _below(path: str, root: str) -> str | None:
    """Where *path* is below *root*: empty for itself, None if it is elsewhere or cannot be said.

    Outside of the cgroup namespace of the process both are shown as ``/..`` and so on; what is above has no name.
    """
    root = root.rstrip("/")
    if not path.startswith("/") or not f"{path}/".startswith(f"{root}/"):
        return None
    below = path[len(root) :].rstrip("/")
    return None if ".." in below.split("/") else below


def _upwards(below: str) -> Iterator[str]:
    while below:
        yield below
        below = below.rpartition("/")[0]
    yield ""


def _paths(membership: str) -> tuple[dict[str, str], str]:
    """The process's cgroup in the tree of each controller of version 1, and in that of version 2."""
    v1: dict[str, str] = {}
    v2 = ""
    for line in membership.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers:
            v1.update(dict.fromkeys(controllers.split(","), path))
        elif number == "0":
            v2 = path
    return v1, v2


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    """The mounts of cgroups; man 5 proc_pid_mountinfo has the fields."""
    for line in mountinfo.split("\n"):
        where, separator, what = line.partition(" - ")
        fields = where.split(" ")
        kind, _, rest = what.partition(" ")
        if separator and len(fields) > 4 and kind in ("cgroup", "cgroup2"):  # noqa: PLR2004  root and point are 3 and 4
            options = frozenset(rest.rpartition(" ")[2].split(","))
            yield _Mount(_unescaped(fields[3]), _unescaped(fields[4]), kind == "cgroup2", options)


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _quota(directory: str, *, v2: bool) -> float | None:
    if v2:
        quota_text, _, period_text = (_read(f"{directory}/cpu.max") or "").partition(" ")
    else:
        quota_text = _read(f"{directory}/cpu.cfs_quota_us") or ""
        period_text = _read(f"{directory}/cpu.cfs_period_us") or ""
    quota, period = _number(quota_text), _number(period_text)
    return quota / period if quota is not None and period is not None else None


def _number(text: str | None) -> int | None:
    """A positive number; None for the words and the numbers that mean that there is no limit."""
    try:
        number = int(text or "")
    except ValueError:
        return None
    return number if 0 < number < _UNLIMITED else None


def _read(path: str) -> str | None:
    try:
        return os.fsdecode(read(path))
    except (OSError, ValueError):  # ValueError: a path that no system takes
        return None
