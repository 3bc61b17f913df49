# SPDX-License-Identifier: Apache-2.0
"""The configurations as the command line shows them."""

from __future__ import annotations

import pytest

from otel_resinstr.cli._configurations import Configuration, Variable, configurations, variables

FILE = """\
# SPDX-License-Identifier: Apache-2.0
#
# Prints what comes in,
# and forgets it.
#
#   resinstr collector run print
#
# Where it listens:
#   PRINT_ENDPOINT   127.0.0.1:1   OTLP
#   PRINT_PASSWORD   ''            of whoever may send

receivers: {}
"""


@pytest.fixture
def shown(tmp_path):
    path = tmp_path / "print.yaml"
    path.write_text(FILE)
    return Configuration(path)


def test_a_configuration_says_what_it_is_for(shown):
    """The first paragraph of its head, on one line."""
    assert ("print", "Prints what comes in, and forgets it.") == (shown.name, shown.says)
    assert FILE == shown.text


def test_a_configuration_says_what_it_reads(shown):
    """Each variable with its default and what it is; how it is started is none."""
    assert [
        Variable("PRINT_ENDPOINT", "127.0.0.1:1", "OTLP"),
        Variable("PRINT_PASSWORD", "''", "of whoever may send"),
    ] == shown.variables


def test_of_a_secret_only_is_shown_whether_it_is_set(shown):
    """Anything else is shown as it is."""
    endpoint, password = shown.variables

    assert ("127.0.0.1:1", "''") == (endpoint.value({}), password.value({}))
    given = {"PRINT_ENDPOINT": "127.0.0.1:2", "PRINT_PASSWORD": "hunter2"}
    assert ("127.0.0.1:2", "(set)") == (endpoint.value(given), password.value(given))


def test_each_shipped_file_says_something():
    """What it is for, and what it reads."""
    found = configurations()

    assert ["add-host-process", "add-mongodb"] == [name for name, it in found.items() if it.is_overlay]
    assert [] == [name for name, it in found.items() if not it.says or "#" in it.says or not it.variables]


def test_a_variable_of_two_files_is_shown_once():
    """The overlay sends to where the other one listens."""
    found = configurations()

    names = [variable.name for variable in variables([found["gateway"], found["add-mongodb"]])]

    assert len(names) == len(set(names))
    assert {"GATEWAY_ENDPOINT", "MONGODB_ENDPOINT", "OTLP_HTTP_ENDPOINT"} <= set(names)
