# SPDX-License-Identifier: Apache-2.0
"""The cgroups that the process is in: the memory and the CPU time that they leave to it, and where to ask them.

A limit binds everything below it, so the smallest one counts that the process's own cgroup or any of its ancestors
has. Version 1 of cgroups keeps a tree for each controller, version 2 keeps one for all, and a hybrid machine has
both, so that each controller is looked for by itself.

https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/index.html and
https://man7.org/linux/man-pages/man7/cgroups.7.html define what is read here.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from otel_resinstr._kernel import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Version 1 has no word for "no limit" but the largest number of bytes that it counts, rounded down to whole pages;
# the size of a page varies.
_UNLIMITED = 1 << 62

# The process, or the machine, has none left: nothing can be opened for the moment, and that says nothing of any file.
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_MEMORY = "memory"
_CPU = "cpu"
_UNIFIED = ""  # all of version 2


class _Mount(NamedTuple):
    """A mounted tree of cgroups: *root* is the cgroup that is seen at *point*."""

    root: str
    point: str
    v2: bool
    options: frozenset[str]


class _Place(NamedTuple):
    """Where the limits of one controller are: the directory of the process's cgroup, then those above it.

    The *root* of the whole tree is not a group of processes but the machine, and no limit is set there.
    """

    directories: tuple[str, ...]
    v2: bool
    root: bool


class Group(NamedTuple):
    """The cgroup that says how a process fares: that whose limit binds it, else its *own*."""

    directory: str
    v2: bool
    limit: float | None
    own: str

    @property
    def where(self) -> tuple[str, str]:
        """Where counters are read: with those of another place they cannot be compared."""
        return self.directory, self.own


class Cgroup:
    """The limits of the cgroups that the process is in. Unknown, or no limit, is None.

    Where nothing can be opened for the moment, since no descriptor is left, what was known before is still told; only
    where nothing was, OSError is raised: a limit that cannot be read is not "no limit".

    Cost: one read for the membership and one for each ancestor at each question. Where the files are is found out
    again only when the membership has changed: a process may be moved, and a forked child be put elsewhere.
    """

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        """Read below *root*."""
        self._root = os.fspath(root).rstrip("/")
        # One value, so that two threads that ask at the same time see a membership with its own places.
        self._found: tuple[str, dict[str, _Place]] = ("", {})
        self._told: dict[str, Group | None] = {}

    def memory_limit(self) -> int | None:
        """The smallest limit of memory in bytes."""
        group = self.memory()
        return None if group is None or group.limit is None else int(group.limit)

    def cpu_limit(self) -> float | None:
        """The smallest quota of CPU time, in CPUs: 1.5 is 150 ms in each 100 ms."""
        group = self.cpu()
        return None if group is None else group.limit

    def memory(self) -> Group | None:
        """The cgroup with the smallest limit of memory, in bytes; without one the process's own.

        None where there is neither: the process is in the root of the tree, which is the machine, or nothing is known.
        """
        return self._last_known(_MEMORY, lambda place: _binding(place, _memory_limit))

    def cpu(self) -> Group | None:
        """The cgroup with the smallest quota of CPU time, in CPUs; without one the process's own. None as above."""
        return self._last_known(_CPU, lambda place: _binding(place, _quota))

    def own(self) -> Group | None:
        """The process's own cgroup in the tree of version 2, which has its pressure. None as above."""
        return self._last_known(_UNIFIED, _own)

    def _last_known(self, controller: str, find: Callable[[_Place], Group | None]) -> Group | None:
        try:
            place = self._place(controller)
            group = None if place is None else find(place)
        except OSError:
            if controller not in self._told:
                raise
            return self._told[controller]
        self._told[controller] = group
        return group

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
        for controller in (_MEMORY, _CPU, _UNIFIED):
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
                directories = tuple(point + part for part in _upwards(below))
                yield controller, _Place(directories, mount.v2, _is_root(directories[0], v2=mount.v2))


def _binding(place: _Place, limit_of: Callable[[str, bool], float | None]) -> Group | None:
    groups = [
        Group(each, place.v2, limit_of(each, place.v2), place.directories[0]) for each in place.directories
    ]
    limited = [group for group in groups if group.limit is not None]
    if limited:
        return min(limited, key=lambda group: group.limit or 0)
    return None if place.root else groups[0]


def _own(place: _Place) -> Group | None:
    own = place.directories[0]
    return None if place.root else Group(own, v2=True, limit=None, own=own)


def _is_root(directory: str, *, v2: bool) -> bool:
    """Whether *directory* is the root of a whole tree, and not of what a container is shown of it.

    The kernel makes ``cgroup.events`` in all directories but the root's, and ``release_agent`` in that only.
    """
    if v2:
        return not os.path.exists(f"{directory}/cgroup.events")  # noqa: PTH110  never raises
    return os.path.exists(f"{directory}/release_agent")  # noqa: PTH110  as above


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


def _memory_limit(directory: str, v2: bool) -> int | None:  # noqa: FBT001  the two shapes of `_binding`
    return _number(_read(f"{directory}/{'memory.max' if v2 else 'memory.limit_in_bytes'}"))


def _quota(directory: str, v2: bool) -> float | None:  # noqa: FBT001  as above
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
    except OSError as error:
        if error.errno in _NONE_LEFT:
            raise
        return None
    except ValueError:  # a path that no system takes
        return None
