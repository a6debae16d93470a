"""Errors that are the user's to mend, apart from all other modules so that every layer may raise them.

They let the command line tell "your input is wrong" (exit 2) from "it failed while running" (exit 1).
"""


class InputError(ValueError):
    """The user's input is wrong. The message says what, where, and how to mend it."""


class TransientError(Exception):
    """Something outside cannot answer now but may later: a server that is down or overloaded."""
