# SPDX-License-Identifier: Apache-2.0
"""The tests against the built wheel: each Python, the oldest and newest libraries, without pymongo.

`make test-all` runs all of it. `.venv/bin/nox --list` names the sessions;
`.venv/bin/nox -s tests-3.12 -- -k pool` runs one of them, with arguments for pytest.
Coverage is measured by `make test` only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
VERSIONS = nox.project.python_versions(PYPROJECT)
CONSTRAINTS = ROOT / "constraints.txt"

# What the lowest OpenTelemetry that pyproject.toml allows was released with, and the driver around the lowest
# pymongo. The lowest versions themselves are read from pyproject.toml.
RELEASED_WITH_OLDEST = {
    "fastapi": "0.121.0",  # later ones need a newer opentelemetry-api
    "motor": "3.7.0",
    "opentelemetry-distro": "0.58b0",
    "opentelemetry-exporter-otlp": "1.37.0",
    "opentelemetry-instrumentation-fastapi": "0.58b0",
    "opentelemetry-instrumentation-flask": "0.58b0",
    "opentelemetry-instrumentation-pymongo": "0.58b0",
    "opentelemetry-instrumentation-system-metrics": "0.58b0",
    "opentelemetry-sdk": "1.37.0",
    "opentelemetry-semantic-conventions": "0.58b0",
}
# Dependencies of those, of which an older version may be needed than constraints.txt has.
FOLLOW_THE_OLDEST = re.compile(
    r"opentelemetry-.*|protobuf|googleapis-common-protos|importlib-metadata|dnspython|starlette"
)

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
os.environ["UV_PYTHON_DOWNLOADS"] = "never"


def runs(python: Path, version: str) -> bool:
    """Whether *python* starts and is CPython *version*: a shim of pyenv may stand for one that is off."""
    code = "import platform; print(platform.python_implementation(), *platform.python_version_tuple()[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.split() == ["CPython", *version.split(".")]


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter of *version* may be, the most likely place first."""
    for folder in os.get_exec_path():
        yield Path(folder, f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = (path for path in pyenv.glob(f"versions/{version}.*") if path.name.split(".")[-1].isdecimal())
    for path in sorted(installed, key=lambda path: int(path.name.split(".")[-1]), reverse=True):
        yield path / "bin" / f"python{version}"
    command = [
        shutil.which("uv", path=Path(sys.executable).parent) or "uv",
        "python",
        "find",
        "--system",
        version,
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    if answer.stdout.strip():
        yield Path(answer.stdout.strip())


def find_interpreters() -> list[str]:
    """The versions that can be tested here, each made the first one that nox finds under its name."""
    found = []
    for version in VERSIONS:
        python = next((path for path in candidates(version) if path.is_file() and runs(path, version)), None)
        if python is None:
            continue
        found.append(version)
        if shutil.which(f"python{version}") != str(python):
            links = ROOT / ".nox" / "interpreters"
            links.mkdir(parents=True, exist_ok=True)
            link = links / f"python{version}"
            link.unlink(missing_ok=True)
            link.symlink_to(python.resolve())
            if str(links) not in os.get_exec_path():
                os.environ["PATH"] = os.pathsep.join([str(links), os.environ.get("PATH", os.defpath)])
    return found


FOUND = find_interpreters()
MISSING = [version for version in VERSIONS if version not in FOUND]
if not FOUND:
    sys.exit(f"noxfile: no interpreter found of Python {', '.join(VERSIONS)}")
if MISSING:
    print(f"\n!!! NOT TESTED, no interpreter found: Python {', '.join(MISSING)}\n", file=sys.stderr)


@nox.session(python=FOUND)
def tests(session: nox.Session) -> None:
    """All tests with the versions of constraints.txt."""
    install(session, "cli,file,mongodb,otlp", group="test-newest", constraints=CONSTRAINTS)
    # What other programs do, the Collector, servers and the demo, hardly depends on the Python that starts them:
    # the newest one runs all of it, and so does the oldest one with the oldest libraries.
    run_tests(session, programs=session.python == FOUND[-1])


@nox.session(name="tests-oldest", python=FOUND[:1])
def tests_oldest(session: nox.Session) -> None:
    """All tests with the lowest versions that pyproject.toml allows."""
    pins = oldest_versions()
    constraints = Path(session.create_tmp(), "constraints.txt").resolve()
    kept = [line for line in CONSTRAINTS.read_text().splitlines() if not follows(line, pins)]
    constraints.write_text("\n".join([*kept, *(f"{name}=={version}" for name, version in pins.items()), ""]))
    install(session, "cli,mongodb,otlp", group="test", constraints=constraints)
    run_tests(session, programs=True)


@nox.session(name="tests-without-pymongo", python=FOUND[-1:])
def tests_without_pymongo(session: nox.Session) -> None:
    """The tests of everything but MongoDB, where the driver is not installed."""
    install(session, "cli,otlp", group="test-core", constraints=CONSTRAINTS)
    session.run(
        "python",
        "-c",
        "import importlib.util; assert importlib.util.find_spec('pymongo') is None, 'pymongo is here'",
        silent=True,
    )
    run_tests(session, programs=False)


@nox.session(name="not-tested", python=False, default=bool(MISSING))
def not_tested(session: nox.Session) -> None:
    """A line in the summary for the versions without an interpreter."""
    if MISSING:
        session.skip(f"no interpreter found: Python {', '.join(MISSING)}")


def install(session: nox.Session, extras: str, *, group: str, constraints: Path) -> None:
    """The wheel and a dependency group, resolved together."""
    wheel = f"otel-resinstr[{extras}] @ {built_wheel(session).as_uri()}"
    session.install("-c", str(constraints), "--only-binary", "secantusdb", wheel, "--group", group)


def built_wheel(session: nox.Session) -> Path:
    """The wheel, built from the sdist: nothing is in it that is not released. Once in a run of nox."""
    folder = ROOT / ".nox" / "dist"
    built = folder / f"built-by-{os.getpid()}"
    if not built.exists():
        shutil.rmtree(folder, ignore_errors=True)
        session.run_install("uv", "build", "--quiet", "--out-dir", str(folder), str(ROOT), external=True)
        built.touch()
    (wheel,) = folder.glob("*.whl")
    return wheel


def run_tests(session: nox.Session, *, programs: bool) -> None:
    """Run pytest on the wheel that is installed; `src` is not importable."""
    imported = session.run(
        "python", "-c", "import otel_resinstr; print(otel_resinstr.__file__)", silent=True, log=False
    )
    if "site-packages" not in str(imported):
        session.error(f"not the wheel is tested but {imported}")
    without = (
        []
        if programs
        else [f"--ignore=tests/{folder}" for folder in ("cli", "collector", "doctor", "integration")]
    )
    session.run("pytest", *without, *session.posargs)


def oldest_versions() -> dict[str, str]:
    """The lowest version of each dependency of ours, and those that go with them."""
    project = PYPROJECT["project"]
    pins = dict(RELEASED_WITH_OLDEST)
    for text in (*project["dependencies"], *project["optional-dependencies"]["mongodb"]):
        requirement = Requirement(text)
        (lowest,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
        pins[canonicalize_name(requirement.name)] = lowest
    return pins


def follows(constraint: str, pins: dict[str, str]) -> bool:
    """Whether a line of constraints.txt would stand against *pins*."""
    if constraint.startswith("#"):
        return False
    name = canonicalize_name(Requirement(constraint).name)
    return name in pins or FOLLOW_THE_OLDEST.fullmatch(name) is not None
