"""Engines: how a model is spread over the ranks, and whose optimiser steps it. One class a kind, one interface."""

from lumosx.training.engines.base import Engine
from lumosx.training.engines.choice import make_engine

__all__ = ["Engine", "make_engine"]
