# SPDX-License-Identifier: Apache-2.0
"""What has its place in this repository is where its name says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SUBJECTS = ("eventloop", "host", "mongodb", "process", "runtime", "threadpool")


def modules_of(subject: str) -> set[str]:
    """The modules of a subject that have a test of their own: not those that begin with an underscore."""
    folder = ROOT / "src" / "otel_resinstr" / subject
    return {path.stem for path in folder.glob("[!_]*.py")}


def proven_in(subject: str) -> set[str]:
    return {path.stem.removeprefix("test_") for path in (ROOT / "tests" / subject).glob("test_*.py")}


def private_modules_of(subject: str) -> set[str]:
    return {path.stem.strip("_") for path in (ROOT / "src" / "otel_resinstr" / subject).glob("_*.py")}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_probe_has_a_test_of_its_name(subject):
    """The probe mongodb.pool is src/otel_resinstr/mongodb/pool.py; tests/mongodb/test_pool.py proves it."""
    assert set() == modules_of(subject) - proven_in(subject)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_test_of_a_subject_has_a_module_of_its_name(subject):
    """A test is found where its subject is: none outlives the module that it was written for."""
    assert set() == proven_in(subject) - modules_of(subject) - private_modules_of(subject)


def test_a_subject_has_modules():
    """The two tests above look into folders that are there."""
    assert [] == [subject for subject in SUBJECTS if not modules_of(subject)]


def test_no_extra_is_called_instruments():
    """The launcher would take it for a list of libraries without which none of our entry points is loaded."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert "instruments" not in extras


def test_constraints_say_which_version_and_not_where_from():
    """Whoever installs chooses the index: no address, no path, no option for the installer."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert [] == [
        line for line in pins if "://" in line or " @ " in line or line.startswith("-") or "==" not in line
    ]
