# SPDX-License-Identifier: Apache-2.0
"""Everything that a user can see, as it comes out of a Collector, against `golden.json`.

After a change of a name, a type, a unit, an attribute or a boundary that is meant,

    WRITE_GOLDEN=1 .venv/bin/python -m pytest tests/integration/test_golden.py

writes the file anew; what it changes in the file is part of the review.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import chain
from pathlib import Path

import pytest

from launched import EXAMPLES, PROGRAMS, settings, wait_for_names
from otel_resinstr import semconv
from received import exports, shapes

GOLDEN = Path(__file__).with_name("golden.json")

# What the program cannot bring about, and why.
NOT_IN_GOLDEN = {
    "process.windows.handle.count": "the descriptors of another system",
    "mongodb.client.leak": "it takes a minute to be one",
    "resinstr.probe.disabled": "no probe breaks",
    "resinstr.memory.pressure": "memory is not short",
    "cpython.heap.growth": "nobody asks for it",
    "cpython.memory.traced": "tracing would slow down all that is looked at",
    "cpython.memory.traced.peak": "as above",
    "resinstr.snat.port.usage": "no connection leaves the machine",
    **{
        metric.name: "not every machine has a container around the process, pressure files and swap space"
        for metric in semconv.METRICS
        if metric.probe in ("host.container", "host.pressure")
        or metric in (semconv.SYSTEM_PAGING_USAGE, semconv.RESINSTR_PRESSURE_STALL_MAX)
    },
}

# What is off unless asked for.
ALL_ON = {f"OTEL_RESINSTR_{name}": "1" for name in ("GC_PAUSES", "OBJECT_COUNT", "SOCKETS")}

WANTED = {
    "metrics": {metric.name for metric in semconv.METRICS} - {*NOT_IN_GOLDEN},
    "spans": {span.name for span in semconv.SPANS} - {*NOT_IN_GOLDEN},
    "events": {event.name for event in semconv.EVENTS} - {*NOT_IN_GOLDEN},
}

# The way of the examples: the SDK is set up in code, and the application runs afterwards.
IN_CODE = """
import runpy, sys
runpy.run_path(sys.argv[1])["set_up"]()
runpy.run_path(sys.argv[2], run_name="__main__")
"""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process"),
    pytest.mark.usefixtures("server"),
]


def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def write_golden(found):
    """A line for each name, so that a change of one is a line of a difference."""
    sections = []
    for section, members in found.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(shape)}" for name, shape in members.items()]
        sections.append(f"  {json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n  }")
    GOLDEN.write_text("{\n" + ",\n".join(sections) + "\n}\n", encoding="utf-8")


def compared(found, expected):
    """What has to be the same of *found* and *expected*, and the attributes of *found* that nobody expects.

    Which attributes a span or an event has depends on what happened: each has to be known, none has to be there.
    """
    surprising = {
        (name, key)
        for signal in ("spans", "events")
        for name, shape in found[signal].items()
        for key in {*chain(*shape["attributes"])} - {*chain(*expected[signal].get(name, shape)["attributes"])}
    }
    return [_without_attributes(found), _without_attributes(expected), surprising]


def _without_attributes(found):
    return {
        signal: {
            name: {key: value for key, value in shape.items() if key != "attributes" or signal == "metrics"}
            for name, shape in of_signal.items()
        }
        for signal, of_signal in found.items()
    }


def look_at_all_of(program, collector):
    """Let *program* run until all that is wanted has arrived; what has come when it has ended."""
    wait_for_names(collector, program, WANTED)
    assert 0 == program.finish()
    assert "done\n" == program.says()
    found = shapes(collector)
    return {
        signal: {name: shape for name, shape in of_signal.items() if name not in NOT_IN_GOLDEN}
        for signal, of_signal in found.items()
    }


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_unchanged_application_reports_what_is_promised(collector, server, instrumented, protocol):
    """Names, types, temporality, units, attribute keys, boundaries, span kinds, scope: exactly the golden file."""
    program = instrumented(
        sys.executable, PROGRAMS / "everything.py", protocol=protocol, MONGODB_URI=server.uri, **ALL_ON
    )

    found = look_at_all_of(program, collector)

    if os.environ.get("WRITE_GOLDEN"):
        write_golden(found)
    same, expected, surprising = compared(found, golden())
    assert (expected, set()) == (same, surprising)


def test_the_same_is_reported_where_the_sdk_is_set_up_in_code(collector, server, start_program):
    """`otel_resinstr.instrument()` after the global providers were set, without the launcher."""
    program = start_program(
        sys.executable,
        "-c",
        IN_CODE,
        EXAMPLES / "manual" / "app.py",
        PROGRAMS / "everything.py",
        MONGODB_URI=server.uri,
        **ALL_ON,
        **settings(collector, "http/protobuf"),
    )

    same, expected, surprising = compared(look_at_all_of(program, collector), golden())
    assert (expected, set()) == (same, surprising)


def test_the_golden_file_has_all_that_can_be_reported():
    """Whatever `semconv` names is in the file, or among the exceptions with its reason; nothing else is."""
    file = golden()

    assert WANTED == {signal: {*file[signal]} for signal in WANTED}
    assert {*NOT_IN_GOLDEN} <= {name.name for name in (*semconv.METRICS, *semconv.SPANS, *semconv.EVENTS)}


@pytest.mark.parametrize("metric", semconv.METRICS, ids=lambda metric: metric.name)
def test_what_arrives_is_what_semconv_says(metric):
    """Type, unit, boundaries and the attribute keys of each point: the tables in the README are made of these."""
    if metric.name in NOT_IN_GOLDEN:
        pytest.skip(NOT_IN_GOLDEN[metric.name])
    type_, monotonic = {
        semconv.Kind.OBSERVABLE_COUNTER: ("sum", True),
        semconv.Kind.OBSERVABLE_UP_DOWN_COUNTER: ("sum", False),
        semconv.Kind.OBSERVABLE_GAUGE: ("gauge", None),
        semconv.Kind.HISTOGRAM: ("histogram", None),
    }[metric.kind]
    expected = {"unit": metric.unit, "type": type_}
    if type_ != "gauge":
        expected["temporality"] = "cumulative"
    if monotonic is not None:
        expected["monotonic"] = monotonic
    if metric.boundaries:
        expected["boundaries"] = [*metric.boundaries]

    found = golden()["metrics"][metric.name]
    assert expected == {key: value for key, value in found.items() if key != "attributes"}
    attributes = [{*keys} for keys in found["attributes"]]
    assert {*metric.attributes} == set.intersection(*attributes) - {*metric.sometimes}
    assert set.union(*attributes) <= {*metric.attributes, *metric.sometimes}


def test_the_example_with_the_sdk_set_up_in_code_reports(collector, server, start_program):
    """As it stands: it runs to its end, and its last report has its clients, both of them closed."""
    program = start_program(
        sys.executable,
        EXAMPLES / "manual" / "app.py",
        MONGODB_URI=server.uri,
        # On a machine that is busy the loop may be found to be held, and that is a line in the log.
        OTEL_RESINSTR_EVENTLOOP_THRESHOLD="60",
        **settings(collector, "http/protobuf"),
    )

    assert (0, "") == (program.process.wait(30), program.err.read_text())
    last = exports(collector)[-1]
    assert (2, 2, 0) == (
        last.total("mongodb.client.created"),
        last.total("mongodb.client.closed", mongodb__client__close__reason="closed"),
        last.total("mongodb.client.active_instance.count"),
    )
