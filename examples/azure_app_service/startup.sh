# SPDX-License-Identifier: Apache-2.0
# Startup Command: sh startup.sh

# Azure's set-up of OpenTelemetry, also where another one is installed. Both names, or nothing may arrive.
export OTEL_PYTHON_DISTRO=azure_monitor_opentelemetry_distro
export OTEL_PYTHON_CONFIGURATOR=azure_monitor_opentelemetry_configurator
# The role is the site with its slot, and each process is an instance of it.
export OTEL_SERVICE_NAME="$WEBSITE_SITE_NAME-$WEBSITE_SLOT_NAME"
export OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otel

exec opentelemetry-instrument gunicorn --bind "0.0.0.0:$PORT" --workers 2 app:app
