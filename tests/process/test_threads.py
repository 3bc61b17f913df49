# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fakes import MACHINES, FakeReading, run
from otel_resinstr.process import ProcessReading
from otel_resinstr.process.threads import Threads
from otel_resinstr.semconv import PROCESS_THREAD_COUNT


def test_the_threads_that_the_system_counts(collect):
    """One entry of the task list is one thread."""
    assert {PROCESS_THREAD_COUNT.name: {(): 3}} == collect(
        Threads(ProcessReading(MACHINES / "kubernetes_v2"))
    ).as_dict()


def test_unknown_threads_are_absent(collect):
    """A process has at least one thread: a zero would be a lie."""
    assert {} == collect(Threads(FakeReading())).as_dict()


def test_threads_come_and_go():
    """Ten threads more are ten threads more, until they have ended."""
    assert [1, 11, 1] == run("""
import threading
from otel_resinstr.process.threads import Threads

start(Threads(ProcessReading()))
seen = []

def look(expected):
    settled(expected)
    seen.append(collect()["process.thread.count"][""])

look(1)
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(10)]
for thread in threads:
    thread.start()
look(11)
end.set()
for thread in threads:
    thread.join()
look(1)
print(json.dumps(seen))
""")
