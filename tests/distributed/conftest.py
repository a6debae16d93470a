"""The helpers are in launching.py: several folders have a conftest, and a name stands for one of them only."""

from launching import expect, launch

__all__ = ["expect", "launch"]
