# SPDX-License-Identifier: Apache-2.0
"""What the user chose: read from the environment, and never a reason to stop."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_resinstr import settings
from otel_resinstr.settings import PREFIX, Settings, file_folder, recorder_folder

SECONDS = (
    "CPU_WINDOW",
    "EVENTLOOP_PERIOD",
    "EVENTLOOP_THRESHOLD",
    "EVENTLOOP_WINDOW",
    "MONGODB_CHURN_WINDOW",
    "MONGODB_SERVER_INTERVAL",
)
VARIABLES = {field.metadata["variable"]: field.name for field in dataclasses.fields(Settings)}


def read(variable, text):
    """What the setting behind *variable* is when the environment has nothing but it."""
    chosen = Settings.from_environment({PREFIX + variable: text})
    return getattr(chosen, VARIABLES[PREFIX + variable])


def changed(chosen):
    """The fields of *chosen* that are not at their defaults."""
    return {
        field.name: getattr(chosen, field.name)
        for field in dataclasses.fields(chosen)
        if getattr(chosen, field.name) != field.default
    }


def test_an_empty_environment_gives_the_defaults(caplog):
    """Nothing set is nothing said, and the same as `Settings()`."""
    assert Settings() == Settings.from_environment({})
    assert [] == caplog.records


def test_all_settings_can_be_set_together(caplog):
    """Each field has its variable; what is of nobody's business is not looked at."""
    environ = {
        "OTEL_RESINSTR_DISABLED_PROBES": " mongodb.pool, process.* ,,",
        "OTEL_RESINSTR_METRIC_ATTRIBUTES": "azure, team",
        "OTEL_RESINSTR_CPU_WINDOW": "2.5",
        "OTEL_RESINSTR_EVENTLOOP_PERIOD": "0.05",
        "OTEL_RESINSTR_EVENTLOOP_THRESHOLD": "0.25",
        "OTEL_RESINSTR_EVENTLOOP_WINDOW": "30",
        "OTEL_RESINSTR_THREADPOOL_THRESHOLD": "2",
        "OTEL_RESINSTR_THREADPOOL_WINDOW": "300",
        "OTEL_RESINSTR_MONGODB_CHURN_COUNT": "5",
        "OTEL_RESINSTR_MONGODB_CHURN_WINDOW": "1e1",
        "OTEL_RESINSTR_MONGODB_WAIT_THRESHOLD": "0.1",
        "OTEL_RESINSTR_MONGODB_LIFECYCLE_RATE": "7",
        "OTEL_RESINSTR_MONGODB_QUERY_TEXT_LENGTH": "1024",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http, database/dup",
        "OTEL_RESINSTR_MONGODB_SERVER_INTERVAL": "60",
        "OTEL_RESINSTR_FLUSH_ON_SIGTERM": "1",
        "OTEL_RESINSTR_FLUSH_TIMEOUT": "2",
        "OTEL_RESINSTR_FILE_DIR": "/var/otel",
        "OTEL_RESINSTR_FILE_MEGABYTES": "20",
        "OTEL_RESINSTR_RECORDER_DIR": "/var/recorder",
        "OTEL_RESINSTR_GC_PAUSES": "1",
        "OTEL_RESINSTR_OBJECT_COUNT": "1",
        "OTEL_RESINSTR_PEAK_WINDOW": "120",
        "OTEL_RESINSTR_SNAT_PORTS": "1024",
        "OTEL_RESINSTR_SOCKETS": "True",
        "OTEL_RESINSTR_TRACEMALLOC": "TRUE",
        "OTEL_SERVICE_NAME": "shop",
    }
    assert Settings(
        disabled_probes=("mongodb.pool", "process.*"),
        metric_attributes=("azure", "team"),
        cpu_window=2.5,
        eventloop_period=0.05,
        eventloop_threshold=0.25,
        eventloop_window=30.0,
        threadpool_threshold=2.0,
        threadpool_window=300.0,
        churn_count=5,
        churn_window=10.0,
        wait_threshold=0.1,
        lifecycle_rate=7,
        query_text_length=1024,
        old_database_names=True,
        server_interval=60.0,
        flush_on_sigterm=True,
        flush_timeout=2.0,
        file_dir="/var/otel",
        file_megabytes=20,
        recorder_dir="/var/recorder",
        gc_pauses=True,
        object_count=True,
        peak_window=120.0,
        snat_ports=1024,
        sockets=True,
        tracemalloc=True,
    ) == Settings.from_environment(environ)
    assert set(VARIABLES) == set(environ) - {"OTEL_SERVICE_NAME"}
    assert [] == caplog.records


@pytest.mark.parametrize(("text", "on"), [("1", True), ("true", True), ("0", False), ("False", False)])
def test_a_switch_is_on_or_off(text, on, caplog):
    """In the words of the OpenTelemetry specification, and with digits."""
    assert on == Settings.from_environment({"OTEL_RESINSTR_SOCKETS": text}).sockets
    assert [] == caplog.records


@pytest.mark.parametrize("text", ["yes", "2", "on"])
def test_a_switch_that_is_neither_is_reported(text, caplog):
    """And stays off."""
    assert not Settings.from_environment({"OTEL_RESINSTR_SOCKETS": text}).sockets
    assert [
        f"OTEL_RESINSTR_SOCKETS={text!r} is not accepted: it takes 1 or true, 0 or false; False is used instead"
    ] == caplog.messages


def test_by_default_the_environment_of_the_process_is_read(monkeypatch):
    """`instrument()` without settings takes what the environment says."""
    monkeypatch.setenv("OTEL_RESINSTR_CPU_WINDOW", "3")

    assert {"cpu_window": 3.0} == changed(Settings.from_environment())


@pytest.mark.parametrize("variable", SECONDS)
@pytest.mark.parametrize(
    ("text", "value"), [("0.001", 0.001), ("1", 1.0), (" 7.5\t", 7.5), ("1_0", 10.0), ("86400", 86400.0)]
)
def test_seconds_are_accepted(caplog, variable, text, value):
    """A time is a number of seconds, white space around it is nothing."""
    assert value == read(variable, text)
    assert [] == caplog.records


@pytest.mark.parametrize("variable", SECONDS)
@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e400", "banana", "1s", "0.0009", "86401", "1,5"])
def test_what_is_no_time_is_not_accepted(caplog, variable, text):
    """Also what is a number but no time that a beat or a window can have: the default is used."""
    default = getattr(Settings(), VARIABLES[PREFIX + variable])

    assert default == read(variable, text)
    assert [
        (
            f"{PREFIX}{variable}={text!r} is not accepted: it takes a number of seconds from 0.001 to 86400; "
            f"{'nothing' if default is None else default} is used instead"
        )
    ] == caplog.messages


@pytest.mark.parametrize(("text", "value"), [("1", 1), (" 25 ", 25), ("10000", 10000)])
def test_a_count_is_accepted(caplog, text, value):
    """How many clients make a churn is a whole number."""
    assert value == read("MONGODB_CHURN_COUNT", text)
    assert [] == caplog.records


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "banana", "10001", "9" * 5000])
def test_what_is_no_count_is_not_accepted(caplog, text):
    """Also more than could be remembered, and more digits than Python converts."""
    assert 10 == read("MONGODB_CHURN_COUNT", text)
    assert [
        (
            f"OTEL_RESINSTR_MONGODB_CHURN_COUNT={text!r} is not accepted: it takes a whole number from 1 to 10000; "
            "10 is used instead"
        )
    ] == caplog.messages


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1024", 1024), ("65536", 65536)])
def test_a_length_is_accepted(caplog, text, value):
    """0 is one too: nothing."""
    assert value == read("MONGODB_QUERY_TEXT_LENGTH", text)
    assert [] == caplog.records


@pytest.mark.parametrize("text", ["-1", "65537", "true", "1.5"])
def test_what_is_no_length_is_not_accepted(caplog, text):
    """The default leaves the text out."""
    assert 0 == read("MONGODB_QUERY_TEXT_LENGTH", text)
    assert [
        (
            f"OTEL_RESINSTR_MONGODB_QUERY_TEXT_LENGTH={text!r} is not accepted: it takes a whole number from 0 to "
            "65536; 0 is used instead"
        )
    ] == caplog.messages


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("database/dup", True),
        ("http/dup,database/dup", True),
        ("database , database/dup", True),
        ("database", False),
        ("http/dup", False),
        ("database/DUP", False),
        ("database/dupe", False),
    ],
)
def test_old_names_are_opted_into_as_for_all_instrumentations(caplog, text, value):
    """One name in a list for all; what does not concern us is passed over in silence."""
    assert value is Settings.from_environment({"OTEL_SEMCONV_STABILITY_OPT_IN": text}).old_database_names
    assert [] == caplog.records


@pytest.mark.parametrize("variable", [*VARIABLES, "OTEL_RESINSTR_BANANA"])
@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_value_is_an_unset_one(caplog, variable, text):
    """As the OpenTelemetry specification has it, also where the name is not known."""
    assert Settings() == Settings.from_environment({variable: text})
    assert [] == caplog.records


def test_a_bad_value_does_not_harm_the_good_ones(caplog):
    """Each variable stands for itself."""
    environ = {"OTEL_RESINSTR_CPU_WINDOW": "banana", "OTEL_RESINSTR_MONGODB_CHURN_COUNT": "3"}

    assert {"churn_count": 3} == changed(Settings.from_environment(environ))
    assert [("otel_resinstr", logging.WARNING)] == [
        (record.name, record.levelno) for record in caplog.records
    ]


def test_a_warning_comes_once(caplog):
    """Four subjects read the same environment; the reader of the log sees one line."""
    for _ in range(4):
        Settings.from_environment({"OTEL_RESINSTR_CPU_WINDOW": "banana", "OTEL_RESINSTR_CPU": "1"})

    assert 2 == len(caplog.records)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("OTEL_RESINSTR_CHURN_COUNT", "did you mean OTEL_RESINSTR_MONGODB_CHURN_COUNT?"),
        ("OTEL_RESINSTR_DISABLED_PROBE", "did you mean OTEL_RESINSTR_DISABLED_PROBES?"),
        ("OTEL_RESINSTR_X", f"known are {', '.join(VARIABLES)}"),
    ],
)
def test_an_unknown_name_is_reported_with_the_close_one(caplog, variable, hint):
    """A misspelt variable would otherwise be silently without effect."""
    assert Settings() == Settings.from_environment({variable: "1"})
    assert [f"{variable} is not a setting of otel-resinstr and has no effect: {hint}"] == caplog.messages


@given(st.dictionaries(st.sampled_from([*VARIABLES, PREFIX, PREFIX + "X"]), st.text()))
def test_no_text_makes_it_raise(environ):
    """Whatever the environment holds, the application starts."""
    chosen = Settings.from_environment(environ)

    assert 1 <= chosen.churn_count <= 10000
    times = [getattr(chosen, VARIABLES[PREFIX + variable]) for variable in SECONDS]
    assert all(time is None or 0.001 <= time <= 86400 for time in times)
    assert all(isinstance(name, str) and name for name in chosen.disabled_probes)


def test_settings_do_not_change():
    """Probes read them once: a change later would have no effect, so that there is none."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().cpu_window = 1.0


def test_a_pattern_that_matches_no_probe_is_reported_with_the_close_one(caplog):
    """`mongodb.pol` would otherwise silently disable nothing."""
    chosen = Settings(disabled_probes=("mongodb.pol", "mongodb.pool", "proc*", "?pu", "web.*"))
    for _ in range(2):
        chosen.check_disabled_probes(iter(["process.cpu", "mongodb.pool"]))

    assert [
        (
            "OTEL_RESINSTR_DISABLED_PROBES: 'mongodb.pol' is the name of no probe and has no effect: "
            "did you mean mongodb.pool?"
        ),
        (
            "OTEL_RESINSTR_DISABLED_PROBES: '?pu' is the name of no probe and has no effect: "
            "known are process.cpu, mongodb.pool"
        ),
        (
            "OTEL_RESINSTR_DISABLED_PROBES: 'web.*' is the name of no probe and has no effect: "
            "known are process.cpu, mongodb.pool"
        ),
    ] == caplog.messages


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_each_setting_says_what_the_readme_has_to_say(field):
    """The table in the README is made from the metadata: variable, default, what is accepted, what it means."""
    metadata = field.metadata

    assert {"variable", "read", "accepts", "meaning"} == set(metadata)
    assert metadata["variable"].startswith(PREFIX) or metadata["variable"] == "OTEL_SEMCONV_STABILITY_OPT_IN"
    assert metadata["variable"] == metadata["variable"].upper()
    assert metadata["meaning"].endswith(".")
    assert not metadata["accepts"].endswith(".")
    # The default is itself something that is accepted, or the absence of it.
    assert field.default is None or field.default == metadata["read"](
        ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
    )


def test_the_shown_default_of_a_list_is_a_word():
    """`()` and `None` would say nothing to who does not write Python."""
    assert ["nothing", "nothing", "10.0"] == [settings._shown(value) for value in ((), None, 10.0)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("churn_count", 0),
        ("churn_count", -1),
        ("churn_count", 2.5),
        ("cpu_window", "long"),
        ("cpu_window", None),
    ],
)
def test_in_code_a_value_that_is_not_accepted_raises(field, value):
    """Where it is made, with what is accepted; a probe that broke of it would be blamed instead."""
    with pytest.raises(ValueError, match=f"^{field}={value!r} is not accepted: it takes a "):
        Settings(**{field: value})


def test_in_code_text_is_read_as_the_environments_is():
    """A pattern is a pattern, and not a list of letters."""
    assert Settings(disabled_probes=("mongodb.*",), cpu_window=2.0) == Settings(
        disabled_probes="mongodb.*", cpu_window="2"
    )


def test_an_application_whose_logging_breaks_is_not_harmed_by_a_warning(monkeypatch):
    """A filter of its own that raises, and a bad setting."""
    monkeypatch.setattr(settings, "_warned", set())
    logger = logging.getLogger("otel_resinstr")

    def impolite(_record):
        raise RuntimeError

    logger.addFilter(impolite)
    try:
        assert Settings() == Settings.from_environment({"OTEL_RESINSTR_CPU_WINDOW": "banana"})
    finally:
        logger.removeFilter(impolite)


def test_files_go_where_the_platform_shows_them():
    """On App Service that is a folder of its own share; what the user chose comes first."""
    app_service = {"WEBSITE_SITE_NAME": "shop"}

    assert Path("resinstr") == file_folder(Settings(), {})
    assert Path("/home/LogFiles/resinstr") == file_folder(Settings(), app_service)
    assert Path("/var/otel") == file_folder(Settings(file_dir="/var/otel"), app_service)


def test_the_recorder_records_where_it_has_a_folder():
    """On App Service it has one by itself; elsewhere nothing is written that nobody asked for."""
    app_service = {"WEBSITE_SITE_NAME": "shop"}

    assert recorder_folder(Settings(), {}) is None
    assert recorder_folder(Settings(file_dir="/var/otel"), {}) is None
    assert Path("/home/LogFiles/resinstr") == recorder_folder(Settings(), app_service)
    assert Path("/var/otel") == recorder_folder(Settings(recorder_dir="/var/otel"), app_service)
