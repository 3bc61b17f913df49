# SPDX-License-Identifier: Apache-2.0
import otel_resinstr


def pre_fork(server, worker):
    # A worker that is forked in the middle of an export may never report: what is pending goes out first.
    otel_resinstr.flush()
