"""Pictures of a dataset that is not trusted: found only in their folder, measured by their headers, read as masks."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import shapely
from PIL import Image

from georefer.errors import RasterError
from georefer.geometry import Mask
from georefer.imagery.encode import decode_image
from georefer.scenes.interchange.files import MAX_TEXT_BYTES, safe_name

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")


def inside(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder, if it is there and truly lies in it."""
    safe = safe_name(name)
    if safe is None:
        return None
    try:
        file = folder / safe
        return file if file.is_file() and file.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def picture_size(path: Path | BinaryIO) -> tuple[int, int] | None:
    """(width, height) as the header of a file, or of bytes in memory, says; None where there is no picture."""
    broken = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, struct.error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                return picture.size
    except (*broken, Image.DecompressionBombError):
        return None


def read_mask(path: Path | None, size: tuple[int | None, int | None]) -> tuple[shapely.Geometry | None, str]:
    """The outline of the pixels of a mask's PNG that are not 0, or None and why there is none.

    The reason is "" for a mask without pixels, which is how files say that nothing is there.
    """
    try:
        if path is None or path.stat().st_size > MAX_TEXT_BYTES:
            return None, "mask file missing" if path is None else "mask file too large"
        return mask_shape(path.read_bytes(), size)
    except OSError:
        return None, "mask file that cannot be read"


def mask_shape(data: bytes, size: tuple[int | None, int | None]) -> tuple[shapely.Geometry | None, str]:
    """The same of the bytes of a PNG in memory."""
    try:
        mask = Mask.from_dense(np.asarray(decode_image(data).any(axis=2)))
    except (OSError, RasterError, ValueError):
        return None, "mask file that cannot be read"
    if size[0] is not None and (mask.width, mask.height) != size:
        return None, "mask of another size than its image"
    return (mask.to_geometry(), "") if mask.area else (None, "")
