# SPDX-License-Identifier: Apache-2.0
"""gevent and eventlet: recognised, said once, and nothing breaks. Each in an interpreter of its own."""

from __future__ import annotations

import pytest

from support import run_python

WATCH = """
import asyncio, logging, sys, threading, time
import otel_resinstr
from otel_resinstr.instrumentors import EventLoopInstrumentor
from support import Sink, own_threads

logging.disable()
sink = Sink()

async def work():
    await asyncio.sleep(0.05)
    return 42

def watch():
    EventLoopInstrumentor().instrument(**sink.providers)

def told():
    for event in sink.events():
        print(event.event_name, dict(event.attributes), event.body)
    print(sink.collect().names(), len(own_threads()))
"""

SAID = (
    "resinstr.probe.disabled {{'resinstr.probe': 'eventloop.loops'}} the probe eventloop.loops is off: {} has "
    "replaced threads and selectors by its own; while a loop is held no thread of ours would run to see it, so event "
    "loops are not watched in this process"
)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_patched_before_a_loop_runs(library, when):
    """Before we start, or after: loops run as without us, and one line says that they are not watched."""
    patch = {
        "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
        "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
    }[library]
    # gevent and eventlet want to be first; what is patched later is what happens in gunicorn's workers.
    program = [patch, WATCH, "watch()"] if when == "before" else [WATCH, "watch()", patch]
    said = run_python(
        "\n".join((*program, "print(asyncio.run(work()), asyncio.run(work()))", "told()")),
        PYTHONWARNINGS="ignore",
    ).splitlines()

    assert ["42 42", SAID.format(library), "[] 0"] == said


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_patched_while_a_loop_is_watched(library):
    """Our thread stops looking before it would touch a socket that is not the system's any more."""
    patch = {
        "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
        "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
    }[library]
    said = run_python(
        f"""
{WATCH}
watch()
wait = time.sleep

def off():
    return sink.events("resinstr.probe.disabled")

async def main():
    end = time.monotonic() + 20
    while not sink.collect().names():
        await asyncio.sleep(0.01)
    {patch}
    while not off():
        assert time.monotonic() < end
        wait(0.01)

try:
    asyncio.run(main())
except BaseException as error:
    print(repr(error))
print(len(off()), off()[0].body.split(":")[0])
import os; sys.stdout.flush(); os._exit(0)
""",
        PYTHONWARNINGS="ignore",
    ).splitlines()

    assert ["1 the probe eventloop.loops is off"] == said


def test_imported_is_not_patched():
    """Many libraries import gevent if it is there: that alone changes nothing."""
    said = run_python(
        f"""
import gevent.monkey, warnings
warnings.simplefilter("ignore")
import eventlet.patcher
{WATCH}
watch()
async def main():
    while not sink.collect().names():
        await asyncio.sleep(0.01)
asyncio.run(main())
print(sink.events())
import os; sys.stdout.flush(); os._exit(0)
""",
        PYTHONWARNINGS="ignore",
    )

    assert "[]\n" == said
