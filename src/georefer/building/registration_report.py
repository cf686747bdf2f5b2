"""Registration for people: the estimates as a manifest's values, a sentence and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from georefer.building.registration import RegionOffset
from georefer.geometry import Objects
from georefer.imagery.raster import Imagery
from georefer.imagery.render import HALO, draw_objects

ARROW_LENGTHS = 20
"""Arrows are drawn so many times as long as the shifts they stand for."""


def describe(offsets: Sequence[RegionOffset]) -> dict[str, Any]:
    """The estimates as plain JSON values for a manifest: a summary, and every region."""
    known = [o for o in offsets if o.shift_m is not None]
    east_north_N2 = np.array([o.shift_m for o in known]).reshape(-1, 2)
    lengths_N = np.hypot(*east_north_N2.T)
    return {
        "regions": len(offsets),
        "estimated": len(known),
        "median_east_north_m": [round(float(v), 3) for v in np.median(east_north_N2, axis=0)] if known else None,
        "median_length_m": round(float(np.median(lengths_N)), 3) if known else None,
        "largest_length_m": round(float(lengths_N.max()), 3) if known else None,
        "features_beside": sum(len(o.beside) for o in known),
        "by_region": [o.to_json() for o in offsets],
    }


def summary(offsets: Sequence[RegionOffset]) -> str:
    """One sentence for the person who builds."""
    found = describe(offsets)
    if not found["estimated"]:
        return f"registration: no estimate in any of {found['regions']} regions"
    east, north = found["median_east_north_m"]
    return (
        f"registration: the imagery shows the labelled things {found['median_length_m']:.2f} m (median; at most "
        f"{found['largest_length_m']:.2f} m) from their labels, {east:+.2f} m east and {north:+.2f} m north, in "
        f"{found['estimated']} of {found['regions']} regions; {found['features_beside']} features lie otherwise. "
        "Nothing was moved"
    )


def picture(
    imagery: Imagery, geometries_N: np.ndarray, offsets: Sequence[RegionOffset], max_side: int = 1400
) -> np.ndarray:
    """The area with labels (yellow), regions, and an arrow of each offset, `ARROW_LENGTHS` times as long as it is.

    Green where the labels lie within a pixel, red where they do not, a grey cross where there is no estimate; features
    that lie otherwise are magenta. RGB uint8.
    """
    shown_HW3 = imagery.overview(max_side).image_HW3
    scale = shown_HW3.shape[1] / imagery.grid.width
    shapes_N = np.asarray(geometries_N, dtype=object)
    objects = Objects.of(shapes_N, [""] * len(shapes_N)).scale(scale, scale)
    canvas_HW3 = draw_objects(shown_HW3 // 2 + 20, objects, (255, 220, 80), 1, halo=0)
    canvas_HW3 = draw_objects(
        canvas_HW3, objects[[b.index for o in offsets for b in o.beside]], (255, 60, 255), 2, halo=0
    )
    for offset in offsets:
        _draw_offset(canvas_HW3, offset, scale)
    return canvas_HW3


def _draw_offset(canvas_HW3: np.ndarray, offset: RegionOffset, scale: float) -> None:
    x1, y1, x2, y2 = (round(v * scale) for v in offset.window.box)
    cv2.rectangle(canvas_HW3, (x1, y1), (x2 - 1, y2 - 1), (160, 160, 160), 1)
    middle = (x1 + x2) // 2, (y1 + y2) // 2
    if offset.shift_px is None or offset.length_m is None:
        cv2.drawMarker(canvas_HW3, middle, (190, 190, 190), cv2.MARKER_TILTED_CROSS, 12, 2)
        return
    length = float(np.hypot(*offset.shift_px))
    colour = (90, 255, 90) if length <= 1 else (255, 70, 70)
    tip = tuple(round(m + ARROW_LENGTHS * s * scale) for m, s in zip(middle, offset.shift_px, strict=True))
    text = f"{offset.length_m:.2f} m"
    for width, paint in ((5, HALO), (2, colour)):
        cv2.arrowedLine(canvas_HW3, middle, tip, paint, width, cv2.LINE_AA, tipLength=0.3)
        cv2.putText(canvas_HW3, text, (x1 + 4, y2 - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, paint, width - 1, cv2.LINE_AA)
