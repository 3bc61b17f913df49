# SPDX-License-Identifier: Apache-2.0
"""From where on a figure speaks against a suspect, and why there."""

from __future__ import annotations

CHURN_CLIENTS = 10
"""Clients. An application has one for each cluster that it talks to, rarely more than a handful; from here on the
probe reports a line as well (`OTEL_RESINSTR_MONGODB_CHURN_COUNT`)."""

CHURN_CLIENTS_PER_MINUTE = 10.0
"""Clients a minute. Ten in a day are restarts and tests, not calls; the probe's window is a minute too."""

CHURN_SHARE_ENDED = 0.5
"""Share of the clients that have ended. Churn is that they come and go; where most stay, it is growth."""

GROWTH_CLIENTS = 10
"""Clients at a time: 30 threads and 30 sockets with one server (3 of each a client). See also `CHURN_CLIENTS`."""

LOOP_DELAY = 0.1
"""Seconds. What a person notices (https://www.nngroup.com/articles/response-times-3-important-limits/); a loop that
shares a busy machine stays below it, and the probe takes a stack from here on (`OTEL_RESINSTR_EVENTLOOP_THRESHOLD`)."""

CONNECTION_WAIT = 0.1
"""Seconds, of the 99th percentile of the waits for a connection. A check-out from a pool that has one free takes
microseconds; and see `LOOP_DELAY`: the caller waits as long."""

CONNECTION_TIMEOUTS = 0
"""Waits for a connection that ran out. Each one more than none is an error in the application."""

SERVER_SELECTION_FAILURES = 0
"""Operations for which no server could be had. Each one more than none is an error in the application."""

POOL_BUSY = 1.0
"""Share of a thread pool's threads that are busy. With all of them busy, work that is handed over has to wait."""

POOL_QUEUED = 0
"""Work items that wait for a thread. Busy threads without a queue are a pool that is used well."""

MEMORY_LEFT = 0.1
"""Share of the limit, or of the machine's memory, that is left beside page cache, whoever has the rest. With less the
kernel takes what is needed again soon, and the probe says that it gets low. Alone it is no fault:
`MAJOR_FAULTS_PER_SECOND` or `MEMORY_STALLED` beside it is."""

MAJOR_FAULTS_PER_SECOND = 10.0
"""Major faults of the machine a second. Programs that have started make next to none; each is a read from the disk for
memory that was there before, up to 10 ms on a turning one: a tenth of the time."""

MEMORY_STALLED = 0.1
"""Share of the time in which some task waited for memory (PSI). A tenth of the time is one that users notice; what is
given out and taken back in passing stays far below."""

OOM_KILLS = 0
"""Processes of the container that the kernel has killed for want of memory."""

CPU_THROTTLED = 0.25
"""Seconds a second, added up over threads, in which the quota let the process not run though it had work to do."""

DESCRIPTORS = 0.8
"""Share of the limit of open files. What is left is gone within minutes where something leaks, and with it every new
connection."""

POOL_WAIT = 1.0
"""Seconds. Queues are made to be waited in; from here on a person waits too, and the probe reports the pool
(`OTEL_RESINSTR_THREADPOOL_THRESHOLD`)."""
