"""Shapes, grids, frames and overlap: pure values and functions over numpy, shapely and pyproj."""

from georefer.geometry.angles import CONVENTIONS, AngleConvention, RotatedBox, from_convention, to_convention
from georefer.geometry.frame import AnyRes, Frame
from georefer.geometry.grid import GeoGrid, turn_image
from georefer.geometry.mask import Mask, mask_iou
from georefer.geometry.objects import Object, Objects
from georefer.geometry.overlap import hbb_ioa, hbb_iou, overlap, overlap_pairs, polygon_iou, shape_iou
from georefer.geometry.rotated import obb_from_polygons, obb_ioa, obb_iou, obb_iou_pairs, obb_polygons
from georefer.geometry.shapes import HBB, OBB, Kind
from georefer.geometry.suppression import suppress, suppressed_by
from georefer.geometry.window import Window, tile

__all__ = [
    "CONVENTIONS", "HBB", "OBB", "AngleConvention", "AnyRes", "Frame", "GeoGrid", "Kind", "Mask", "Object", "Objects",
    "RotatedBox", "Window", "from_convention", "hbb_ioa", "hbb_iou", "mask_iou", "obb_from_polygons", "obb_ioa",
    "obb_iou", "obb_iou_pairs", "obb_polygons", "overlap", "overlap_pairs", "polygon_iou", "shape_iou", "suppress",
    "suppressed_by", "tile", "to_convention", "turn_image",
]  # fmt: skip
