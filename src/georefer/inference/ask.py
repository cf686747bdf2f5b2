"""Ask one image one thing, and get text and geometry back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from georefer.dialects import Reading
from georefer.geometry import GeoGrid
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
            lonlat = self.grid.pixel_to_lonlat(np.asarray(geometry.exterior.coords))
            boxes.append([*lonlat.min(0), *lonlat.max(0)])
        return np.array(boxes).reshape(-1, 4)


def ask(
    model: Model, image_HW3: np.ndarray, prompt: str, grid: GeoGrid | None = None, max_new_tokens: int = 256
) -> Answer:
    """Asks about an RGB uint8 image; `grid` georeferences the answer where the image has a place."""
    height, width = image_HW3.shape[:2]
    text = model.generate([Ask(image_HW3, prompt)], max_new_tokens)[0]
    reading = model.dialect.read(text, model.frame_for((width, height)))
    return Answer(prompt, text, reading, grid or GeoGrid.none(width, height))
