"""Scores of generated clips. Nothing here samples or trains: callers hand in what makes a clip from a scene."""
