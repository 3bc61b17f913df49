# SPDX-License-Identifier: Apache-2.0
"""What `resinstr demo` and `resinstr report` print."""

from __future__ import annotations

import io
import json

import pytest

pytest.importorskip("rich")

from rich.console import Console

from otel_resinstr.cli._phases import PHASES, Run
from otel_resinstr.cli._report import Result, as_json, show, troubles
from otel_resinstr.explain.figures import Figures
from otel_resinstr.explain.verdict import verdict

SHARED, CLOSED = PHASES[:2]
HEALTHY = Figures(
    seconds=8.0,
    check_outs=62,
    threads_peak=9,
    driver_threads_peak=3,
    sockets_peak=3,
    pool_connections_peak=1,
    descriptors_peak=11,
    memory_first=55_600_000,
    memory_peak=55_700_000,
    clients_created=1,
    clients_closed=0,
    clients_dropped=0,
    clients_peak=1,
    clients_halfway=1,
    cpu_per_second=0.019,
    connect_time=0.0041,
    loop_delay_max=0.0022,
)
CHURN = Figures(
    seconds=8.0,
    check_outs=2400,
    clients_created=1200,
    clients_closed=1200,
    clients_dropped=0,
    client_site="orders.py:41 load",
    loop_delay_max=0.5,
    loop_site="orders.py:7 Orders.wait_for_the_next_one",
)


def result(phase=SHARED, found=HEALTHY, exit_code=0, last_words="", peak=3, accepted=3):
    run = Run(phase, exit_code, last_words, peak, accepted)
    return Result(phase.title, found, None if found is None else verdict(found), run)


def shown(*results, unreadable=0, **console):
    output = io.StringIO()
    show(Console(file=output, highlight=False, **console), results, unreadable)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def test_a_table_and_a_paragraph_for_each_phase():
    """All of it, into a file. What did not arrive is a question mark."""
    expected = """\
                                  one shared  a client per
                                      client  call, closed

Commands, close() included                62         2,400
Clients made                               1         1,200
  closed                                   0         1,200
  dropped without close()                  0             0
  open at a time, at most                  1             ?

Sockets at most, client sees               3             ?
  of them in pools                         1             ?
Sockets at most, server sees *             3             ?
Connections server accepted *              3             ?
Time to connect, mean, ms                4.1             ?

Threads at most                            9             ?
  of them pymongo's                        3             ?
File descriptors at most                  11             ?
Memory (RSS) at most, MiB               53.1             ?
  more than at the start                +0.1             ?
CPU, ms per second                        19             ?

Event loop late at worst, ms             2.2         500.0

Line to look at                               orders.py:41
                                                      load
                                               orders.py:7
                                             Orders.wait_f
                                             or_the_next_o
                                           -            ne

All of it is what arrived over OTLP, except * = serverStatus().connections, asked by the demo,
beyond those that were there before the phase. ? = did not arrive.

one shared client
  No suspect fits: 1 client for 62 commands, no more than 3 driver threads, no more than 3 sockets
  and an event loop that was never later than 2.2 ms.

a client per call, closed
  orders.py:41 load constructs client after client: 1,200 (150.0 a second), 1,200 closed; they do
  not pile up, so only the rate gives it away.
  orders.py:7 Orders.wait_for_the_next_one holds the event loop, for up to 500 ms at a time in 8.00
  s; whatever else is to run on that loop waits as long.
  -> Construct one client when the process starts, keep it, and share it: it is a pool, and safe in
  threads.
  -> Await this call (AsyncMongoClient), or hand it to a thread (asyncio.to_thread).
  Not judged: what rests on mongodb.client.active_instance.count, which did not arrive."""

    assert expected == shown(result(), result(CLOSED, CHURN, peak=None, accepted=None))


def test_a_narrow_terminal_gets_narrow_lines():
    """Nothing is cut off."""
    lines = shown(result(), width=50, force_terminal=True, color_system=None).splitlines()

    assert 50 >= max(map(len, lines))
    assert any("serverStatus().connections" in line for line in lines)


def test_five_phases_fit_into_100_columns():
    """Terminals of today are wider, and tickets too."""
    assert 100 == max(map(len, shown(*(result(phase) for phase in PHASES)).splitlines()))


def test_lines_that_could_not_be_read_are_counted():
    """What was left out is said where the figures are explained."""
    assert "Left out: 1,234 lines of telemetry that made no sense." in shown(result(), unreadable=1234)
    assert "made no sense" not in shown(result())


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (result(), []),
        (result(exit_code=3, last_words="  | x"), ["The application ended with exit code 3:\n  | x"]),
        (result(exit_code=None), ["The application did not end in time, and was stopped:\n"]),
        (result(found=None), ["No telemetry arrived."]),
        (result(found=Figures()), ["No metric arrived."]),
        (
            result(exit_code=1, last_words="  | x", found=None),
            ["The application ended with exit code 1:\n  | x", "No telemetry arrived."],
        ),
    ],
)
def test_a_phase_is_complete_or_it_is_said_why_not(ended, said):
    """The application has to end well, and its metrics to arrive."""
    assert (said, not said) == (list(troubles(ended)), ended.complete)


def test_a_phase_without_telemetry_has_a_column_of_question_marks():
    """And its trouble instead of a sentence; what the server saw is known all the same."""
    text = shown(result(exit_code=1, last_words="  | Traceback", found=None, peak=7))

    assert "Clients made                               ?" in text
    assert "Line to look at                            ?" in text
    assert "server sees *             7" in text
    assert (
        "one shared client\n  The application ended with exit code 1:\n    | Traceback\n  No telemetry"
        in text
    )


def test_json_has_the_same():
    """Figures as they were measured, the verdict with its sentences, and null where nothing arrived."""
    healthy, nothing = (json.loads(json.dumps(as_json(one))) for one in (result(), result(CLOSED, None)))

    assert healthy["complete"]
    assert (0.0022, None) == (healthy["figures"]["loop_delay_max"], healthy["figures"]["loop_site"])
    assert ([], []) == (healthy["verdict"]["findings"], healthy["verdict"]["unknown"])
    assert healthy["verdict"]["otherwise"].startswith("no suspect fits: ")
    assert {"complete": False, "figures": None, "verdict": None} == nothing


def test_processes_that_the_demo_has_not_run_have_no_figures_of_the_server():
    """Nobody has asked one: no row, and no word of it. When they were watched is said instead."""
    found = Result("shop, pid 7", HEALTHY, verdict(HEALTHY), watched="Watched from then to now.")

    text = shown(found)

    assert "server" not in text
    assert "*" not in text
    assert "All of it is what arrived over OTLP. ? = did not arrive." in text
    assert "\nshop, pid 7\n  Watched from then to now.\n  No suspect fits: " in text
    assert found.complete
    assert [] == list(troubles(found))


def test_more_processes_than_fit_are_in_several_tables():
    """Five in a pipe, and in a terminal as many as it has room for."""
    results = [Result(f"worker {number}", HEALTHY, verdict(HEALTHY)) for number in range(6)]

    for width, tables in ((None, 2), (79, 2), (59, 3), (45, 6)):
        console = {} if width is None else {"width": width, "force_terminal": True, "color_system": None}
        assert tables == shown(*results, **console).count("Clients made")
