# SPDX-License-Identifier: Apache-2.0
"""Thread pools: who waits for a thread, how long, and for whom."""
