# SPDX-License-Identifier: Apache-2.0
"""Runs another program, and prints each address that the process connects to or looks up, to its very end."""

import runpy
import sys

ASKED = {"socket.connect": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def tell(event, arguments):
    if event in ASKED:
        print("asked for", arguments[ASKED[event]], flush=True)


sys.addaudithook(tell)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
