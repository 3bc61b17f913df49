# SPDX-License-Identifier: Apache-2.0
"""How well event loops keep up: asyncio, uvloop, and any other loop that says to asyncio that it runs."""
