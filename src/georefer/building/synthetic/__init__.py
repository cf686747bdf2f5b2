"""Synthetic areas: a made-up place as an orthophoto, with map layers that are true to the pixel."""

from georefer.building.synthetic.area import SyntheticArea, synthesize

__all__ = ["SyntheticArea", "synthesize"]
