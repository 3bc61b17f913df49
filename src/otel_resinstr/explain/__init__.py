# SPDX-License-Identifier: Apache-2.0
"""Says which suspect it is, from what arrived over OTLP: readings, figures, suspects, verdict.

Knows the application only by its telemetry, and the telemetry only by the names in ``semconv``: a file from a
closed site is as good as a running process.
"""
