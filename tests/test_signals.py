# SPDX-License-Identifier: Apache-2.0
"""Whose a signal is: nobody's, Python's, or a library's in C."""

from __future__ import annotations

import signal
import sys

import pytest

from otel_resinstr._signals import is_free
from support import run_python

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="signals of Unix")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says who catches what")
def test_a_handler_of_python_or_in_c_has_it():
    """Also one that was set for it by `faulthandler`, which Python does not know of."""
    code = """
        import faulthandler, signal, sys
        from otel_resinstr._signals import is_free

        print(is_free(signal.SIGUSR2))
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        print(is_free(signal.SIGUSR2))
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        faulthandler.register(signal.SIGUSR2)
        print(signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL, is_free(signal.SIGUSR2), is_free(signal.SIGUSR1))
        faulthandler.unregister(signal.SIGUSR2)
        print(is_free(signal.SIGUSR2))
    """

    assert "True\nFalse\nTrue False True\nTrue\n" == run_python(code)


@pytest.mark.parametrize(
    ("status", "free"),
    [
        ("Name:\tpython\nSigIgn:\t0800\nSigCgt:\t0000000100000002\n", True),
        ("Name:\tpython\nSigIgn:\t0000\nSigCgt:\t0000000100000802\n", False),
        ("Name:\tpython\nSigCgt:\n", True),
        ("Name:\tpython\nSigCgt:\tall\n", True),
        ("", True),
        (None, True),
    ],
)
def test_what_linux_says_is_read(status, free, tmp_path, monkeypatch):
    """Where it says nothing, what Python knows is all that there is."""
    if status is not None:
        (tmp_path / "status").write_text(status)

    assert free == is_free(signal.SIGUSR2, str(tmp_path / "status"))
