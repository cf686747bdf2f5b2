"""Roofs: a height field made of wings gives slopes, ridges and valleys; light and material do the rest."""

from __future__ import annotations

import math

import numpy as np

from georefer.building.synthetic.canvas import Canvas, Patch
from georefer.building.synthetic.features import RGB, Feature, Look, Sun, Wing
from georefer.building.synthetic.outlines import Pose, placed

_PITCH = 0.62  # rise over run of a sloped roof
_RELIEF = 0.62  # how strongly the slope changes the light


def sun_vector(sun: Sun) -> np.ndarray:
    """Unit vector towards the sun: x east, y south, z up."""
    azimuth, elevation = math.radians(sun.azimuth_deg), math.radians(sun.elevation_deg)
    flat = math.cos(elevation)
    return np.array([flat * math.sin(azimuth), -flat * math.cos(azimuth), math.sin(elevation)])


def paint_roof(canvas: Canvas, building: Feature, sun: Sun) -> None:
    patch = canvas.cover(building.geometry)
    if patch is None:
        return
    look = building.look
    material = str(building.attributes["roof_material"])
    light, ridge = _FORMS[look.form](canvas, patch, look, sun)
    colour = np.asarray(look.rgb, np.float32) * light[..., None]
    colour += _grain(canvas, patch, look, material)[..., None]
    colour += ridge[..., None] * np.float32(16.0)
    canvas.blend(patch, colour)
    _details(canvas, look, str(building.attributes["function"]), sun)


def _local(canvas: Canvas, patch: Patch, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Forward and right metres of each pixel from a pose; both (H, W) float32."""
    x, y = canvas.xy(patch)
    angle = math.radians(pose.heading_deg)
    sin, cos = math.sin(angle), math.cos(angle)
    dx, dy = (x - pose.x).astype(np.float32), (y - pose.y).astype(np.float32)
    return dx[None, :] * sin - dy[:, None] * cos, dx[None, :] * cos + dy[:, None] * sin


def _slope_light(pose: Pose, forward: float, right: float, sun: Sun) -> float:
    """Light on a slope that falls towards (forward, right) of a pose, relative to level ground."""
    towards_sun = sun_vector(sun)
    x, y = pose.at(forward, right)
    normal = np.array([(x - pose.x) * _PITCH, (y - pose.y) * _PITCH, 1.0])
    lambert = float(normal @ towards_sun) / float(np.linalg.norm(normal)) / towards_sun[2]
    return 1.0 + _RELIEF * (max(lambert, 0.15) - 1.0)


def _pitched(canvas: Canvas, patch: Patch, look: Look, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    """Gable and hip roofs of one or several wings: the highest wing wins, which draws valleys by itself."""
    height = np.full(patch.cover_HW.shape, -1e9, np.float32)
    light, ridge = np.ones_like(height), np.zeros_like(height)
    for wing in look.wings:
        u, v = _local(canvas, patch, wing.pose)
        rise, shine = _wing(wing, u, v, look.form == "hip", sun)
        rise = np.where(np.abs(u) <= wing.length_m / 2 + 0.3, rise, np.float32(-1e8))
        wins = rise > height
        height, light = np.where(wins, rise, height), np.where(wins, shine, light)
        ridge = np.where(wins, np.abs(v) < max(0.16, 0.6 * canvas.gsd_m), ridge)
    return light, ridge.astype(np.float32)


def _wing(wing: Wing, u: np.ndarray, v: np.ndarray, hip: bool, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    rise = wing.width_m / 2 - np.abs(v)
    left, right = (_slope_light(wing.pose, 0, side, sun) for side in (-1, 1))
    light = np.where(v < 0, np.float32(left), np.float32(right))
    if not hip:
        return rise, light
    end = wing.length_m / 2 - np.abs(u)
    front, back = (_slope_light(wing.pose, way, 0, sun) for way in (1, -1))
    sloped = end < rise
    ends = np.where(u > 0, np.float32(front), np.float32(back))
    return np.where(sloped, end, rise), np.where(sloped, ends, light)


def _flat(canvas: Canvas, patch: Patch, look: Look, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    """A level roof with a lighter parapet and stains where water stands."""
    light = 1 + 0.03 * canvas.smooth(patch, 6.0, 11) + 0.02 * canvas.smooth(patch, 1.5, 12)
    edge = np.full(patch.cover_HW.shape, 1e9, np.float32)
    inside = np.zeros(patch.cover_HW.shape, bool)
    for wing in look.wings:
        u, v = _local(canvas, patch, wing.pose)
        rim = np.minimum(wing.length_m / 2 - np.abs(u), wing.width_m / 2 - np.abs(v))
        edge = np.where(inside, np.maximum(edge, rim), rim)
        inside |= rim > 0
    parapet = ((edge < 0.55) & (edge > -1)).astype(np.float32)
    return light, parapet


def _barrel(canvas: Canvas, patch: Patch, look: Look, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    """A round roof: light runs smoothly from one side to the other."""
    _u, v = _local(canvas, patch, look.pose)
    left, right = (_slope_light(look.pose, 0, side, sun) for side in (-1, 1))
    t = np.clip(v / look.width_m + 0.5, 0, 1)
    light = left + (right - left) * t + 0.06 * np.sin(np.pi * t)
    return light.astype(np.float32), np.zeros_like(light)


def _glass(canvas: Canvas, patch: Patch, look: Look, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    """Panes between bars, plants showing through."""
    u, v = _local(canvas, patch, look.pose)
    light, _ = _pitched(canvas, patch, look, sun)
    bars = (np.abs(u % 2.0 - 1.0) < 0.16) | (np.abs(v % 4.0 - 2.0) < 0.16)
    return 0.45 + 0.5 * light + 0.03 * canvas.smooth(patch, 1.2, 13), bars.astype(np.float32) * 1.2


_FORMS = {"gable": _pitched, "hip": _pitched, "flat": _flat, "barrel": _barrel, "glass": _glass}


def _grain(canvas: Canvas, patch: Patch, look: Look, material: str) -> np.ndarray:
    """What a roof is covered with: courses of tiles, ribs of sheet metal, gravel on concrete; levels, (H, W)."""
    u, v = _local(canvas, patch, look.wings[0].pose)
    grain = canvas.grain(patch, 1)
    if material == "metal":
        period = max(1.1, 3.0 * canvas.gsd_m)
        return 4.0 * np.sin(u * np.float32(2 * np.pi / period)) + 2.0 * canvas.smooth(patch, 5.0, 14) + 1.2 * grain
    if material in ("tile", "slate"):
        course = np.sin(v * np.float32(2 * np.pi / max(0.7, 3.0 * canvas.gsd_m)))
        return 2.5 * course + 4.5 * canvas.smooth(patch, 0.7, 15) + 3.0 * canvas.smooth(patch, 3.0, 16) + 3.0 * grain
    return 3.0 * canvas.smooth(patch, 2.5, 17) + 2.2 * grain


def _details(canvas: Canvas, look: Look, function: str, sun: Sun) -> None:
    """Chimneys, skylights, vents and stair heads: the small things that make a roof a roof."""
    if max(look.length_m, look.width_m) < 5 * canvas.gsd_m:
        return
    rng = np.random.default_rng(look.detail)
    wing = look.wings[0]
    if function == "church":
        _box(canvas, wing.pose.moved(-wing.length_m / 2 + 3.2, 0), 5.4, 5.4, (150, 140, 124), 6.0, sun)
    elif look.form in ("gable", "hip"):
        if function in ("house", "apartment block", "school"):
            _chimneys(canvas, wing, rng, sun)
        else:
            _skylights(canvas, wing, rng)
    elif look.form == "flat":
        _roof_plant(canvas, wing, function, rng, sun)


def _chimneys(canvas: Canvas, wing: Wing, rng: np.random.Generator, sun: Sun) -> None:
    for _ in range(1 + int(wing.length_m / 22)):
        spot = wing.pose.moved(rng.uniform(-0.38, 0.38) * wing.length_m, rng.uniform(-0.15, 0.15) * wing.width_m)
        _box(canvas, spot, 0.9, 0.7, (142, 120, 106), 1.1, sun)
    for _ in range(int(rng.integers(0, 4))):
        spot = wing.pose.moved(rng.uniform(-0.4, 0.4) * wing.length_m, rng.choice([-0.28, 0.28]) * wing.width_m)
        canvas.fill(placed(spot, _corners(0.8, 1.1)), (92, 102, 116), 0.85)
    if rng.random() < 0.12:
        solar = wing.pose.moved(0, 0.26 * wing.width_m)
        canvas.fill(placed(solar, _corners(min(6.0, 0.6 * wing.length_m), 0.3 * wing.width_m)), (46, 54, 78), 0.9)


def _skylights(canvas: Canvas, wing: Wing, rng: np.random.Generator) -> None:
    """Translucent strips in a row on both slopes."""
    if rng.random() < 0.35:
        return
    for u in np.arange(-wing.length_m / 2 + 4, wing.length_m / 2 - 3, 6.5):
        for side in (-0.26, 0.26):
            strip = placed(wing.pose.moved(float(u), side * wing.width_m), _corners(1.1, 0.26 * wing.width_m))
            canvas.fill(strip, (206, 212, 212), 0.55)


def _roof_plant(canvas: Canvas, wing: Wing, function: str, rng: np.random.Generator, sun: Sun) -> None:
    count = int(wing.length_m * wing.width_m / (130 if function == "apartment block" else 190)) + 1
    for _ in range(min(count, 9)):
        spot = wing.pose.moved(rng.uniform(-0.4, 0.4) * wing.length_m, rng.uniform(-0.28, 0.28) * wing.width_m)
        size = rng.uniform(1.2, 3.6)
        tone = rng.uniform(120, 200)
        _box(canvas, spot, size, rng.uniform(1.0, 2.6), (tone, tone, tone), rng.uniform(0.8, 2.4), sun)


def _corners(length: float, width: float) -> list[tuple[float, float]]:
    a, b = length / 2, width / 2
    return [(a, -b), (a, b), (-a, b), (-a, -b)]


def _box(canvas: Canvas, pose: Pose, length: float, width: float, rgb: RGB, height: float, sun: Sun) -> None:
    """A small block on a roof with its own shadow."""
    ring = placed(pose, _corners(length, width))
    towards = sun_vector(sun)
    reach = -towards[:2] / towards[2] * height
    for step in (0.35, 0.7, 1.0):
        patch = canvas.cover_points(ring + reach * step)
        if patch is not None:
            canvas.dim(patch, 0.8)
    canvas.fill(ring, rgb)
