# SPDX-License-Identifier: Apache-2.0
# Startup Command: sh startup_in_code.sh

export OTEL_SERVICE_NAME="$WEBSITE_SITE_NAME-$WEBSITE_SLOT_NAME"
export OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otel
# All spans. Azure's default here is five traces a second, and the lives of clients are among the rest.
export OTEL_TRACES_SAMPLER=always_on

exec gunicorn -c gunicorn_in_code.conf.py --bind "0.0.0.0:$PORT" --workers 2 app:app
