"""Run-length masks of COCO through `georefer.geometry.mask`, with the checks that a file needs.

A mask's outline follows the edges of its pixels, so a mask comes back as it was. One of another size than its
image, or whose runs do not fill it exactly, is refused: it would be laid over the wrong ground.
"""

from __future__ import annotations

from typing import Any

import shapely

from georefer.geometry import Kind
from georefer.geometry.mask import Mask
from georefer.scenes.interchange.files import as_side

KIND: Kind = "mask"


def to_geometry(coded: dict[str, Any], width: int | None, height: int | None) -> tuple[shapely.Geometry | None, str]:
    """The outline of a mask's set pixels, or None and why there is none. `coded` is COCO's, compressed or not."""
    size = coded.get("size")
    sides = [as_side(side) for side in size] if isinstance(size, list) and len(size) == 2 else [None]
    if None in sides:
        return None, "mask without [height, width]"
    if (height is not None and sides[0] != height) or (width is not None and sides[1] != width):
        return None, "mask of another size than its image"
    try:
        mask = Mask.from_coco({"size": sides, "counts": coded.get("counts")})
    except (ValueError, TypeError, OverflowError):
        return None, "mask whose runs do not fill it"
    return (mask.to_geometry(), "") if mask.area else (None, "mask without pixels")


def of_geometry(geometry: shapely.Geometry, width: int | None, height: int | None) -> dict[str, Any] | None:
    """The pixels whose centre lies inside, as compressed RLE; None where the size is unknown or no pixel is set."""
    if width is None or height is None:
        return None
    try:
        mask = Mask.of_geometry(geometry, (height, width))
    except ValueError:
        return None
    return mask.to_coco() if mask.area else None
