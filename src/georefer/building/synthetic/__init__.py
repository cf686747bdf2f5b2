"""Synthetic areas: a made-up place as an orthophoto, with map layers that are true to the pixel."""

from .area import SyntheticArea, synthesize

__all__ = ["SyntheticArea", "synthesize"]
