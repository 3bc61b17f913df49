# SPDX-License-Identifier: Apache-2.0
def post_fork(server, worker):
    # In each worker, and not before: what a worker inherits of an exporter is its parent's.
    from azure.monitor.opentelemetry import configure_azure_monitor

    import otel_resinstr

    configure_azure_monitor()
    otel_resinstr.instrument()


def worker_exit(server, worker):
    import otel_resinstr

    otel_resinstr.flush()
