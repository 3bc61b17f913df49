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
