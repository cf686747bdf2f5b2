"""Draw objects into a picture for people to look at."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import cv2
import numpy as np
import shapely

from georefer.geometry import Objects

Colour = tuple[int, int, int]
"""RGB, 0-255."""

HALO: Colour = (16, 16, 16)

_FRACTION_BITS = 4
# cv2 holds coordinates, with their fraction bits, in 32 bits
_FARTHEST_PX = 30_000.0


def draw_objects(
    image_HW3: np.ndarray,
    objects: Objects,
    colour: Colour,
    width: int = 2,
    labels: bool = False,
    scale: float = 1.0,
    halo: int = 1,
) -> np.ndarray:
    """A new picture, `scale` times the image's size, with the outline of every object.

    Outlines have a dark halo so that they are seen on any ground; holes are drawn too, points become rings.
    `width` is the line width in pixels of the result and `halo` the pixels more on either side (0: none).
    `labels` writes each label at the top left of its shape (in ASCII, all that cv2 can write).
    """
    canvas_HW3 = _scaled(image_HW3, scale)
    shapes = [_to_lines(geometry, scale) for geometry in objects.geometries_N]
    # all halos first, so that none covers the colour of a neighbour
    for line_width, line_colour in ((width + 2 * halo, HALO if halo else colour), (width, colour)):
        for lines, is_closed in shapes:
            cv2.polylines(canvas_HW3, lines, is_closed, line_colour, line_width, cv2.LINE_AA, _FRACTION_BITS)
    if labels:
        for label, bounds_4 in zip(objects.labels_N, objects.hbb_N4 * scale, strict=True):
            _write_label(canvas_HW3, str(label), bounds_4, colour)
    return canvas_HW3


def _scaled(image_HW3: np.ndarray, scale: float) -> np.ndarray:
    height, width = image_HW3.shape[:2]
    if scale == 1:
        return np.array(image_HW3, dtype=np.uint8, order="C")
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # enlarged pixels stay visible as what the model saw; shrunk ones are averaged
    method = cv2.INTER_NEAREST if scale > 1 and float(scale).is_integer() else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(image_HW3), size, interpolation=method)


def _to_lines(geometry: shapely.Geometry, scale: float) -> tuple[list[np.ndarray], bool]:
    """The outlines of a shape as cv2 wants them (fixed-point, pixel centres at integers), and whether they close."""
    is_line = geometry.geom_type in ("LineString", "MultiLineString")
    lines = []
    for xy_N2 in _outlines(geometry):
        centred_N2 = np.clip(xy_N2 * scale - 0.5, -_FARTHEST_PX, _FARTHEST_PX)
        lines.append(np.rint(centred_N2 * 2**_FRACTION_BITS).astype(np.int32).reshape(-1, 1, 2))
    return lines, not is_line


def _outlines(geometry: shapely.Geometry) -> Iterator[np.ndarray]:
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon":
            yield from (
                np.asarray(ring.coords)[:, :2] for ring in (part.exterior, *part.interiors) if not ring.is_empty
            )
        elif part.geom_type == "Point":
            yield np.asarray(part.buffer(3).exterior.coords)
        elif part.geom_type == "GeometryCollection":
            yield from _outlines(part)
        else:
            yield shapely.get_coordinates(part)


def _write_label(canvas_HW3: np.ndarray, label: str, bounds_4: np.ndarray, colour: Colour) -> None:
    text = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    if not text or not np.isfinite(bounds_4).all():
        return
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, 1)
    height, width = canvas_HW3.shape[:2]
    # above the shape, but never outside the picture
    x = int(np.clip(bounds_4[0], 1, max(1, width - text_width - 1)))
    y = int(np.clip(bounds_4[1] - 4, text_height + 1, max(text_height + 1, height - 3)))
    cv2.putText(canvas_HW3, text, (x, y), font, size, HALO, 3, cv2.LINE_AA)
    cv2.putText(canvas_HW3, text, (x, y), font, size, colour, 1, cv2.LINE_AA)
