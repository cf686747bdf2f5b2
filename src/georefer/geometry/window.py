"""Windows of a raster, and the tilings that cover every pixel of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of whole pixels: left column `x`, top row `y`, and size."""

    x: int
    y: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2), outer edges."""
        return self.x, self.y, self.x + self.width, self.y + self.height


def tile(width: int, height: int, size: int, overlap: int = 0) -> list[Window]:
    """Square windows that together cover every pixel of a width x height raster, row by row.

    Neighbours share at least `overlap` pixels. The last row and column are moved inwards rather than cut,
    so all windows have the full size (objects keep their scale) unless the raster itself is smaller.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be at least 0 and below the tile size {size}")
    xs, ys = starts(width, size, overlap), starts(height, size, overlap)
    return [Window(x, y, min(size, width), min(size, height)) for y in ys for x in xs]


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where intervals of `size` begin that together cover 0 to `length`; the last one ends exactly there."""
    if length <= size:
        return [0]
    step = size - overlap
    starts = list(range(0, length - size, step))
    return [*starts, length - size]
