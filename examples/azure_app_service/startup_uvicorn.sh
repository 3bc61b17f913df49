# SPDX-License-Identifier: Apache-2.0
# Startup Command: sh startup_uvicorn.sh

export OTEL_SERVICE_NAME="$WEBSITE_SITE_NAME-$WEBSITE_SLOT_NAME"
export OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otel
export OTEL_TRACES_SAMPLER=always_on

exec uvicorn --host 0.0.0.0 --port "$PORT" --workers 2 main:app
