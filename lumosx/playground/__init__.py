"""A procedural world with exact truth: clips, references and captions to train on, and a measure that reads
in generated frames who wears what.
"""

from lumosx.playground.measure import Estimate, Reading, binding_accuracy, read_clip
from lumosx.playground.truth import Truth
from lumosx.playground.world import Clips, World

__all__ = ["Clips", "Estimate", "Reading", "Truth", "World", "binding_accuracy", "read_clip"]
