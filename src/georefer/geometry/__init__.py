"""Shapes, grids, frames and overlap: pure values and functions over numpy, shapely and pyproj."""

from georefer.geometry.frame import Frame
from georefer.geometry.grid import GeoGrid, turn_image
from georefer.geometry.objects import Object, Objects
from georefer.geometry.overlap import hbb_ioa, hbb_iou, polygon_iou, shape_iou
from georefer.geometry.shapes import HBB, OBB, Kind
from georefer.geometry.window import Window, tile

__all__ = [
    "HBB", "OBB", "Frame", "GeoGrid", "Kind", "Object", "Objects", "Window",
    "hbb_ioa", "hbb_iou", "polygon_iou", "shape_iou", "tile", "turn_image",
]  # fmt: skip
