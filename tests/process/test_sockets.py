# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import psutil
import pytest

from fakes import FakeClock, denied
from otel_resinstr.process.sockets import Sockets
from otel_resinstr.semconv import (
    RESINSTR_PROCESS_CONNECTION_COUNT,
    RESINSTR_SNAT_PORT_LIMIT,
    RESINSTR_SNAT_PORT_USAGE,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the files")

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
STATES = {"established": "01", "syn_sent": "02", "time_wait": "06", "close_wait": "08", "listen": "0A"}


def hexed(address):
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host.strip("[]"))
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return f"{b''.join(words).hex().upper()}:{int(port):04X}"


class Net:
    """A container with connections, as its /proc tells them."""

    def __init__(self, root):
        self.root = root
        self.clock = FakeClock(1000.0)
        (root / "proc/self/net").mkdir(parents=True)
        (root / "proc/self/fd").mkdir()
        (root / "proc/self/fd/0").symlink_to("/dev/null")
        self.has()

    def has(self, *connections):
        """From, to, state, and the inode; 0 is nobody's."""
        tables = {"tcp": HEAD, "tcp6": HEAD}
        for number, (local, remote, state, inode) in enumerate(connections):
            table = "tcp6" if "[" in remote else "tcp"
            tables[table] += (
                f"{number:4}: {hexed(local)} {hexed(remote)} {STATES[state]} 00000000:00000000 00:00000000 00000000"
                f"     0        0 {inode} 1 0000000000000000 20 4 30 10 -1\n"
            )
        for name, text in tables.items():
            (self.root / "proc/self/net" / name).write_text(text)

    def owns(self, *inodes):
        for inode in inodes:
            (self.root / f"proc/self/fd/{inode}").symlink_to(f"socket:[{inode}]")

    def probe(self, ports=128):
        return Sockets(ports, self.root, process=denied, clock=self.clock)


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path)


def test_connections_by_remote_port_and_state(collect, net):
    """This process's only; those that came to a port on which it listens are not told apart; IPv6 as IPv4."""
    net.owns(11, 12, 13, 14, 15, 16)
    net.has(
        ("10.0.0.4:40001", "10.0.0.9:27017", "established", 11),
        ("10.0.0.4:40002", "10.0.0.9:27017", "established", 12),
        ("10.0.0.4:40003", "10.0.0.9:27017", "close_wait", 13),
        ("10.0.0.4:40004", "10.0.0.9:27017", "established", 99),
        ("0.0.0.0:8000", "0.0.0.0:0", "listen", 14),
        ("10.0.0.4:8000", "10.0.0.7:51000", "established", 15),
        ("[fd00::4]:40005", "[fd00::9]:443", "syn_sent", 16),
        ("10.0.0.4:40006", "10.0.0.9:27017", "time_wait", 0),
    )

    assert {
        RESINSTR_PROCESS_CONNECTION_COUNT.name: {
            ("established", "27017"): 2,
            ("close_wait", "27017"): 1,
            ("established", "inbound"): 1,
            ("syn_sent", "443"): 1,
        },
        RESINSTR_SNAT_PORT_LIMIT.name: {(): 128},
    } == collect(net.probe()).as_dict()


def test_what_is_gone_stays_with_a_zero(collect, start, net):
    """A dashboard must not show the last value for ever."""
    net.owns(11)
    net.has(("10.0.0.4:40001", "10.0.0.9:27017", "established", 11))
    start(net.probe())
    collect()
    net.has()

    assert {("established", "27017"): 0} == collect().points(RESINSTR_PROCESS_CONNECTION_COUNT)


def test_remote_ports_are_bounded(collect, net):
    """The first 32 have a series of their own."""
    net.owns(*range(100, 140))
    net.has(*(("10.0.0.4:40001", f"10.0.0.9:{port}", "established", port) for port in range(100, 140)))
    points = collect(net.probe()).points(RESINSTR_PROCESS_CONNECTION_COUNT)

    assert (33, 8) == (len(points), points["established", "_other"])


def usage(collected):
    """By remote end and age."""
    return collected.points(RESINSTR_SNAT_PORT_USAGE)


def test_the_outbound_ports_that_connections_take(collect, start, net):
    """To public addresses only, also of those that wind up, for 240 s after they were seen last."""
    net.owns(11, 12, 13, 14)
    net.has(
        ("10.0.0.4:40001", "20.50.1.2:443", "established", 11),
        ("10.0.0.4:40002", "20.50.1.2:443", "established", 12),
        ("10.0.0.4:40003", "10.0.0.9:27017", "established", 13),
        ("10.0.0.4:40004", "20.50.1.2:443", "time_wait", 0),
        ("10.0.0.4:40005", "20.50.1.2:443", "established", 99),  # another process's
        ("[2603:1020::4]:40006", "[2603:1030::9]:443", "established", 14),
        ("0.0.0.0:8000", "0.0.0.0:0", "listen", 98),
        ("10.0.0.4:8000", "20.60.7.7:50000", "time_wait", 0),  # somebody's who came to us
    )
    probe = net.probe()
    start(probe)
    first = usage(collect())
    net.has(("10.0.0.4:40001", "20.50.1.2:443", "established", 11))
    net.clock.now += 239.0
    within = usage(collect())
    net.clock.now += 2.0
    later = usage(collect())

    end, end6 = "20.50.1.2:443", "[2603:1030::9]:443"
    assert {(end, "new"): 3, (end6, "new"): 1} == first == within
    assert {(end, "kept"): 1, (end, "new"): 0, (end6, "new"): 0} == later


def test_connections_that_are_made_and_dropped_add_up(collect, start, net):
    """A client per call: one connection at a time, and each takes a port of its own for 240 s."""
    net.owns(11)
    probe = net.probe()
    start(probe)
    for number in range(200):
        net.has((f"10.0.0.4:{40000 + number}", "20.50.1.2:443", "established", 11))
        net.clock.now += 1.0
        probe._look()

    assert {("20.50.1.2:443", "new"): 200} == usage(collect())


def test_what_is_remembered_is_bounded(collect, start, net):
    """More than four thousand connections are more than any budget; remote ends beyond 32 share a series."""
    net.owns(11)
    probe = net.probe(ports=64)
    start(probe)
    for number in range(5):
        net.has(
            *(
                (f"10.0.0.4:{1000 + number * 1000 + each}", f"20.50.1.{each % 40}:443", "established", 11)
                for each in range(1000)
            )
        )
        net.clock.now += 1.0
        probe._look()
    collected = collect()
    points = usage(collected)

    assert (4096, 33, 64) == (sum(points.values()), len(points), collected.value(RESINSTR_SNAT_PORT_LIMIT))


def test_other_processes_connections_are_not_looked_into(net):
    """But for those that may be ours, since they are nobody's any more, and for the ports on which somebody listens."""
    net.owns(11)
    net.has(
        ("10.0.0.4:40001", "10.0.0.9:27017", "established", 11),
        ("10.0.0.4:40002", "10.0.0.9:27017", "established", 99),
        ("10.0.0.4:40003", "10.0.0.9:27017", "time_wait", 0),
        ("0.0.0.0:8000", "0.0.0.0:0", "listen", 99),
    )

    assert [40001, 40003, 8000] == [each.local[1] for each in net.probe()._connections()]


def test_one_collection_reads_the_connections_once(collect, start, net, monkeypatch):
    """Both metrics are made of one reading; one that was not asked for in time is not kept for the next."""
    net.owns(11)
    probe = net.probe()
    start(probe)
    reads = []
    connections = probe._connections
    monkeypatch.setattr(probe, "_connections", lambda: reads.append(1) or connections())
    collect()
    collect()
    together = len(reads)
    net.has(("10.0.0.4:40001", "20.50.1.2:443", "established", 11))
    probe._count()  # of a reader that wants nothing else
    net.has()
    net.clock.now += 10.0

    assert (2, []) == (together, probe._usage())


def test_a_table_that_is_too_large_gives_no_points(collect, start, net):
    """To go through a hundred thousand lines would cost more than they tell; nothing is made up of a part of them."""
    net.owns(11)
    net.has(("10.0.0.4:40001", "10.0.0.9:27017", "established", 11))
    tcp = net.root / "proc/self/net/tcp"
    tcp.write_text(tcp.read_text() + "\n" * (8 << 20))
    probe = net.probe()
    start(probe)
    probe._look()

    assert [RESINSTR_SNAT_PORT_LIMIT.name] == collect().names()


def test_lines_that_are_not_understood_are_left_out(collect, net):
    """A state of a kernel to come, and nonsense; a kernel without IPv6 has one table."""
    net.owns(11)
    net.has(("10.0.0.4:40001", "10.0.0.9:27017", "established", 11))
    tcp = net.root / "proc/self/net/tcp"
    line = tcp.read_text().splitlines()[1]
    odd = [line.replace(" 01 ", " 7F "), "nonsense", line.replace(":6989 ", ":port "), line[:40]]
    odd += [line.replace("0900000A", address) for address in ("", "-1", "09000000000A", "address.")]
    assert line not in odd
    tcp.write_text("\n".join([HEAD.rstrip(), line, *odd, ""]))
    (net.root / "proc/self/net/tcp6").unlink()

    assert {("established", "27017"): 1} == collect(net.probe()).points(RESINSTR_PROCESS_CONNECTION_COUNT)


def test_where_the_files_cannot_be_read_there_are_no_points(collect, start, net):
    """On Linux psutil would read the same files; only the budget, which is a setting, stays."""
    (net.root / "proc/self/net/tcp").unlink()
    probe = net.probe()
    start(probe)
    probe._look()

    assert [RESINSTR_SNAT_PORT_LIMIT.name] == collect().names()


@pytest.mark.parametrize("method", ["net_connections", "connections"])
def test_without_proc_psutil_is_asked(collect, tmp_path, method):
    """By its new name or the old one; a socket without a remote end is one too."""
    told = [
        SimpleNamespace(laddr=("10.0.0.4", 40001), raddr=("20.50.1.2", 443), status=psutil.CONN_ESTABLISHED),
        SimpleNamespace(laddr=("0.0.0.0", 8000), raddr=(), status=psutil.CONN_LISTEN),
        SimpleNamespace(laddr=("10.0.0.4", 40002), raddr=("garbage", 1), status="BOUND"),
    ]
    process = SimpleNamespace(**{method: lambda kind: told})
    collected = collect(Sockets(128, tmp_path, process=lambda: process))

    assert {("established", "443"): 1, ("closed", "1"): 1} == collected.points(
        RESINSTR_PROCESS_CONNECTION_COUNT
    )
    assert {("20.50.1.2:443", "new"): 1} == usage(collected)


def test_what_psutil_refuses_is_absent(collect, tmp_path):
    """No error, no zero."""
    assert [RESINSTR_SNAT_PORT_LIMIT.name] == collect(Sockets(128, tmp_path, process=denied)).names()


@linux_only
def test_real_connections(collect, start):
    """Two connections over loopback, each with both of its ends in this process, until they are closed."""
    start(Sockets(128))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        before = collect().points(RESINSTR_PROCESS_CONNECTION_COUNT)
        clients = [socket.create_connection(server.getsockname()) for _ in range(2)]
        accepted = [server.accept()[0] for _ in range(2)]
        open_ = collect().points(RESINSTR_PROCESS_CONNECTION_COUNT)
        for each in (*clients, *accepted):
            each.close()
        closed = collect()

    inbound = before.get(("established", "inbound"), 0)
    assert (2, 2) == (open_["established", port], open_["established", "inbound"] - inbound)
    points = closed.points(RESINSTR_PROCESS_CONNECTION_COUNT)
    assert (0, 0) == (points["established", port], points["established", "inbound"] - inbound)
    # No port is translated on loopback; what winds up of others on this machine may have one.
    assert [] == [end for end, _age in usage(closed) if end.startswith("127.")]


@linux_only
def test_a_descriptor_that_is_closed_meanwhile_is_no_error(collect, net):
    """Between the list of descriptors and the look at one of them."""
    (net.root / "proc/self/fd/7").mkdir()  # not a link, so that looking where it leads fails

    assert [RESINSTR_SNAT_PORT_LIMIT.name] == collect(net.probe()).names()
