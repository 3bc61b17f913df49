# SPDX-License-Identifier: Apache-2.0
"""What pymongo's clients do: how many there are, who constructs them, what they hold, how long things take."""
