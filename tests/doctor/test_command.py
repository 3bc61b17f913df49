# SPDX-License-Identifier: Apache-2.0
"""What a command line says of interpreter, launcher and server, without running anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from otel_resinstr.doctor.command import Command, Server, _shebang, recognise


@pytest.fixture
def place(tmp_path):
    """A folder with programs, which is the PATH as well."""

    class Place:
        folder = tmp_path
        environ = {"PATH": str(tmp_path)}  # noqa: RUF012  never changed

        def program(self, name, text="#!/bin/sh\n"):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
            return path

        def recognise(self, line, **environ):
            return recognise(line.split(), {**self.environ, **environ}, tmp_path)

    place = Place()
    place.python = place.program("python3.12")
    place.launcher = place.program("opentelemetry-instrument")
    for name in ("gunicorn", "uvicorn", "flask"):
        place.program(name, f"#!{place.python}\n")
    return place


def test_without_a_command_it_is_this_interpreter(place):
    """Which `python app.py` would run after `source bin/activate`."""
    assert Command("", place.launcher, interpreter=Path(sys.executable)) == place.recognise("")


def test_a_command_may_stand_after_the_launcher(place):
    """With the launcher's options, each of which has a value, as they have to be passed on."""
    found = place.recognise(
        "opentelemetry-instrument --traces_exporter console --service_name=shop gunicorn --workers 3 app:app"
    )

    assert ("--traces_exporter", "console", "--service_name=shop") == found.launcher_options
    assert ("gunicorn", place.launcher, place.python, 3) == (
        found.name,
        found.launcher,
        found.interpreter,
        found.server.workers,
    )


def test_the_launcher_may_be_alone(place):
    """It is asked for this interpreter then."""
    assert Path(sys.executable) == place.recognise("opentelemetry-instrument").interpreter


def test_the_launcher_is_looked_for_beside_the_interpreter(place):
    """Where it is not on the PATH; one that is named and is not there is none."""
    beside = place.program("env/opentelemetry-instrument")
    python = place.program("env/python")
    place.launcher.unlink()

    assert beside == place.recognise(f"{python} app.py").launcher
    assert place.recognise("opentelemetry-instrument python3.12 app.py").launcher is None
    assert place.recognise("python3.12 app.py").launcher is None


def test_a_program_that_is_not_there(place):
    """On the PATH, or in the folder."""
    assert Command("unicorn", place.launcher, found=False) == place.recognise("unicorn app:app")
    assert Command("./run", place.launcher, found=False) == place.recognise("./run")


def test_a_variable_before_the_command_is_shown_without_its_value(place):
    """It is a shell that would set it, and it may be a secret."""
    found = place.recognise("MONGO=mongodb://user:hunter2@db/?a=b gunicorn app:app")

    assert Command("MONGO", place.launcher, found=False) == found


def test_a_path_is_one_of_the_folder(place):
    """The doctor may be asked from elsewhere."""
    place.program("env/python")

    assert place.folder / "env" / "python" == place.recognise("env/python app.py").interpreter


@pytest.mark.parametrize(
    ("line", "name", "flags"),
    [
        ("python3.12", "python", ()),
        ("python3.12 src/app.py --password hunter2", "app.py", ()),
        ("python3.12 -I -W error -Xdev -m gunicorn app:app", "gunicorn", ("-I", "-W", "-Xdev")),
        ("python3.12 -c pass", "python", ()),
        ("python3.12 -m", "python", ()),
    ],
)
def test_what_an_interpreter_runs(place, line, name, flags):
    """A module, a file or code, and the flags before it."""
    found = place.recognise(line)

    assert (place.python, name, flags) == (found.interpreter, name, found.flags)
    assert name == found.name


@pytest.mark.parametrize(
    ("first_lines", "flags"),
    [
        ("#!{python} -E", ("-E",)),
        ("#!/usr/bin/env python3.12", ()),
        ("#!/usr/bin/env -S python3.12 -u", ("-u",)),
        ('#!/bin/sh\n\'\'\'exec\' "{python}" "$0" "$@"', ()),
        ("#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"", ()),
    ],
)
def test_the_interpreter_of_a_script(place, first_lines, flags):
    """It stands in the first line, or in the second where the path is long."""
    place.program("serve", first_lines.format(python=place.python))

    found = place.recognise("serve app:app")

    assert ("serve", place.python, flags) == (found.name, found.interpreter, found.flags)


@pytest.mark.parametrize(
    "text",
    ["", "#!", "#!/usr/bin/env 'python", "\x7fELF", "#!/bin/sh\nexec python app.py", "#!/usr/bin/env absent"],
)
def test_a_program_that_is_no_script_of_pythons(place, text):
    """What it starts is not known."""
    place.program("serve", text)

    assert place.recognise("serve").interpreter is None


def test_a_program_that_cannot_be_read(place):
    """As it is with those that may be run only; here it is a folder, since root may read all files."""
    assert (None, []) == _shebang(place.folder, "")


@pytest.mark.parametrize(
    ("line", "environ", "expected", "model"),
    [
        (
            "gunicorn app:app",
            {},
            Server("gunicorn"),
            "gunicorn forks 1 worker, each loads the application",
        ),
        (
            "gunicorn -w 4 -k uvicorn.workers.UvicornWorker --bind :80 app:app",
            {},
            Server("gunicorn", 4, "uvicorn.workers.UvicornWorker"),
            "gunicorn forks 4 workers of uvicorn.workers.UvicornWorker, each loads the application",
        ),
        (
            "gunicorn --workers=2 --reload app:app",
            {"GUNICORN_CMD_ARGS": "--preload --workers 3"},
            Server("gunicorn", 2, preload=True, reload=True),
            "gunicorn forks 2 workers, after the application is loaded",
        ),
        (
            "gunicorn -w many app:app",
            {"WEB_CONCURRENCY": "3"},
            Server("gunicorn", 3),
            "gunicorn forks 3 workers, each loads the application",
        ),
        (
            "gunicorn -w 2 app:app",
            {"GUNICORN_CMD_ARGS": "--preload --bind 'x"},
            Server("gunicorn", 2),
            "gunicorn forks 2 workers, each loads the application",
        ),
        (
            "gunicorn app:app -w",
            {},
            Server("gunicorn"),
            "gunicorn forks 1 worker, each loads the application",
        ),
        ("uvicorn app:app --port 80", {}, Server("uvicorn"), "uvicorn: one process"),
        (
            "python3.12 -m uvicorn app:app --workers 2",
            {},
            Server("uvicorn", 2),
            "uvicorn spawns 2 workers, each of which starts anew",
        ),
        (
            "uvicorn --reload app:app",
            {},
            Server("uvicorn", reload=True),
            "uvicorn spawns 1 worker, each of which starts anew",
        ),
    ],
)
def test_a_server_and_its_workers(place, line, environ, expected, model):
    """By its options, and the variables that it reads itself."""
    found = place.recognise(line, **environ).server

    assert expected == found
    assert model == found.model


def test_what_is_no_server_that_is_known(place):
    """Nothing is said of its processes."""
    assert place.recognise("flask run").server is None


def test_gunicorns_file_is_read_and_not_run(place):
    """Plain values count, and the command line wins; what is computed is not known."""
    (place.folder / "gunicorn.conf.py").write_text(
        "import os, sys\nsys.exit('run')\nworkers = 3\npreload_app = True\n"
        "worker_class: str = 'gthread'\nthreads = os.cpu_count()\nsys.x, timeout = 1, 2\n"
    )

    assert Server("gunicorn", 3, preload=True) == place.recognise("gunicorn app:app").server
    assert Server("gunicorn", 5, preload=True) == place.recognise("gunicorn -w 5 app:app").server


def test_gunicorns_file_may_be_elsewhere(place):
    """What cannot be read is said."""
    (place.folder / "other.py").write_text("workers = 2\n")
    (place.folder / "odd.py").write_text("workers =\n")

    assert Server("gunicorn", 2) == place.recognise("gunicorn -c file:other.py app:app").server
    for name in ("odd.py", "absent.py"):
        assert (
            Server("gunicorn", unread=str(place.folder / name))
            == place.recognise(f"gunicorn -c {name} app:app").server
        )


def test_whether_uvicorn_serves_the_requests():
    """As a worker of gunicorn's, under either of its names, it ends as uvicorn does."""
    assert Server("uvicorn").runs_uvicorn
    assert Server("gunicorn", worker_class="uvicorn_worker.UvicornWorker").runs_uvicorn
    assert not Server("gunicorn", worker_class="gthread").runs_uvicorn
