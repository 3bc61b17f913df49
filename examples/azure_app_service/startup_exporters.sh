# SPDX-License-Identifier: Apache-2.0
# Startup Command: sh startup_exporters.sh

# OpenTelemetry's own set-up, with Azure's exporters.
export OTEL_PYTHON_DISTRO=distro
export OTEL_PYTHON_CONFIGURATOR=configurator
export OTEL_METRICS_EXPORTER=azure_monitor_opentelemetry_exporter
export OTEL_TRACES_EXPORTER=azure_monitor_opentelemetry_exporter
export OTEL_LOGS_EXPORTER=azure_monitor_opentelemetry_exporter
# As above.
export OTEL_SERVICE_NAME="$WEBSITE_SITE_NAME-$WEBSITE_SLOT_NAME"
export OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otel

exec opentelemetry-instrument gunicorn --bind "0.0.0.0:$PORT" --workers 2 app:app
