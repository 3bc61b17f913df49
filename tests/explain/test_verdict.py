# SPDX-License-Identifier: Apache-2.0
"""Which suspects fit, by hand and on what was recorded."""

from __future__ import annotations

from pathlib import Path

from otel_resinstr.explain.figures import Figures, figures
from otel_resinstr.explain.readings import read
from otel_resinstr.explain.verdict import verdict

DEMO = Path(__file__).with_name("data") / "demo"
HEALTHY = Figures(
    seconds=8.0,
    check_outs=62,
    clients_created=1,
    clients_closed=0,
    clients_dropped=0,
    clients_peak=1,
    clients_halfway=1,
    driver_threads_peak=3,
    sockets_peak=3,
    loop_delay_max=0.0022,
)


def test_each_recorded_way_has_its_one_suspect():
    """What the demo recorded (SecantusDB, two cores) is told apart: one suspect a fault, none without one."""
    recorded = {process.resource["demo.phase"]: figures(process) for process in read(DEMO).processes}

    found = {
        phase: [(finding.suspect, finding.site) for finding in verdict(of_phase, recorded["shared"]).findings]
        for phase, of_phase in recorded.items()
    }

    assert {
        "shared": [],
        "closed": [("client_churn", "app.py:41 closed")],
        "dropped": [("client_churn", "app.py:46 dropped")],
        "kept": [("client_growth", "app.py:51 kept")],
        "blocked": [("loop_blocked", "app.py:59 wait_for_jobs")],
    } == found


def test_without_a_suspect_the_figures_say_so():
    """One sentence, with the figures that every suspect was excluded by."""
    judged = verdict(HEALTHY)

    assert ((), ()) == (judged.findings, judged.unknown)
    assert [
        (
            "no suspect fits: 1 client for 62 commands, no more than 3 driver threads, no more than 3 sockets and an "
            "event loop that was never later than 2.2 ms."
        )
    ] == list(judged.sentences)


def test_two_faults_are_two_findings():
    """A client per call on a loop that is held: the cause is named before the consequence."""
    both = Figures(
        seconds=8.0,
        clients_created=60,
        clients_closed=60,
        clients_dropped=0,
        clients_peak=1,
        clients_halfway=1,
        loop_delay_max=0.5,
    )

    judged = verdict(both)

    assert ["client_churn", "loop_blocked"] == [finding.suspect for finding in judged.findings]
    assert 2 == len(judged.sentences)


def test_what_did_not_arrive_is_said_and_clears_nobody():
    """Without its metrics a suspect is neither found nor excluded."""
    judged = verdict(Figures())

    assert ["client_churn", "client_growth", "loop_blocked"] == [
        unknown.suspect for unknown in judged.unknown
    ]
    assert [
        (
            "no verdict, since mongodb.client.created, mongodb.client.active_instance.count and "
            "asyncio.eventloop.delay.max did not arrive."
        )
    ] == list(judged.sentences)


def test_what_is_known_is_said_beside_what_is_not():
    """One client, and nothing of the rest."""
    assert [
        (
            "no verdict, since mongodb.client.created, mongodb.client.active_instance.count and "
            "asyncio.eventloop.delay.max did not arrive: 1 client."
        )
    ] == list(verdict(Figures(clients_created=1)).sentences)
