"""Where an image lies on the ground: CRS, affine transform and size, as one value that cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer
from shapely.geometry.base import BaseGeometry

from georefer.geometry.window import Window

T = TypeVar("T")


@dataclass(frozen=True)
class GeoGrid:
    """The pixel grid of one image, georeferenced or not.

    Pixel coordinates are continuous: (0, 0) is the outer top-left corner of the image, x runs right, y runs
    down, and the centre of the first pixel is (0.5, 0.5). `transform` maps pixel (x, y) to world (x, y) in
    traditional GIS order (longitude before latitude, easting before northing), as GDAL does.
    A grid without a CRS is `GeoGrid.none(width, height)`: its "world" is its pixels and nothing can be said
    in metres. Every method returns a new grid.
    """

    crs: CRS | None
    transform: Affine
    width: int
    height: int

    @classmethod
    def none(cls, width: int, height: int) -> GeoGrid:
        """The grid of an image that has no georeference."""
        return cls(None, Affine.identity(), width, height)

    @property
    def is_georeferenced(self) -> bool:
        return self.crs is not None

    @cached_property
    def gsd_m(self) -> float | None:
        """Ground sampling distance in metres at the image centre (geometric mean of both axes), or None.

        In a geographic CRS it is measured on the ellipsoid, so pixels that are not square in degrees are
        handled; in a projected one the linear unit is converted to metres (the projection's own scale
        factor is ignored, below 0.1 % in the usual national and UTM systems, but not in web Mercator,
        which is therefore measured on the ellipsoid too).
        """
        if self.crs is None:
            return None
        size_x, size_y = self.pixel_size_m
        return float(np.sqrt(size_x * size_y))

    @cached_property
    def pixel_size_m(self) -> tuple[float, float]:
        """Ground length of one pixel along x and along y at the image centre, metres on the ellipsoid."""
        if self.crs is None:
            raise ValueError("a grid without CRS has no size in metres")
        cx, cy = self.width / 2, self.height / 2
        corners = self.pixel_to_lonlat(np.array([[cx - 0.5, cy], [cx + 0.5, cy], [cx, cy - 0.5], [cx, cy + 0.5]]))
        lon, lat = corners.T
        _, _, lengths = Geod(ellps="WGS84").inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])
        return float(lengths[0]), float(lengths[1])

    # --- coordinates -------------------------------------------------------------------------------------

    def pixel_to_world(self, xy_N2: np.ndarray) -> np.ndarray:
        """Pixel (x, y) rows to CRS (x, y) rows."""
        return _apply(self.transform, xy_N2)

    def world_to_pixel(self, xy_N2: np.ndarray) -> np.ndarray:
        """CRS (x, y) rows to pixel (x, y) rows; points outside the image are not clipped."""
        return _apply(~self.transform, xy_N2)

    def pixel_to_lonlat(self, xy_N2: np.ndarray) -> np.ndarray:
        """Pixel rows to WGS84 (longitude, latitude) rows, degrees."""
        if self.crs is None:
            raise ValueError("a grid without CRS has no longitude and latitude")
        world = self.pixel_to_world(xy_N2)
        return np.column_stack(_to_lonlat(self.crs).transform(world[:, 0], world[:, 1]))

    def lonlat_to_pixel(self, lonlat_N2: np.ndarray) -> np.ndarray:
        """WGS84 (longitude, latitude) rows, degrees, to pixel rows; infinite where the CRS does not reach."""
        if self.crs is None:
            raise ValueError("a grid without CRS has no longitude and latitude")
        world = _to_lonlat(self.crs).transform(lonlat_N2[:, 0], lonlat_N2[:, 1], direction="INVERSE")
        return self.world_to_pixel(np.column_stack(world))

    def geometry_to_pixel(self, geometry):
        """A shapely geometry (or array of them) from CRS coordinates to pixels."""
        return shapely.transform(geometry, self.world_to_pixel)

    def geometry_to_world(self, geometry):
        """A shapely geometry (or array of them) from pixels to CRS coordinates."""
        return shapely.transform(geometry, self.pixel_to_world)

    @property
    def footprint(self) -> BaseGeometry:
        """The image outline as a polygon in CRS coordinates (pixels where there is no CRS)."""
        return self.geometry_to_world(shapely.box(0, 0, self.width, self.height))

    # --- new grids ---------------------------------------------------------------------------------------

    def crop(self, window: Window) -> GeoGrid:
        """The grid of a window of this image; the window may run over the edge (padding)."""
        shift = Affine.translation(window.x, window.y)
        return GeoGrid(self.crs, self.transform @ shift, window.width, window.height)

    def resize(self, width: int, height: int) -> GeoGrid:
        """The same ground in another number of pixels."""
        scale = Affine.scale(self.width / width, self.height / height)
        return GeoGrid(self.crs, self.transform @ scale, width, height)

    def turn(self, quarter_turns: int, mirror: bool = False) -> GeoGrid:
        """The grid of `turn_image(image, quarter_turns, mirror)`: still true on the ground."""
        to_source = ~turn_transform(self.width, self.height, quarter_turns, mirror)
        swapped = quarter_turns % 2 == 1
        width, height = (self.height, self.width) if swapped else (self.width, self.height)
        return GeoGrid(self.crs, self.transform @ to_source, width, height)


def turn_transform(width: int, height: int, quarter_turns: int, mirror: bool = False) -> Affine:
    """Where pixel (x, y) of an image goes under a mirror left-right, then anticlockwise quarter turns."""
    result = Affine(-1, 0, width, 0, 1, 0) if mirror else Affine.identity()
    for _ in range(quarter_turns % 4):
        # numpy.rot90: the right edge becomes the top one
        result = Affine(0, 1, 0, -1, 0, width) @ result
        width, height = height, width
    return result


def turn_image(image_HWC: np.ndarray, quarter_turns: int, mirror: bool = False) -> np.ndarray:
    """The image mirrored left-right (if asked), then turned anticlockwise; a contiguous copy."""
    mirrored = image_HWC[:, ::-1] if mirror else image_HWC
    return np.ascontiguousarray(np.rot90(mirrored, quarter_turns % 4))


def turn_geometry(geometry, width: int, height: int, quarter_turns: int, mirror: bool = False):
    """Pixel geometry (or array) of an image, moved as `turn_image` moves its pixels."""
    matrix = turn_transform(width, height, quarter_turns, mirror)
    return shapely.transform(geometry, lambda xy_N2: _apply(matrix, xy_N2))


def _once_per_crs(made_of: Callable[[CRS], T]) -> Callable[[CRS], T]:
    """Remembers what is made of a CRS: the chips of an area all have the same, and even to compare two takes long."""
    by_value = lru_cache(maxsize=64)(made_of)
    by_object: dict[int, tuple[CRS, T]] = {}

    def remembered(crs: CRS) -> T:
        found = by_object.get(id(crs))
        if found is None:
            if len(by_object) >= 64:
                by_object.clear()
            # with the CRS itself, so that no other gets its id
            found = by_object[id(crs)] = crs, by_value(crs)
        return found[1]

    return remembered


@_once_per_crs
def _to_lonlat(crs: CRS) -> Transformer:
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


@_once_per_crs
def crs_name(crs: CRS) -> str:
    """Its authority and number, such as "EPSG:2154", else its definition."""
    return crs.to_string()


def _apply(matrix: Affine, xy_N2: np.ndarray) -> np.ndarray:
    xy_N2 = np.asarray(xy_N2, dtype=np.float64)
    x, y = xy_N2[:, 0], xy_N2[:, 1]
    return np.column_stack((matrix.a * x + matrix.b * y + matrix.c, matrix.d * x + matrix.e * y + matrix.f))
