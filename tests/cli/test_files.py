# SPDX-License-Identifier: Apache-2.0
"""Files that come with the package."""

from __future__ import annotations

from otel_resinstr.cli._files import shipped


def test_what_the_demo_needs_is_there():
    """In a clone and in an installed wheel alike."""
    assert [True, True] == [
        shipped(path).is_file() for path in ("collector/config/local-debug.yaml", "examples/zero_code/app.py")
    ]


def test_the_installed_copy_comes_first(tmp_path):
    """A wheel has the folders beside the modules; without it, they are those of the clone around src."""
    package = tmp_path / "src" / "otel_resinstr"
    assert tmp_path / "examples/app.py" == shipped("examples/app.py", package)

    (package / "_examples").mkdir(parents=True)
    (package / "_examples" / "app.py").touch()

    assert package / "_examples/app.py" == shipped("examples/app.py", package)
