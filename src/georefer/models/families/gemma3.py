"""Gemma 3: the image stretched to a square whose tokens see each other both ways, and on demand crops of a long one."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor

import torch
from torch import Tensor

from georefer.geometry import Frame
from georefer.models.families.base import Family, ImageFeatures, by_image


class Gemma3(Family):
    """Gemma3ForConditionalGeneration; no grounding format is published for it, Gemini's is the nearest."""

    dialect = "gemini"

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        seen = (self.seeing.size["width"], self.seeing.size["height"])
        whole = Frame.resize(size, seen)
        crops = self._crops(size) if self.seeing.do_pan_and_scan else []
        return (whole, *(cut(size, box, seen) for box in crops))

    def _crops(self, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Parts (x, y, width, height) of a long image that are shown once more, along its longer side."""
        settings, (long, short) = self.seeing, (max(size), min(size))
        least = settings.pan_and_scan_min_crop_size
        if long / short < settings.pan_and_scan_min_ratio_to_activate:
            return []
        count = max(2, min(floor(long / least), floor(long / short + 0.5)))
        count = min(count, settings.pan_and_scan_max_num_crops)
        step = ceil(long / count)
        if min(step, short) < least:
            return []
        parts = [(n * step, min(step, long - n * step)) for n in range(count)]
        if size[0] >= size[1]:
            return [(start, 0, length, short) for start, length in parts]
        return [(0, start, short, length) for start, length in parts]

    def image_features(self, pixels: Mapping[str, Tensor]) -> ImageFeatures:
        found = self.bare.get_image_features(pixel_values=pixels["pixel_values"], return_dict=True)
        return ImageFeatures(by_image(found.pooler_output, (pixels["num_crops"] + 1).tolist()))

    def blocks(self, ids_P: Tensor) -> Tensor:
        image_P = ids_P == self.image_token_id
        begins_P = image_P & ~torch.cat([image_P.new_zeros(1), image_P[:-1]])
        return torch.where(image_P, begins_P.cumsum(0) - 1, -1)


def cut(size: tuple[int, int], box: tuple[int, int, int, int], seen: tuple[int, int]) -> Frame:
    """Frame of a part (x, y, width, height) of an image, stretched to the pixels seen."""
    x, y, width, height = box
    return Frame(*size, *seen, 1000, 1000, float(x), float(y), float(width), float(height), "crop")
