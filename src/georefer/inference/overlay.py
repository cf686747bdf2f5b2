"""A picture of what a sweep found: the raster, outlines in one colour a class, and a legend."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from georefer.geometry import Objects
from georefer.imagery.raster import Imagery
from georefer.imagery.render import Colour, draw_objects

COLOURS: tuple[Colour, ...] = (
    (255, 225, 25), (0, 200, 255), (255, 80, 80), (120, 255, 90), (240, 100, 255),
    (255, 160, 40), (150, 170, 255), (255, 255, 255),
)  # fmt: skip
"""Bright on any ground, far apart from one another; used in turn."""

_ROW_PX = 24


def overlay(imagery: Imagery, found: Objects, labels: Sequence[str], max_side: int) -> np.ndarray:
    """RGB picture of at most `max_side` pixels along the longer side, with a legend strip below."""
    image_HW3 = imagery.overview(max_side).image_HW3
    height, width = image_HW3.shape[:2]
    drawn = found.scale(width / imagery.grid.width, height / imagery.grid.height)
    # thick lines would close over objects of a few pixels
    line = 2 if not len(drawn) or np.median(np.ptp(drawn.hbb_N4.reshape(-1, 2, 2), axis=1)) > 32 else 1
    for label, colour in _colours(labels):
        image_HW3 = draw_objects(image_HW3, drawn.labelled(label), colour, line)
    counts = [f"{label} ({len(found.labelled(label))})" for label in labels]
    return np.vstack([image_HW3, _legend(counts, width)])


def _colours(labels: Sequence[str]) -> list[tuple[str, Colour]]:
    return [(label, COLOURS[i % len(COLOURS)]) for i, label in enumerate(labels)]


def _legend(entries: Sequence[str], width: int) -> np.ndarray:
    strip = np.full((_ROW_PX * len(entries) + 8, width, 3), 24, dtype=np.uint8)
    for row, (entry, colour) in enumerate(_colours(entries)):
        y = 4 + row * _ROW_PX
        cv2.rectangle(strip, (8, y + 5), (26, y + 18), colour, 2)
        # cv2 writes ASCII only
        text = unicodedata.normalize("NFKD", entry).encode("ascii", "replace").decode()
        cv2.putText(strip, text, (36, y + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return strip
