# SPDX-License-Identifier: Apache-2.0
"""Whether this is a process that multiprocessing keeps for itself, in which nothing of the application's runs."""

from __future__ import annotations

import re
import sys

# Of `multiprocessing`, and of who has a copy of it: joblib's loky, Celery's billiard.
_MAIN = re.compile(r"from ([\w.]+\.(?:resource_tracker|semaphore_tracker|forkserver)) import main\b")


def is_helper() -> bool:
    """Whether this is a resource tracker or a fork server, as their command line says.

    It reads ``python -c 'from multiprocessing.resource_tracker import main;main(5)'``. A process that is forked from a
    fork server has that too, and is none: it has the module already, which is not there while `site` loads us.
    """
    # Without an option -c, what looks like it may be an argument of the application's.
    command = sys.orig_argv if sys.argv[:1] == ["-c"] else []
    code = command[command.index("-c") + 1 :] if "-c" in command else []
    found = _MAIN.match(code[0]) if code else None
    return found is not None and found[1] not in sys.modules
