"""Ask one image one thing, and get text and geometry back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely

from georefer.dialects import Reading
from georefer.geometry import GeoGrid
from georefer.inference.calibration import Calibration
from georefer.inference.refine import Refiner
from georefer.inference.said import said_to, scored
from georefer.models.base import Ask, Model


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said about an image: the raw text, and what it reads as (objects in the image's pixels)."""

    prompt: str
    text: str
    reading: Reading
    grid: GeoGrid

    def lonlat_boxes(self) -> np.ndarray | None:
        """Bounds (west, south, east, north) of each object in WGS84 degrees; None without a georeference."""
        if not self.grid.is_georeferenced:
            return None
        boxes = []
        for geometry in self.reading.objects.geometries_N:
            lonlat = self.grid.pixel_to_lonlat(shapely.get_coordinates(geometry))
            boxes.append([*lonlat.min(0), *lonlat.max(0)])
        return np.array(boxes).reshape(-1, 4)


def ask(
    model: Model,
    image_HW3: np.ndarray,
    prompt: str,
    grid: GeoGrid | None = None,
    max_new_tokens: int = 256,
    *,
    grammar: str | None = None,
    calibration: Calibration | None = None,
    refiner: Refiner | None = None,
) -> Answer:
    """Asks about an RGB uint8 image; `grid` georeferences the answer where the image has a place.

    Objects have scores where the model gives log-probabilities: its confidence, or with a `calibration` the
    probability of being right. Nothing can be said against a `grammar` (Lark, such as `dialect.grammar()`). A `refiner`
    draws the shapes anew.
    """
    height, width = image_HW3.shape[:2]
    said = said_to(model, [Ask(image_HW3, prompt)], max_new_tokens, [grammar])[0]
    reading = scored(model.dialect.read(said.text, model.frame_for((width, height))), said.scores, calibration)
    if refiner is not None:
        reading = replace(reading, objects=refiner(image_HW3, reading.objects))
    return Answer(prompt, said.text, reading, grid or GeoGrid.none(width, height))
