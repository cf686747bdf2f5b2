"""How the files of a source lie on one pixel lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from georefer.errors import RasterError
from georefer.geometry import GeoGrid, Window
from georefer.imagery.files import Location, Source, find_files, open_dataset, tile_of, tile_transform

TOLERANCE_PX = 0.25
"""How far the corners of a file may lie from whole pixels of the lattice: web tiles stored in degrees drift by
hundredths of a pixel from row to row, a real misfit is a fraction of its own."""


@dataclass(frozen=True)
class Part:
    """One file and the pixels of the lattice that it covers."""

    path: Location
    window: Window


@dataclass(frozen=True)
class Lattice:
    """All files of an area on their union grid; every file has at least `count` bands of type `dtype`."""

    parts: tuple[Part, ...]
    grid: GeoGrid
    dtype: str
    count: int

    def meeting(self, window: Window) -> list[Part]:
        """The parts that share a pixel with a window, in the order given."""
        x1, y1, x2, y2 = window.box
        left_N, top_N, right_N, bottom_N = self._boxes_4N
        hit_N = (left_N < x2) & (right_N > x1) & (top_N < y2) & (bottom_N > y1)
        return [self.parts[i] for i in np.flatnonzero(hit_N)]

    @cached_property
    def _boxes_4N(self) -> np.ndarray:
        return np.array([part.window.box for part in self.parts]).T


@dataclass(frozen=True)
class _Header:
    path: Location
    crs: CRS | None
    transform: Affine
    width: int
    height: int
    dtype: str
    count: int
    zoom: int | None
    """Of a web tile, whose place follows from its name."""


def shared(first: Window, second: Window) -> Window | None:
    """The pixels that lie in both windows."""
    x1, y1 = max(first.x, second.x), max(first.y, second.y)
    x2, y2 = min(first.box[2], second.box[2]), min(first.box[3], second.box[3])
    return Window(x1, y1, x2 - x1, y2 - y1) if x2 > x1 and y2 > y1 else None


def read_lattice(source: Source, bands: Sequence[int]) -> Lattice:
    """Reads every file's header; RasterError names the first file that does not fit."""
    headers = [_read_header(path, bands) for path in find_files(source)]
    first = headers[0]
    for header in headers[1:]:
        _check_like(header, first)
    boxes_N4 = np.array([_place(header, first, len(headers)) for header in headers])
    left, top = (int(v) for v in boxes_N4[:, :2].min(axis=0))
    right, bottom = (int(v) for v in boxes_N4[:, 2:].max(axis=0))
    parts = tuple(
        Part(header.path, Window(int(x1) - left, int(y1) - top, int(x2 - x1), int(y2 - y1)))
        for header, (x1, y1, x2, y2) in zip(headers, boxes_N4, strict=True)
    )
    grid = _grid(first, left, top, right - left, bottom - top)
    return Lattice(parts, grid, first.dtype, min(h.count for h in headers))


def _read_header(path: Location, bands: Sequence[int]) -> _Header:
    with open_dataset(path) as dataset:
        if dataset.driver == "PNG" and isinstance(path, Path):
            _check_png_end(path)
        _check_bands(path, dataset, bands)
        crs, transform = _crs(path, dataset), dataset.transform
        name = path if isinstance(path, str) else path.absolute()
        tile = tile_of(name, dataset.width, dataset.height) if crs is None and transform.is_identity else None
        if tile is not None:
            crs, transform = CRS.from_epsg(3857), tile_transform(*tile, dataset.width)
        zoom = None if tile is None else tile[2]
        size = dataset.width, dataset.height
        return _Header(path, crs, transform, *size, dataset.dtypes[bands[0] - 1], dataset.count, zoom)


def _check_png_end(path: Path) -> None:
    """GDAL fills a PNG that breaks off with black and says nothing."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        if b"IEND" not in file.read():
            raise RasterError(f"{path} breaks off where a PNG's end is expected; fetch or copy the file again")


def _check_bands(path: Location, dataset: Any, bands: Sequence[int]) -> None:
    if max(bands) > dataset.count:
        remedy = "pass bands=(1,) to see one band as grey" if dataset.count < 3 else "choose among those"
        raise RasterError(
            f"{path} has {dataset.count} band{'s' * (dataset.count != 1)} where bands {tuple(bands)} are asked for; "
            f"{remedy}"
        )
    if ColorInterp.palette in (dataset.colorinterp[b - 1] for b in bands):
        raise RasterError(
            f"{path} holds palette numbers where colours are expected; run  gdal_translate -expand rgb  on it"
        )
    kinds = {dataset.dtypes[b - 1] for b in bands}
    if len(kinds) > 1 or any("complex" in kind for kind in kinds):
        raise RasterError(
            f"{path} has bands of type {', '.join(sorted(kinds))} where one real number type is expected; "
            "convert it with  gdal_translate -ot"
        )


def _crs(path: Location, dataset: Any) -> CRS | None:
    if not dataset.crs:
        return None
    try:
        return CRS.from_wkt(dataset.crs.to_wkt())
    except (CRSError, RasterioError) as error:
        raise RasterError(
            f"{path} has a coordinate reference system that PROJ cannot read ({error}); "
            "assign the right one with  gdal_edit.py -a_srs EPSG:<code>"
        ) from error


def _check_like(header: _Header, first: _Header) -> None:
    def refuse(found: str, expected: str, remedy: str) -> None:
        raise RasterError(
            f"{header.path} has {found} where {expected} is expected, as in {first.path}, "
            f"because both make one mosaic; {remedy}"
        )

    if header.dtype != first.dtype:
        refuse(f"pixels of type {header.dtype}", first.dtype, f"convert it with  gdal_translate -ot  to {first.dtype}")
    if header.zoom is not None and first.zoom is not None and header.zoom != first.zoom:
        refuse(f"zoom {header.zoom}", f"zoom {first.zoom}", f"choose one with a pattern such as '*-{first.zoom}.png'")
    if header.crs != first.crs:
        refuse(f"the CRS {_name(header.crs)}", _name(first.crs), "bring it there with  gdalwarp -t_srs")


def _place(header: _Header, first: _Header, count: int) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of a file in whole pixels of the first file."""
    if count > 1 and header.crs is None and header.transform.is_identity:
        raise RasterError(
            f"{header.path} has no georeference where {count} files are to be put side by side; "
            "georeference the files or give one alone"
        )
    corners = [(0, 0), (header.width, 0), (0, header.height), (header.width, header.height)]
    to_first = ~first.transform @ header.transform
    x0, y0 = (round(v) for v in to_first @ (0, 0))
    misfit = max(np.hypot(*np.subtract(to_first @ (x, y), (x0 + x, y0 + y))) for x, y in corners)
    if misfit > TOLERANCE_PX:
        raise RasterError(
            f"{header.path} lies {misfit:.2f} pixels off the lattice of {first.path} where at most {TOLERANCE_PX} "
            "are expected in a mosaic; warp all files to one grid with  gdalwarp -tr ... -tap"
        )
    return x0, y0, x0 + header.width, y0 + header.height


def _grid(first: _Header, left: int, top: int, width: int, height: int) -> GeoGrid:
    if first.crs is None:
        return GeoGrid.none(width, height)
    return GeoGrid(first.crs, first.transform @ Affine.translation(left, top), width, height)


def _name(crs: CRS | None) -> str:
    if crs is None:
        return "of none"
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name
