# SPDX-License-Identifier: Apache-2.0
"""What the README says of metrics, events and settings is what the code does."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from otel_resinstr.semconv import EVENTS, METRICS, SPANS

ROOT = Path(__file__).parents[1]

README = ROOT / "README.md"
TOOL = ROOT / "tools" / "readme_tables.py"

pytestmark = pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")


@pytest.fixture(scope="module")
def tables():
    """The program that makes the tables."""
    spec = importlib.util.spec_from_file_location("readme_tables", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path):
    """A copy of the README that may be changed."""
    return Path(shutil.copy(README, tmp_path))


def test_the_tables_are_made_from_the_code(tables):
    """Whoever changes a name, a setting or what is said of them runs `python tools/readme_tables.py`."""
    tables.main(["--check"])


def test_each_name_has_its_row(tables):
    """With the probe that reports it, which is what switches it off."""
    for record in METRICS:
        assert (
            f"| `{record.probe}` | `{record.name}` | {record.kind.value} | {record.unit} |"
            in tables.metrics()
        )
    for record in (*EVENTS, *SPANS):
        assert f"| `{record.name}` | {record.description} |" in tables.events()


def test_a_table_that_was_changed_by_hand_is_noticed_and_made_anew(tables, copy):
    """The rest of the text stays as it is."""
    wanted = copy.read_text(encoding="utf-8")
    copy.write_text(wanted.replace("| variable |", "| by hand |"), encoding="utf-8")

    with pytest.raises(SystemExit, match=r"README\.md is not what the code says"):
        tables.main(["--check"], copy)
    tables.main([], copy)
    assert wanted == copy.read_text(encoding="utf-8")
    tables.main(["--check"], copy)


@pytest.mark.parametrize("name", ["metrics", "events", "settings"])
@pytest.mark.parametrize("times", [0, 2])
def test_a_marker_that_is_missing_or_there_twice_is_an_error(tables, copy, name, times):
    """A table that is silently left out would never be noticed."""
    text = copy.read_text(encoding="utf-8")
    begin = f"<!-- {name} -->\n"
    copy.write_text(text.replace(begin, (begin + f"<!-- /{name} -->\n") * times), encoding="utf-8")

    with pytest.raises(SystemExit, match=f"<!-- {name} -->"):
        tables.main([], copy)


def test_it_says_how_it_is_called(tables, copy):
    """Instead of doing something else."""
    with pytest.raises(SystemExit, match="usage"):
        tables.main(["--chek"], copy)
