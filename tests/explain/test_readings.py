# SPDX-License-Identifier: Apache-2.0
"""Reading OTLP/JSON lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from otel_resinstr.explain.readings import Event, Point, Span, parse, read

DEMO = Path(__file__).with_name("data") / "demo"


def the_process(lines):
    readings = parse(lines)

    assert 0 == readings.unreadable
    [process] = readings.processes
    return process


def test_what_came_with_the_same_resource_is_one_process(lines):
    """A process is its resource: its metrics, events and spans belong together, another's do not."""
    one, other = lines(pid=1), lines(pid=2)
    one.number("a", 7).event("happened", 2, "it did")
    other.number("a", 8)
    span = {"name": "s", "startTimeUnixNano": "1000000000", "endTimeUnixNano": "3500000000"}
    one.add("Spans", spans=[span])

    readings = parse(other.lines + one.lines)

    second, first = readings.processes
    assert [{"pid": 2}, {"pid": 1}] == [second.resource, first.resource]
    assert [Point(1, 7)] == first.totals("a")
    assert [Point(1, 8)] == second.totals("a")
    assert [Event("happened", 2, "it did", {})] == first.events
    assert [Span("s", 1, 3.5, {})] == first.spans
    assert ([], []) == (second.events, second.spans)


def test_totals_are_the_sum_of_the_series_of_one_collection(lines):
    """Series of one collection carry the same time and add up; times come out in order, however they went in."""
    late = lines().metric("sockets", 2, ({"type": "pool"}, 3), ({"type": "monitor"}, 6))
    early = lines().metric("sockets", 1, ({"type": "pool"}, 1))

    process = the_process(late.lines + early.lines)

    assert [Point(1, 1), Point(2, 9)] == process.totals("sockets")
    assert [Point(2, 6)] == process.totals("sockets", lambda attributes: attributes["type"] == "monitor")
    assert [{"type": "pool"}, {"type": "monitor"}] == [
        series.attributes for series in process.series("sockets")
    ]


def test_what_did_not_arrive_is_no_zero(lines):
    """Of a metric that nobody sent there is nothing, not a point of value 0."""
    process = the_process(lines().number("a", 1).lines)

    assert ([], []) == (process.totals("b"), process.totals("a", lambda _: False))


def test_a_histogram_is_its_sum_and_count(lines):
    """That is what a mean needs, whatever its buckets are."""
    for kind in ("histogram", "exponentialHistogram"):
        process = the_process(lines().metric("wait", 1, ({}, (0.5, 4)), kind=kind).lines)

        assert [Point(1, 0.5, 4)] == process.totals("wait")


def test_differences_are_added_up(lines):
    """A counter that is exported as deltas reads like a cumulative one."""
    sent = lines()
    for at, value in enumerate((2, 3, 4), 1):
        sent.metric("clients", at, ({}, value), aggregationTemporality=1)
        sent.metric("gauge", at, ({}, value), kind="gauge")

    process = the_process(sent.lines)

    assert [2, 5, 9] == [point.value for point in process.totals("clients")]
    assert [2, 3, 4] == [point.value for point in process.totals("gauge")]


def test_a_request_that_was_sent_twice_counts_once(lines):
    """An exporter that had no answer sends again: neither a sum nor a difference grows by it."""
    sent = lines().metric("a", 1, ({}, 2), aggregationTemporality=1)

    assert [Point(1, 2)] == the_process(sent.lines * 2).totals("a")


def test_points_without_a_number_are_left_out(lines):
    """A point that says that there is no value, or that it is not a number, is none."""
    sent = lines().metric("a", 1, ({}, float("nan"))).metric("b", 1, ({}, "Infinity"))
    sent.add("Metrics", metrics=[{"name": "c", "gauge": {"dataPoints": [{"timeUnixNano": "1", "flags": 1}]}}])

    process = the_process(sent.lines)

    assert [[], [], []] == [process.totals(name) for name in "abc"]


def test_attributes_keep_their_types():
    """Numbers that travel as text are numbers again; what no attribute of ours is, is None."""
    values = [
        {"key": "text", "value": {"stringValue": "x"}},
        {"key": "int", "value": {"intValue": "12"}},
        {"key": "float", "value": {"doubleValue": 0.5}},
        {"key": "bool", "value": {"boolValue": False}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "y"}]}}},
        {"key": "bytes", "value": {"bytesValue": "AA=="}},
        {"key": "none"},
    ]
    process = the_process(
        [
            json.dumps(
                {
                    "resourceLogs": [
                        {
                            "resource": {"attributes": values},
                            "scopeLogs": [{"logRecords": [{"timeUnixNano": "1"}]}],
                        }
                    ]
                }
            )
        ]
    )

    assert {
        "text": "x",
        "int": 12,
        "float": 0.5,
        "bool": False,
        "list": [1, "y"],
        "bytes": None,
        "none": None,
    } == process.resource


def test_only_records_with_an_event_name_are_events(lines):
    """The application's own log lines are none; an event without a time of its own has that of its observation."""
    sent = lines().add(
        "Logs",
        logRecords=[
            {"timeUnixNano": "1", "body": {"stringValue": "GET /"}},
            {"observedTimeUnixNano": "2000000000", "eventName": "e"},
        ],
    )

    assert [Event("e", 2, None, {})] == the_process(sent.lines).events


@pytest.mark.parametrize(
    "garbage",
    [
        "{",
        "\0\0\0",
        "[]",
        "7",
        "null",
        '{"resourceMetrics": 7}',
        '{"resourceMetrics": [[]]}',
        '{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{}]}]}]}',
        '{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "a", "sum": {"dataPoints": [{"asInt":1}]}}]}]}]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "s"}]}]}]}',
        '{"resourceLogs": [{"resource": {"attributes": [{"value": {}}]}}]}',
        "[" * 100_000,
        '{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "e", "timeUnixNano": 1e999}]}]}]}',
    ],
)
def test_a_line_that_makes_no_sense_is_counted(lines, garbage):
    """It is left out as a whole, and what stands before and behind it is read."""
    whole = lines().number("a", 1, 2).lines

    readings = parse([whole[0], garbage, whole[1]])

    assert 1 == readings.unreadable
    assert [Point(1, 1), Point(2, 2)] == readings.processes[0].totals("a")


def test_half_a_line_is_not_half_taken(lines):
    """Of a request whose second metric is broken the first one is not read either."""
    broken = {
        "resourceMetrics": [
            {
                "scopeMetrics": [
                    {
                        "metrics": [
                            {"name": "a", "sum": {"dataPoints": [{"asInt": "1", "timeUnixNano": "1"}]}},
                            {"name": "b", "sum": []},
                        ]
                    }
                ]
            }
        ]
    }

    assert (1, []) == (parse([json.dumps(broken)]).unreadable, parse([json.dumps(broken)]).processes)


def test_a_moment_that_is_none_makes_no_sense(lines):
    """However large the number is: the line is counted, and left out."""
    broken = lines().number("a", 1).lines[0].replace('"timeUnixNano": "', '"timeUnixNano": "' + "9" * 400)

    assert "9" * 400 in broken
    assert (1, []) == (parse([broken]).unreadable, parse([broken]).processes)


def test_unknown_fields_and_empty_lines_are_passed_over(lines):
    """What a later version of OTLP adds is no garbage, and neither is an empty line."""
    request = json.loads(lines().number("a", 1).lines[0])
    request["resourceProfiles"] = [{"new": True}]
    request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].append({"name": "m", "new": {"x": 1}})

    process = the_process(["\n", json.dumps(request), "   \n"])

    assert [Point(1, 1)] == process.totals("a")


def test_a_folder_is_read_with_its_rotated_files(lines, tmp_path):
    """The Collector renames a file that is full: names and signals do not matter, only that it ends in jsonl."""
    first, second, third = lines().number("a", 1, 2, 3).lines
    (tmp_path / "metrics-2026-11-22T10-00-00.000.jsonl").write_text(first + "\n")
    (tmp_path / "metrics.jsonl").write_bytes(second.encode() + b"\n" + third.encode()[:60] + b"\xc3")
    (tmp_path / "collector.log").write_text("no telemetry\n")

    readings = read(tmp_path)

    assert 1 == readings.unreadable
    assert [Point(1, 1), Point(2, 2)] == readings.processes[0].totals("a")


def test_a_recording_without_its_last_half_line_is_whole(tmp_path):
    """A recording that was cut anywhere loses the line that was cut, and nothing else."""
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    cut = tmp_path / "metrics.jsonl"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-1000])

    assert (0, 1) == (read(DEMO).unreadable, read(tmp_path).unreadable)
    assert len(read(DEMO).processes) == len(read(tmp_path).processes)
