# SPDX-License-Identifier: Apache-2.0
"""What the package costs, measured beside what people use today; `python -m benchmarks --help`."""
