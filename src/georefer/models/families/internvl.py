"""InternVL 2.5, 3 and 3.5: tiles that stretch the image onto the grid nearest its shape, then the whole in one tile."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from georefer.geometry import Frame
from georefer.models.families.base import Family, ImageFeatures, by_image, tiles


class InternVL(Family):
    """InternVLForConditionalGeneration."""

    dialect = "internvl"

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        settings = self.seeing
        tile = (settings.size["width"], settings.size["height"])
        columns, rows = (1, 1)
        if settings.crop_to_patches and settings.max_patches > 1:
            columns, rows = nearest_grid(size, tile, settings.min_patches, settings.max_patches)
        whole = Frame.resize(size, tile)
        if columns * rows == 1:
            return (whole,)
        return (*tiles(Frame.resize(size, (columns * tile[0], rows * tile[1])), columns, rows), whole)

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return self.views(size)[-1]

    def image_features(self, pixels: Mapping[str, Tensor]) -> ImageFeatures:
        found = self.bare.get_image_features(pixel_values=pixels["pixel_values"], return_dict=True)
        return ImageFeatures(by_image(found.pooler_output, pixels["num_patches"].tolist()))


def nearest_grid(size: tuple[int, int], tile: tuple[int, int], least: int, most: int) -> tuple[int, int]:
    """(columns, rows) of `least` to `most` tiles whose shape is nearest to the image's.

    Of equally near ones the larger is taken as long as the image has more than half its pixels.
    """
    grids = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if least <= c * r <= most]
    nearest, best = float("inf"), (1, 1)
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        off = abs(size[0] / size[1] - columns / rows)
        enough = size[0] * size[1] > 0.5 * tile[0] * tile[1] * columns * rows
        if off < nearest or (off == nearest and enough):
            nearest, best = off, (columns, rows)
    return best
