# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import shutil
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import MACHINES, run
from otel_resinstr._cgroup import Cgroup

MIB = 1 << 20
V2 = "30 22 0:26 {root} {point} rw,relatime - cgroup2 cgroup rw,nsdelegate\n"
V1_MEMORY = "33 30 0:29 {root} {point} rw,relatime shared:16 - cgroup cgroup rw,memory\n"


def limits(root):
    cgroup = Cgroup(root)
    return cgroup.memory_limit(), cgroup.cpu_limit()


def write(root, files):
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def machine(root, *, cgroup, mountinfo, **limits):
    """A machine: the membership, the mounts, and limits by what they are called below /sys/fs/cgroup."""
    write(root, {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo})
    write(root, {f"sys/fs/cgroup/{path}": text for path, text in limits.items()})
    return root


@pytest.fixture
def copy(tmp_path):
    """A copy of one of the machines, to be changed."""

    def copy(name):
        return shutil.copytree(MACHINES / name, tmp_path / name)

    return copy


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kubernetes_v2", (512 * MIB, 1.5)),  # in a cgroup namespace: our cgroup is what is mounted
        ("systemd_v2", (1024 * MIB, 0.5)),  # both limits are those of an ancestor, and not of the nearest one
        ("docker_v1", (256 * MIB, 2.0)),  # no namespace: only our cgroup is mounted, and another container's
        ("desktop_v1", (None, None)),  # the largest number there is, and -1
        ("hybrid", (768 * MIB, 3.0)),  # memory in version 1, CPU in version 2
    ],
)
def test_the_smallest_limit_of_the_cgroup_and_its_ancestors_binds(name, expected):
    """Version 1, version 2 and both together, with and without a cgroup namespace, give the limit that binds."""
    assert expected == limits(MACHINES / name)


def test_the_limits_of_this_machine_are_plausible():
    """Whatever the machine is that runs the tests, its limits are read without an error."""
    memory, cpus = limits("/")

    assert memory is None or memory > MIB
    assert cpus is None or cpus > 0


@pytest.mark.parametrize("page", [4096, 16384, 65536])
def test_unlimited_memory_of_version_1_is_no_limit(copy, page):
    """Version 1 says "unlimited" with the largest whole number of pages, whatever their size."""
    root = copy("docker_v1")
    unlimited = (1 << 63) // page * page - page
    write(root, {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{unlimited}\n"})

    assert Cgroup(root).memory_limit() is None


def test_a_changed_limit_is_seen_at_once(copy):
    """The places are remembered, the limits are not: a container can be resized."""
    root = copy("kubernetes_v2")
    cgroup = Cgroup(root)
    before = cgroup.memory_limit(), cgroup.cpu_limit()
    write(root, {"sys/fs/cgroup/memory.max": f"{64 * MIB}\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})

    assert ((512 * MIB, 1.5), (64 * MIB, None)) == (before, (cgroup.memory_limit(), cgroup.cpu_limit()))


def test_the_places_are_found_once(copy):
    """The list of mounts, which may be long, is not read again while the process stays where it is."""
    root = copy("kubernetes_v2")
    cgroup = Cgroup(root)
    before = cgroup.memory_limit()
    (root / "proc/self/mountinfo").unlink()

    assert (512 * MIB, 512 * MIB) == (before, cgroup.memory_limit())


def test_the_places_are_found_again_in_another_cgroup(copy):
    """A process that was moved, or a child that was put elsewhere, has the limits of its new place."""
    root = copy("systemd_v2")
    cgroup = Cgroup(root)
    before = cgroup.memory_limit()
    write(root, {"proc/self/cgroup": "0::/batch\n", "sys/fs/cgroup/batch/memory.max": f"{32 * MIB}\n"})

    assert (1024 * MIB, 32 * MIB) == (before, cgroup.memory_limit())


def test_a_limit_that_appears_or_vanishes_is_followed(copy):
    """Files come and go with the controllers that are switched on above: one that is missing limits nothing."""
    root = copy("kubernetes_v2")
    cgroup = Cgroup(root)
    file = root / "sys/fs/cgroup/memory.max"
    seen = [cgroup.memory_limit()]
    file.unlink()
    seen.append(cgroup.memory_limit())
    file.write_text("1048576\n")
    seen.append(cgroup.memory_limit())

    assert [512 * MIB, None, MIB] == seen


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/", "/", MIB),
        ("/app", "/", MIB),  # what is missing on the way up is passed over
        ("/../../app", "/../..", MIB),  # the mount shows what is outside of the namespace
        ("/../..", "/", None),  # the process is outside of all that is mounted
        ("/../../..", "/../..", None),  # still further outside
        ("/..", "/../..", None),  # below what is mounted, but nobody says under which name
        ("/", "/..", None),
        ("/docker/one", "/docker/other", None),
        ("/docker/one", "/docker/on", None),
        ("", "/", None),
    ],
)
def test_only_a_mount_that_shows_the_own_cgroup_counts(tmp_path, path, root, expected):
    """The limit of a cgroup that the process is not in does not bind it, even if it is all that can be seen."""
    machine(
        tmp_path,
        cgroup=f"0::{path}\n",
        mountinfo=V2.format(root=root, point="/sys/fs/cgroup"),
        **{"memory.max": f"{MIB}\n", "app/other/memory.max": "1\n"},
    )

    assert expected == Cgroup(tmp_path).memory_limit()


def test_the_mount_that_shows_most_ancestors_is_taken(tmp_path):
    """A cgroup that is mounted twice is read where the limits above it can be seen too."""
    machine(
        tmp_path,
        cgroup="0::/pod/app\n",
        mountinfo=V2.format(root="/pod/app", point="/run/own")
        + V2.format(root="/", point="/sys/fs/cgroup")
        + V2.format(root="/pod", point="/run/pod"),
        **{"pod/memory.max": f"{MIB}\n", "pod/app/memory.max": f"{2 * MIB}\n"},
    )

    assert Cgroup(tmp_path).memory_limit() == MIB


def test_a_mount_point_may_hold_what_separates_fields(tmp_path):
    """A space in a mount point is written as an octal number."""
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n",
            "proc/self/mountinfo": V1_MEMORY.format(root="/", point="/sys/fs/c\\040group"),
            "sys/fs/c group/memory.limit_in_bytes": f"{MIB}\n",
        },
    )

    assert limits(tmp_path) == (MIB, None)


def test_a_file_system_mounted_at_the_root_is_found(tmp_path):
    """The mount point may be the root directory itself."""
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/app\n",
            "proc/self/mountinfo": V2.format(root="/", point="/"),
            "app/memory.max": f"{MIB}\n",
        },
    )

    assert Cgroup(tmp_path).memory_limit() == MIB


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n"},
        {"proc/self/cgroup": "", "proc/self/mountinfo": ""},
        {
            "proc/self/cgroup": "7:pids:/\n",
            "proc/self/mountinfo": V2.format(root="/", point="/sys/fs/cgroup"),
        },
        {
            "proc/self/cgroup": "4:memory:/\n",
            "proc/self/mountinfo": V2.format(root="/", point="/sys/fs/cgroup"),
        },
        {"proc/self/cgroup": "nonsense\n0\n:::\n", "proc/self/mountinfo": "nonsense - cgroup2\n - \n30 22\n"},
        {
            "proc/self/cgroup": "0::/a\0b\n",
            "proc/self/mountinfo": V2.format(root="/", point="/sys/fs/cgroup"),
        },
        {"proc/self/cgroup/directory": "", "proc/self/mountinfo/directory": ""},
    ],
)
def test_what_cannot_be_found_is_no_limit(tmp_path, files):
    """Nothing mounted, another system, files that are missing, unreadable or not understood: None, no error."""
    write(tmp_path, files)

    assert limits(tmp_path) == (None, None)


@pytest.mark.parametrize(
    "text", ["", "max\n", "-1\n", "0\n", "lots\n", "1 2 3\n", "\n", "9" * 400, "9" * 5000]
)
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("kubernetes_v2", ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/cpu.max"]),
        (
            "docker_v1",
            ["sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us"],
        ),
    ],
)
def test_what_is_not_a_positive_number_is_no_limit(copy, name, files, text):
    """A limit that is not understood limits nothing, and a share of nothing is never computed."""
    root = copy(name)
    write(root, dict.fromkeys(files, text))

    assert limits(root) == (None, None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.sampled_from("0:/.cgroupmey2, -\\1max\n\0ä\ud800")), min_size=4, max_size=4))
def test_no_content_of_the_files_raises(tmp_path, texts):
    """Whatever stands in the four kinds of files, an answer comes back."""
    paths = ("proc/self/cgroup", "proc/self/mountinfo", "sys/fs/cgroup/memory.max", "sys/fs/cgroup/cpu.max")
    starts = ("0::/", V2.format(root="/", point="/sys/fs/cgroup"), "", "")
    for path, text, start in zip(paths, texts, starts, strict=True):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((start + text).encode(errors="surrogatepass"))

    memory, cpus = limits(tmp_path)

    assert memory is None or memory > 0
    assert cpus is None or cpus > 0


@pytest.fixture
def nothing_left(monkeypatch):
    """Nothing can be opened any more, for the reason that is given."""

    def nothing_left(number):
        def refuse(*_args, **_kwargs):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "open", refuse)

    return nothing_left


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_limit_that_cannot_be_opened_is_not_no_limit(nothing_left, monkeypatch, number):
    """While no descriptor is left what was known is told, and where nothing was that is an error; later it is read."""
    known, unknown = Cgroup(MACHINES / "kubernetes_v2"), Cgroup(MACHINES / "kubernetes_v2")
    before = (known.memory(), known.cpu(), known.own())
    nothing_left(number)
    meanwhile = (known.memory(), known.cpu(), known.own())
    for ask in (unknown.memory, unknown.cpu, unknown.own, unknown.memory_limit, unknown.cpu_limit):
        with pytest.raises(OSError, match=os.strerror(number)):
            ask()
    monkeypatch.undo()

    assert before == meanwhile == (unknown.memory(), unknown.cpu(), unknown.own())
    assert (512 * MIB, 1.5) == (before[0].limit, before[1].limit)


def test_a_file_that_may_not_be_read_has_no_limit(nothing_left):
    """As one that is not there: what a sandbox forbids stays forbidden."""
    cgroup = Cgroup(MACHINES / "kubernetes_v2")
    nothing_left(errno.EACCES)

    assert (None, None) == (cgroup.memory(), cgroup.cpu())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_without_descriptors_no_wrong_limit_is_told():
    """A process that has used all of its descriptors up has the limits that it had, or tells none."""
    before, meanwhile, unknown = run(f"""
import resource

def limits(process, host):
    container = host.container()
    return process.memory_limit(), process.cpus(), container and container.limit

class Clock:
    now = 1000.0

    def __call__(self):
        return self.now

clock = Clock()
machine = {os.fspath(MACHINES / "kubernetes_v2")!r}
process, host = ProcessReading(machine, clock=clock), HostReading(machine, clock=clock)
before = limits(process, host)
first = ProcessReading(machine, clock=clock), HostReading(machine, clock=clock)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
clock.now += 11.0
meanwhile = limits(process, host)
unknown = limits(*first)
for descriptor in held:
    os.close(descriptor)
print(json.dumps((before, meanwhile, unknown)))
""")

    limit, cpus, _ = before
    assert (512 * MIB, 512 * MIB) == (limit, before[2])
    assert [limit, cpus, None] == meanwhile  # what the container uses cannot be read
    assert [None, None, None] == unknown
