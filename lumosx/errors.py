"""Errors that are the user's to mend. Kept apart from every other module so that all layers may raise them and the
command line can tell "your input is wrong" (exit 2) from "it failed while running" (exit 1)."""


class InputError(ValueError):
    """The user's input is wrong. The message says what, where, and how to mend it."""
