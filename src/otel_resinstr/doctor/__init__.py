# SPDX-License-Identifier: Apache-2.0
"""What is wrong with how a command is instrumented: `resinstr doctor` without its looks.

A process of its own is started as the launcher would start the command (`inside`), and says what came of it. The
checks, one module a theme, say what is wrong with that, each finding with its remedy. The command itself is not run.
"""
