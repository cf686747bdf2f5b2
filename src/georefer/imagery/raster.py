"""Imagery: one raster or a mosaic of many, read by windows as RGB with a mask of what is real."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import rasterio
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError

from georefer.errors import RasterError
from georefer.geometry import GeoGrid, Window
from georefer.imagery.files import Location, Source, environment, open_dataset
from georefer.imagery.lattice import Lattice, Part, read_lattice, shared
from georefer.imagery.resample import resampled

Stretch = tuple[tuple[float, float], ...]
"""(low, high) of every band read: low becomes 0 and high 255. Plain numbers, so that JSON holds it."""

PERCENTILES = (2.0, 98.0)
SAMPLE_SIDE_PX = 1024
"""Longer side of the decimated area from which a stretch is measured."""

MAX_NATIVE_PX = 2**24
"""A window of more pixels is read decimated (through overviews where the file has them): memory stays bounded."""

MAX_OPEN_FILES = 64


@dataclass(frozen=True, eq=False)
class Pixels:
    """RGB uint8 and where it is real; the image is 0 where it is not."""

    image_HW3: np.ndarray
    valid_HW: np.ndarray


class Imagery:
    """An area of pixels on one grid; `open_imagery` makes it.

    `stretch` is None where the pixels are passed as they are. Windows may run over the edge; what lies
    outside, in nodata, under a transparent alpha or in no file at all is not valid. Where files overlap, the
    one named first shows. Values travel to other processes by reopening (pickle and fork are both safe);
    threads need an `Imagery` each, since GDAL datasets do not stand sharing.
    """

    def __init__(self, lattice: Lattice, bands: tuple[int, ...], stretch: Stretch | None = None):
        self._lattice = lattice
        self.bands = bands
        self.stretch = stretch
        self._open: OrderedDict[Location, rasterio.DatasetReader] = OrderedDict()
        self._process = os.getpid()

    def __enter__(self) -> Imagery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"lattice": self._lattice, "bands": self.bands, "stretch": self.stretch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def close(self) -> None:
        """Closes the files; a later read opens them again."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def grid(self) -> GeoGrid:
        return self._lattice.grid

    @property
    def dtype(self) -> str:
        """Type of the pixels in the files, such as "uint8"."""
        return self._lattice.dtype

    @property
    def count(self) -> int:
        """Bands that every file has."""
        return self._lattice.count

    @property
    def files(self) -> tuple[Location, ...]:
        """Local paths, or addresses as text."""
        return tuple(part.path for part in self._lattice.parts)

    @property
    def file_boxes_N4(self) -> np.ndarray:
        """Where the files lie on the raster, (x1, y1, x2, y2) pixels; between patches there may be none."""
        return np.array([part.window.box for part in self._lattice.parts]).reshape(-1, 4)

    def describe(self) -> dict[str, Any]:
        """What decides how pixels look, as plain JSON values, for provenance and for comparing runs."""
        return {
            "files": [str(path) for path in self.files],
            "size": [self.grid.width, self.grid.height],
            "bands": list(self.bands),
            "dtype": self.dtype,
            "stretch": None if self.stretch is None else [list(pair) for pair in self.stretch],
        }

    def read(self, window: Window, size: tuple[int, int] | None = None) -> Pixels:
        """The pixels of a window, resampled to `size` = (width, height) where given.

        Area averaging where it shrinks, linear where it grows. RasterError where a file cannot be read.
        """
        size = size or (window.width, window.height)
        bands_HWB, valid_HW = self._gather(window, _reading_size(window, size))
        if bands_HWB.shape[1::-1] != size:
            bands_HWB, valid_HW = resampled(bands_HWB, valid_HW, size)
        return Pixels(_to_rgb(bands_HWB, valid_HW, self.stretch), valid_HW)

    def overview(self, max_side: int) -> Pixels:
        """The whole area with at most `max_side` pixels along the longer side, never enlarged."""
        width, height = self.grid.width, self.grid.height
        factor = min(1.0, max_side / max(width, height))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return self.read(Window(0, 0, width, height), size)

    # --- reading -----------------------------------------------------------------------------------------

    def _gather(
        self, window: Window, size: tuple[int, int], resampling: Resampling = Resampling.average
    ) -> tuple[np.ndarray, np.ndarray]:
        """Raw bands (height, width, band) and validity of a window, read at `size`; the first file on top."""
        bands_BHW = np.zeros((len(self.bands), size[1], size[0]), dtype=self.dtype)
        valid_HW = np.zeros((size[1], size[0]), dtype=bool)
        scale = size[0] / window.width, size[1] / window.height
        for part in self._lattice.meeting(window):
            inside = shared(part.window, window)
            assert inside is not None
            rows, columns = _target(inside, window, scale)
            if rows.start == rows.stop or columns.start == columns.stop:
                continue  # a sliver that no pixel of the decimated area stands for
            values_BHW, mask_HW = self._read_part(part, inside, (rows, columns), resampling)
            fresh_HW = mask_HW & ~valid_HW[rows, columns]
            np.copyto(bands_BHW[:, rows, columns], values_BHW, where=fresh_HW)
            valid_HW[rows, columns] |= fresh_HW
        return np.moveaxis(bands_BHW, 0, 2), valid_HW

    def _read_part(
        self, part: Part, inside: Window, target: tuple[slice, slice], resampling: Resampling
    ) -> tuple[np.ndarray, np.ndarray]:
        shape = tuple(s.stop - s.start for s in target)
        x, y = inside.x - part.window.x, inside.y - part.window.y
        where = {"window": rasterio.windows.Window(x, y, inside.width, inside.height), "out_shape": shape}
        try:
            with environment(part.path):
                dataset = self._dataset(part.path)
                values_BHW = dataset.read(self.bands, resampling=resampling, **_banded(where, len(self.bands)))
                mask_HW = self._mask(dataset, where)
        except (RasterioError, OSError, ValueError) as error:
            raise RasterError(
                f"{part.path} broke off while pixels {inside.box} of the area were read ({error}) where a whole "
                "file is expected; fetch or copy the file again"
            ) from error
        if values_BHW.dtype.kind == "f":
            mask_HW &= np.isfinite(values_BHW).all(axis=0)
        return values_BHW, mask_HW

    def _mask(self, dataset: Any, where: dict[str, Any]) -> np.ndarray:
        """Valid where any band is: a nodata value in one band alone is a dark colour, not a hole."""
        if all(MaskFlags.all_valid in dataset.mask_flag_enums[b - 1] for b in self.bands):
            return np.ones(where["out_shape"], dtype=bool)
        masks_BHW = dataset.read_masks(self.bands, **_banded(where, len(self.bands)))
        return masks_BHW.any(axis=0)

    def _dataset(self, path: Location) -> rasterio.DatasetReader:
        if self._process != os.getpid():
            # forked: the parent's datasets share its file positions
            self._open, self._process = OrderedDict(), os.getpid()
        if path not in self._open:
            if len(self._open) >= MAX_OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            self._open[path] = open_dataset(path)
        self._open.move_to_end(path)
        return self._open[path]


def open_imagery(
    source: Source,
    *,
    bands: Sequence[int] = (1, 2, 3),
    stretch: Literal["auto"] | Sequence[Sequence[float]] | None = "auto",
) -> Imagery:
    """Imagery from one file or address (http, https), a list of them, a folder or a glob pattern.

    Addresses are read by parts, so a window of a cloud-optimised GeoTIFF costs little more than itself. Web tiles
    without a georeference lie where their names say, `*-x-y-z.png` or `z/x/y.png` (EPSG:3857, one zoom a source).
    Formats that only name other files are not opened, but for a local .vrt that is named by itself.
    `bands` are three band numbers from 1 (red, green, blue), or one that is shown as grey. Files of a mosaic
    lie on one pixel lattice (same CRS and pixel size, offsets of whole pixels). `stretch="auto"` passes uint8
    as it is and measures ONE linear stretch for the whole area of anything else (2nd to 98th percentile per
    band); give `Imagery.stretch` of the training area to see another one alike. RasterError says which file
    cannot be used and why.
    """
    chosen = _checked_bands(bands)
    imagery = Imagery(read_lattice(source, chosen), chosen)
    try:
        imagery.stretch = _stretch(imagery, stretch)
    except BaseException:
        imagery.close()
        raise
    return imagery


def _checked_bands(bands: Sequence[int]) -> tuple[int, ...]:
    if len(bands) not in (1, 3) or min(bands) < 1:
        raise RasterError(f"bands {tuple(bands)} were asked for where one or three numbers from 1 are expected")
    return tuple(int(b) for b in bands)


def _stretch(imagery: Imagery, stretch: Any) -> Stretch | None:
    if stretch == "auto":
        return None if imagery.dtype == "uint8" else _measured_stretch(imagery)
    if stretch is None:
        if imagery.dtype != "uint8":
            raise RasterError(
                f"{imagery.files[0]} holds {imagery.dtype} where no stretch is given, which only uint8 can go "
                'without; use stretch="auto" or (low, high) for every band'
            )
        return None
    pairs = tuple((float(low), float(high)) for low, high in stretch)
    if len(pairs) != len(imagery.bands) or any(low >= high for low, high in pairs):
        raise RasterError(
            f"the stretch {pairs} was found where {len(imagery.bands)} pairs of low < high are expected, one a band"
        )
    return pairs


def _measured_stretch(imagery: Imagery) -> Stretch:
    grid = imagery.grid
    factor = min(1.0, SAMPLE_SIDE_PX / max(grid.width, grid.height))
    size = max(1, round(grid.width * factor)), max(1, round(grid.height * factor))
    # nearest: averages would hide the extremes that a full-resolution window shows
    bands_HWB, valid_HW = imagery._gather(Window(0, 0, grid.width, grid.height), size, Resampling.nearest)
    if not valid_HW.any():
        raise RasterError(
            f"{imagery.files[0]} holds no valid pixel to measure a stretch from; "
            "check its nodata value with gdalinfo, or pass the stretch"
        )
    low_B, high_B = np.percentile(bands_HWB[valid_HW].astype(np.float64), PERCENTILES, axis=0)
    # a flat area has no range; float32, in which pixels are stretched, has to tell the two ends apart
    least_B = np.maximum(np.abs(low_B) * 1e-5, 1e-12)
    return tuple(
        (float(low), float(high)) for low, high in zip(low_B, np.maximum(high_B, low_B + least_B), strict=True)
    )


def _reading_size(window: Window, size: tuple[int, int]) -> tuple[int, int]:
    """The window's own size, or for a huge one at least twice what is asked for."""
    pixels = window.width * window.height
    if pixels <= MAX_NATIVE_PX:
        return window.width, window.height
    factor = np.sqrt(MAX_NATIVE_PX / pixels)
    return (
        min(window.width, max(2 * size[0], int(window.width * factor))),
        min(window.height, max(2 * size[1], int(window.height * factor))),
    )


def _target(inside: Window, window: Window, scale: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns that a part fills; both sides of a seam round the same edge, so no gap opens."""
    x1, y1, x2, y2 = inside.box
    columns = round((x1 - window.x) * scale[0]), round((x2 - window.x) * scale[0])
    rows = round((y1 - window.y) * scale[1]), round((y2 - window.y) * scale[1])
    return slice(*rows), slice(*columns)


def _banded(where: dict[str, Any], count: int) -> dict[str, Any]:
    return {**where, "out_shape": (count, *where["out_shape"])}


def _to_rgb(bands_HWB: np.ndarray, valid_HW: np.ndarray, stretch: Stretch | None) -> np.ndarray:
    if stretch is not None:
        low_B, high_B = np.array(stretch, dtype=np.float32).T
        bands_HWB = (bands_HWB.astype(np.float32) - low_B) / (high_B - low_B) * 255
    if bands_HWB.dtype != np.uint8:
        bands_HWB = np.clip(np.rint(np.where(valid_HW[..., None], bands_HWB, 0)), 0, 255).astype(np.uint8)
    image_HWB = np.where(valid_HW[..., None], bands_HWB, np.uint8(0))
    return np.ascontiguousarray(np.broadcast_to(image_HWB, (*valid_HW.shape, 3)))
