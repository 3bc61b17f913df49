# SPDX-License-Identifier: Apache-2.0
"""What CPython says of itself."""
