"""Ground: grass, soil, gravel, paving, crops and water, each a colour with its own grain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.canvas import Canvas, Patch
from georefer.building.synthetic.features import RGB, Feature, Surface


@dataclass(frozen=True)
class Material:
    """Base colour and how strongly it varies (levels) at about 25 m, 4 m, 0.8 m and from pixel to pixel."""

    rgb: RGB
    wide: float
    mid: float
    small: float
    grain: float


MATERIALS: dict[str, Material] = {
    "meadow": Material((126, 134, 86), 7, 6, 4, 3.5),
    "lawn": Material((112, 128, 76), 5, 5, 3, 3),
    "dry lawn": Material((148, 142, 102), 6, 6, 4, 3.5),
    "forest floor": Material((74, 84, 54), 4, 6, 6, 4),
    "hedge": Material((66, 84, 48), 2, 5, 10, 5),
    "soil": Material((158, 130, 102), 4, 5, 4, 3.5),
    "gravel": Material((172, 162, 144), 4, 5, 3, 4.5),
    "asphalt": Material((116, 116, 118), 3, 3.5, 2, 2.6),
    "concrete": Material((178, 174, 164), 3, 4, 2, 2.4),
    "paving": Material((184, 174, 158), 3, 3, 3, 4),
    "apron": Material((174, 172, 166), 2.5, 3, 1.5, 2),
    "pitch": Material((98, 132, 72), 3, 3, 2, 2.5),
    "sidewalk": Material((160, 156, 150), 2.5, 3, 2, 3),
}
_SLAB_M = 7.5
_SHALLOW: RGB = (92, 106, 96)
_DEEPER = np.array([6.0, 4.6, 2.6], np.float32)  # darkening at each of the shore's steps
_ROWS_M = {
    "wheat": 1.6,
    "maize": 1.5,
    "ploughed soil": 1.1,
    "rapeseed": 2.2,
    "vineyard": 2.4,
    "beet": 1.3,
    "meadow": 6.0,
}
_ROW_STRENGTH = {
    "wheat": 5.0,
    "maize": 11.0,
    "ploughed soil": 8.0,
    "rapeseed": 6.0,
    "vineyard": 26.0,
    "beet": 12.0,
    "meadow": 3.0,
}


def whole(canvas: Canvas) -> Patch:
    height, width = canvas.pixels_HW3.shape[:2]
    return Patch(slice(0, height), slice(0, width), np.ones((height, width), np.float32))


def texture(canvas: Canvas, patch: Patch, material: Material, tone: float = 1.0) -> np.ndarray:
    """The colour of a material over a patch; (H, W, 3)."""
    light = (
        material.wide * canvas.smooth(patch, 25.0, 1)
        + material.mid * canvas.smooth(patch, 4.0, 2)
        + material.small * canvas.smooth(patch, max(0.8, 2 * canvas.gsd_m), 3)
        + material.grain * canvas.grain(patch)
    )
    colour = np.asarray(material.rgb, np.float32) * np.float32(tone) + light[..., None]
    if material.rgb[1] >= material.rgb[0] > material.rgb[2] + 12:  # plants also change hue: lush here, dry there
        dry = canvas.smooth(patch, 14.0, 4)[..., None]
        colour += dry * np.array([4.0, 1.2, 0.8], np.float32)
    return colour


def paint_surface(canvas: Canvas, surface: Surface) -> None:
    patch = canvas.cover(surface.geometry)
    if patch is None:
        return
    colour = texture(canvas, patch, MATERIALS[surface.material], surface.tone)
    if surface.material == "apron":
        colour *= _slabs(canvas, patch)[..., None]
    if surface.material == "pitch":
        mown = np.sign(np.sin(_along(canvas, patch, surface.heading_deg, False) * (2 * np.pi / 11)))
        colour *= 1 + 0.05 * mown[..., None]
    canvas.blend(patch, colour)


def _slabs(canvas: Canvas, patch: Patch) -> np.ndarray:
    """Joints between concrete slabs, slightly darker, and slabs of slightly different age."""
    x, y = canvas.xy(patch)
    joint = 0.5 * canvas.gsd_m + 0.06
    lines = ((x % _SLAB_M) < joint)[None, :] | ((y % _SLAB_M) < joint)[:, None]
    age = canvas.noise.lattice[np.ix_((y // _SLAB_M).astype(int) % 256, (x // _SLAB_M).astype(int) % 256)]
    return (1 + 0.016 * age) * np.where(lines, np.float32(0.93), np.float32(1.0))


def _along(canvas: Canvas, patch: Patch, heading_deg: float, across: bool) -> np.ndarray:
    """Metres along (or across) a heading at each pixel, from the origin of the area; (H, W)."""
    x, y = canvas.xy(patch)
    angle = math.radians(heading_deg)
    fx, fy = (math.cos(angle), math.sin(angle)) if across else (math.sin(angle), -math.cos(angle))
    return (y * fy)[:, None].astype(np.float32) + (x * fx)[None, :].astype(np.float32)


def paint_field(canvas: Canvas, field: Feature) -> None:
    """A crop in rows, with tramlines of the sprayer, patchy with soil and wet."""
    patch = canvas.cover(field.geometry)
    if patch is None:
        return
    crop, pose = field.look.form, field.look.pose
    colour = texture(canvas, patch, Material(field.look.rgb, 7, 5, 3, 3))
    across = _along(canvas, patch, pose.heading_deg, True) + 0.25 * canvas.smooth(patch, 9.0, 5)
    period = max(_ROWS_M[crop], 3.2 * canvas.gsd_m)
    rows = np.sin(across * np.float32(2 * np.pi / period)) * (1 + 0.4 * canvas.smooth(patch, 1.5, 6))
    colour += (_ROW_STRENGTH[crop] * rows)[..., None] * np.array([1.0, 0.8, 0.8], np.float32)
    if crop in ("wheat", "maize", "rapeseed", "beet"):
        track = np.abs(across % 15.0 - 1.0) < 0.35
        track |= np.abs(across % 15.0 - 2.9) < 0.35
        colour = np.where(track[..., None], colour * np.float32(0.88) + np.array([10, 5, 3], np.float32), colour)
    canvas.blend(patch, colour)


def paint_water(canvas: Canvas, shores: Sequence[BaseGeometry]) -> None:
    """Water, lighter over the shallow rim, with ripples drawn out by wind; `shores` as in `Layout`."""
    frame = framed(canvas, 9.0)
    covers = [canvas.cover(part) for part in (shapely.clip_by_rect(s, *frame) for s in shores) if not part.is_empty]
    if not covers or covers[0] is None:
        return
    patch = covers[0]
    x, y = canvas.xy(patch)
    ripple = canvas.noise.smooth(x, y, 3.0, 7) + 0.8 * canvas.noise.smooth(x * 0.5, y * 1.6, 1.6, 8)
    light = 1.6 * ripple + 3.0 * canvas.smooth(patch, 45.0, 9) + 1.2 * canvas.grain(patch)
    canvas.blend(patch, np.asarray(_SHALLOW, np.float32) + light[..., None])
    for deeper in covers[1:]:
        if deeper is not None:
            view = canvas.pixels_HW3[deeper.rows, deeper.cols]
            view -= deeper.cover_HW[..., None] * _DEEPER


def framed(canvas: Canvas, margin_m: float) -> tuple[float, float, float, float]:
    west, north, east, south = canvas.bounds_m
    return west - margin_m, north - margin_m, east + margin_m, south + margin_m
