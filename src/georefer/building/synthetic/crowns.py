"""Tree crowns: lumpy domes lit from the sun's side, rendered once and stamped in many sizes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from georefer.building.synthetic.canvas import Canvas
from georefer.building.synthetic.features import Feature, Sun
from georefer.building.synthetic.roofs import sun_vector

_STAMP_PX = 72
_VARIANTS = 14


@dataclass(frozen=True)
class Crown:
    """Opacity and light of a crown in a square; the crown's radius is 0.46 of the side."""

    alpha_SS: np.ndarray
    light_SS: np.ndarray


def crowns(seed: int, sun: Sun) -> dict[str, list[Crown]]:
    """A few crowns of each kind under this sun."""
    rng = np.random.default_rng([seed, 31])
    return {kind: [_crown(rng, sun, kind) for _ in range(_VARIANTS)] for kind in ("broadleaf", "conifer")}


def _crown(rng: np.random.Generator, sun: Sun, kind: str) -> Crown:
    axis = (np.arange(_STAMP_PX) + 0.5) / _STAMP_PX * 2 - 1
    x, y = np.meshgrid(axis / 0.92, axis / 0.92)
    lobes = 26 if kind == "broadleaf" else 9
    height = np.zeros_like(x)
    for _ in range(lobes):
        angle, far, size = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * 0.72, rng.uniform(0.2, 0.36)
        d2 = (x - far * np.cos(angle)) ** 2 + (y - far * np.sin(angle)) ** 2
        height = np.maximum(height, np.sqrt(np.clip(size**2 - d2, 0, None)) * 1.2 + (0.6 - 0.55 * far) * (d2 < size**2))
    radius = np.hypot(x, y)
    core = np.sqrt(np.clip(0.7 - radius**2, 0, None)) * 0.8 if kind == "broadleaf" else np.clip(0.92 - radius, 0, None)
    height = np.maximum(height, core)
    height += 0.05 * cv2.GaussianBlur(rng.standard_normal(x.shape), (0, 0), 1.4) * 3
    alpha = cv2.GaussianBlur((height > 0.12).astype(np.float32) * (radius < 0.99), (0, 0), 0.9)
    return Crown(alpha.astype(np.float32), _lit(cv2.GaussianBlur(height, (0, 0), 1.2), sun))


def _lit(height: np.ndarray, sun: Sun) -> np.ndarray:
    """Lambert light on a height field, darker in the gaps between branches."""
    scale = _STAMP_PX / 2
    slope_y, slope_x = np.gradient(height * scale * 0.75)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lambert = np.clip(normal @ sun_vector(sun), 0, 1)
    hollow = np.clip(height / 0.8, 0, 1)
    return (0.36 + 0.72 * lambert * (0.55 + 0.45 * hollow) + 0.14 * hollow).astype(np.float32)


def paint_tree(canvas: Canvas, thing: Feature, stamps: dict[str, list[Crown]]) -> None:
    look = thing.look
    stamp = stamps[look.form][look.detail % _VARIANTS]
    radius = look.length_m / 2 / canvas.gsd_m
    cx, cy = look.pose.x / canvas.gsd_m - canvas.col, look.pose.y / canvas.gsd_m - canvas.row
    reach = int(np.ceil(radius / 0.9)) + 1
    c0, r0 = int(np.floor(cx)) - reach, int(np.floor(cy)) - reach
    size = 2 * reach + 1
    height, width = canvas.pixels_HW3.shape[:2]
    top, left, bottom, right = max(r0, 0), max(c0, 0), min(r0 + size, height), min(c0 + size, width)
    if top >= bottom or left >= right:
        return
    zoom = 2 * radius / (0.92 * _STAMP_PX)
    matrix = np.array(
        [[zoom, 0, cx - c0 - 0.5 - zoom * (_STAMP_PX - 1) / 2], [0, zoom, cy - r0 - 0.5 - zoom * (_STAMP_PX - 1) / 2]]
    )
    part = (slice(top - r0, bottom - r0), slice(left - c0, right - c0))
    how = cv2.INTER_AREA if zoom < 0.5 else cv2.INTER_LINEAR
    alpha, light = (
        cv2.warpAffine(side, matrix, (size, size), flags=how)[part] for side in (stamp.alpha_SS, stamp.light_SS)
    )
    view = canvas.pixels_HW3[top:bottom, left:right]
    colour = np.asarray(look.rgb, np.float32) * light[..., None] * np.float32(1.25)
    view += alpha[..., None] * (colour - view)
