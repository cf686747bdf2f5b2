"""Idefics3 and SmolVLM: the image enlarged and stretched to whole tiles, then the whole in one tile."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from georefer.geometry import Frame
from georefer.models.families.base import Family, tiles

_LARGEST = 4096
"""Beyond it the processors shrink, whatever their settings."""


class Idefics3(Family):
    """Idefics3ForConditionalGeneration; no grounding format is published for it, so it is taught ours."""

    dialect = "georefer"

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        settings = self.seeing
        tile = settings.max_image_size["longest_edge"]
        whole = Frame.resize(size, (tile, tile))
        if not settings.do_image_splitting:
            return (whole,)
        wide, high = in_tiles(resized(size, settings.size["longest_edge"]), tile)
        columns, rows = wide // tile, high // tile
        if columns * rows == 1:
            return (whole,)
        return (*tiles(Frame.resize(size, (wide, high)), columns, rows), whole)

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return self.views(size)[-1]

    def nested(self, images: Sequence[np.ndarray]) -> list[Any]:
        return [[image] for image in images]


class SmolVLM(Idefics3):
    """SmolVLMForConditionalGeneration, the same with smaller tiles."""

    processor_class = "Idefics3Processor"
    """Its own differs only in video, and for that insists on a package."""


def resized(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(width, height) with the longer side of that length and the other even, as the processors round it."""
    width, height = size
    if width >= height:
        short = int(longest / (width / height))
        found = longest, max(1, short + short % 2)
    else:
        short = int(longest * (width / height))
        found = max(1, short + short % 2), longest
    if longest <= _LARGEST:
        return found
    shape = found[0] / found[1]
    return (_LARGEST, int(_LARGEST / shape)) if width >= height else (int(_LARGEST * shape), _LARGEST)


def in_tiles(size: tuple[int, int], tile: int) -> tuple[int, int]:
    """(width, height) in whole tiles: the longer side rounded up first, the other after it."""
    width, height = size
    if width >= height:
        wide = ceil(width / tile) * tile
        return wide, ceil(int(wide / (width / height)) / tile) * tile
    high = ceil(height / tile) * tile
    return ceil(int(high * (width / height)) / tile) * tile, high
