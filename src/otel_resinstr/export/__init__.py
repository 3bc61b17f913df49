# SPDX-License-Identifier: Apache-2.0
"""Exporters for where no network leads out. The only part that knows the SDK, and nothing else imports it."""
