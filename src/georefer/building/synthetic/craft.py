"""Tanks, planes, ships, vehicles, pools and courts in pixels."""

from __future__ import annotations

import math

import numpy as np

from georefer.building.synthetic.canvas import Canvas
from georefer.building.synthetic.features import RGB, Feature, Look, Sun
from georefer.building.synthetic.outlines import Pose, disc, placed
from georefer.building.synthetic.roofs import sun_vector

_GLASS: RGB = (46, 54, 62)
_WHITE: RGB = (232, 232, 228)


def _shaded(rgb: RGB, factor: float) -> RGB:
    red, green, blue = (min(c * factor, 250.0) for c in rgb)
    return red, green, blue


def _rect(forward0: float, forward1: float, half: float) -> list[tuple[float, float]]:
    return [(forward1, -half), (forward1, half), (forward0, half), (forward0, -half)]


def paint_vehicle(canvas: Canvas, thing: Feature, sun: Sun) -> None:
    look = thing.look
    patch = canvas.cover(thing.geometry)
    if patch is None:
        return
    canvas.blend(patch, look.rgb)
    if canvas.gsd_m > 0.45:
        return
    length, half = look.length_m, look.width_m / 2
    parts = _VEHICLE_PARTS[look.form]
    for start, end, wide, rgb, factor in parts:
        colour = rgb if rgb is not None else _shaded(look.rgb, factor)
        canvas.fill(placed(look.pose, _rect(start * length, end * length, wide * half)), colour, 0.9)


# (rear, front, half width share, colour or own colour times a factor), rear to front along the length
_VEHICLE_PARTS: dict[str, list[tuple[float, float, float, RGB | None, float]]] = {
    "car": [(-0.5, 0.5, 1.0, None, 0.94), (-0.36, 0.24, 0.86, _GLASS, 1.0), (-0.27, 0.1, 0.84, None, 1.1)],
    "van": [(0.24, 0.36, 0.88, _GLASS, 1.0), (-0.48, 0.24, 0.9, None, 1.06)],
    "truck": [(-0.5, 0.32, 1.0, None, 1.05), (0.32, 0.345, 1.0, (60, 60, 62), 1.0), (0.42, 0.46, 0.88, _GLASS, 1.0)],
    "bus": [
        (-0.46, 0.46, 0.84, None, 1.08),
        (0.46, 0.49, 0.84, _GLASS, 1.0),
        (-0.2, -0.08, 0.5, (150, 152, 154), 1.0),
        (0.15, 0.27, 0.5, (150, 152, 154), 1.0),
    ],
}


def paint_tank(canvas: Canvas, thing: Feature, sun: Sun) -> None:
    """A cone roof is lit on one side; a floating roof lies below a rim whose shadow falls on it."""
    patch = canvas.cover(thing.geometry)
    if patch is None:
        return
    look = thing.look
    x, y = canvas.xy(patch)
    dx, dy = (x - look.pose.x)[None, :], (y - look.pose.y)[:, None]
    radius = look.length_m / 2
    towards = sun_vector(sun)
    facing = (dx * towards[0] + dy * towards[1]) / radius
    away = np.hypot(dx, dy) / radius
    if look.form == "cone":
        light = 1.0 + 0.17 * facing - 0.03 * away
    else:
        shadow = np.hypot(dx - towards[0] * -0.22 * radius, dy - towards[1] * -0.22 * radius) / radius > 0.93
        light = np.where(away > 0.955, 1.06, np.where(shadow & (facing > 0), 0.7, 0.95))
    light = light + np.where((away > 0.93) & (away < 0.96), -0.06, 0.0)
    light = light + 0.012 * canvas.grain(patch) + 0.015 * canvas.smooth(patch, 2.0, 18)
    canvas.blend(patch, np.asarray(look.rgb, np.float32) * light[..., None].astype(np.float32))
    ladder = placed(look.pose, _rect(0.1 * radius, 0.94 * radius, 0.35))
    canvas.fill(ladder, _shaded(look.rgb, 0.78), 0.8)
    canvas.fill(
        np.asarray(disc(look.pose.x, look.pose.y, max(0.4, 0.05 * radius)).exterior.coords), _shaded(look.rgb, 0.8), 0.8
    )


def paint_plane(canvas: Canvas, thing: Feature, sun: Sun) -> None:
    """The outline in the plane's colour, a round fuselage, engines, a dark windscreen."""
    patch = canvas.cover(thing.geometry)
    if patch is None:
        return
    look = thing.look
    canvas.blend(patch, np.asarray(_shaded(look.rgb, 0.95), np.float32) + 1.5 * canvas.grain(patch)[..., None])
    long, span = look.length_m, look.width_m
    light = look.form == "propeller"
    half = span / 2 * 0.1
    side = _sunny_side(look.pose, sun)
    body = [
        (0.46 * long, -half * 0.5),
        (0.46 * long, half * 0.5),
        (0.38 * long, half),
        (-0.3 * long, half * 0.8),
        (-0.46 * long, 0.25 * half),
        (-0.46 * long, -0.25 * half),
        (-0.3 * long, -half * 0.8),
        (0.38 * long, -half),
    ]
    canvas.fill(placed(look.pose, body), _shaded(look.rgb, 1.05))
    dark = [(f, min(r * side, 0.0) * side) for f, r in body]
    canvas.fill(placed(look.pose, dark), _shaded(look.rgb, 0.8), 0.8)
    if light:
        canvas.fill(placed(look.pose, _rect(0.19 * long, 0.3 * long, half * 0.7)), _GLASS, 0.9)
        canvas.fill(placed(look.pose, _rect(0.07 * long, 0.085 * long, span * 0.48)), _shaded(look.rgb, 0.82), 0.8)
    else:
        canvas.fill(placed(look.pose, _rect(0.43 * long, 0.46 * long, half * 0.6)), _GLASS, 0.9)
        for wing in (-1, 1):
            engine = look.pose.moved(0.045 * long, wing * 0.3 * span * 0.5)
            canvas.fill(placed(engine, _rect(-0.03 * long, 0.035 * long, half * 0.5)), _shaded(look.rgb, 0.72), 0.9)
    fin = placed(look.pose, _rect(-0.48 * long, -0.36 * long, 0.012 * long))
    canvas.fill(fin, _shaded(look.rgb, 0.62), 0.9)


def _sunny_side(pose: Pose, sun: Sun) -> int:
    """+1 where the sun stands to the right of the pose, else -1."""
    return 1 if math.sin(math.radians(sun.azimuth_deg - pose.heading_deg)) > 0 else -1


def paint_ship(canvas: Canvas, thing: Feature, sun: Sun) -> None:
    """Gunwale in the ship's colour, deck inside, then what the kind carries."""
    patch = canvas.cover(thing.geometry)
    if patch is None:
        return
    look = thing.look
    canvas.blend(patch, np.asarray(look.rgb, np.float32) + 1.5 * canvas.grain(patch)[..., None])
    _SHIP_PARTS[look.form](canvas, look)


def _motorboat(canvas: Canvas, look: Look) -> None:
    long, half = look.length_m, look.width_m / 2
    canvas.fill(placed(look.pose, _rect(-0.45 * long, -0.12 * long, 0.72 * half)), (176, 150, 116), 0.8)
    canvas.fill(placed(look.pose, _rect(-0.1 * long, 0.14 * long, 0.68 * half)), _shaded(look.rgb, 1.06))
    canvas.fill(placed(look.pose, _rect(0.1 * long, 0.17 * long, 0.62 * half)), _GLASS, 0.9)


def _sailing_boat(canvas: Canvas, look: Look) -> None:
    long, half = look.length_m, look.width_m / 2
    canvas.fill(placed(look.pose, _rect(-0.42 * long, -0.2 * long, 0.6 * half)), (180, 152, 116), 0.8)
    canvas.fill(placed(look.pose, _rect(-0.18 * long, 0.2 * long, 0.48 * half)), _shaded(look.rgb, 0.9))
    canvas.fill(placed(look.pose, _rect(-0.36 * long, 0.13 * long, 0.12)), (236, 236, 230), 0.95)
    canvas.fill(placed(look.pose, _rect(0.1 * long, 0.13 * long, 0.2)), (90, 90, 90), 0.9)


def _fishing_boat(canvas: Canvas, look: Look) -> None:
    long, half = look.length_m, look.width_m / 2
    canvas.fill(placed(look.pose, _rect(-0.42 * long, 0.12 * long, 0.72 * half)), (150, 132, 108), 0.85)
    canvas.fill(placed(look.pose, _rect(0.12 * long, 0.3 * long, 0.6 * half)), _WHITE)
    canvas.fill(placed(look.pose, _rect(0.26 * long, 0.3 * long, 0.5 * half)), _GLASS, 0.9)
    canvas.fill(placed(look.pose, _rect(-0.2 * long, -0.12 * long, 0.3 * half)), (96, 92, 86), 0.9)


def _ferry(canvas: Canvas, look: Look) -> None:
    long, half = look.length_m, look.width_m / 2
    canvas.fill(placed(look.pose, _rect(-0.38 * long, 0.26 * long, 0.8 * half)), _WHITE)
    canvas.fill(placed(look.pose, _rect(0.14 * long, 0.24 * long, 0.78 * half)), (204, 206, 206))
    canvas.fill(placed(look.pose, _rect(0.235 * long, 0.255 * long, 0.74 * half)), _GLASS, 0.9)
    canvas.fill(placed(look.pose, _rect(-0.14 * long, -0.06 * long, 0.26 * half)), look.rgb)


def _barge(canvas: Canvas, look: Look) -> None:
    """An open hold with its load, and a wheelhouse aft."""
    long, half = look.length_m, look.width_m / 2
    load = [(172, 156, 120), (72, 70, 68), (128, 112, 92)][look.detail % 3]
    canvas.fill(placed(look.pose, _rect(-0.3 * long, 0.42 * long, 0.74 * half)), (74, 74, 76))
    canvas.fill(placed(look.pose, _rect(-0.29 * long, 0.41 * long, 0.6 * half)), load)
    canvas.fill(placed(look.pose, _rect(-0.44 * long, -0.35 * long, 0.66 * half)), _WHITE)


def _cargo_ship(canvas: Canvas, look: Look) -> None:
    """Rows of containers of many colours, the bridge aft."""
    long, half = look.length_m, look.width_m / 2
    rng = np.random.default_rng(look.detail)
    stock: list[RGB] = [(166, 74, 58), (66, 96, 140), (92, 128, 104), (190, 188, 180), (196, 138, 70)]
    canvas.fill(placed(look.pose, _rect(-0.26 * long, 0.36 * long, 0.86 * half)), (96, 92, 88))
    rows = max(2, int(1.7 * half / 2.6))
    for u in np.arange(-0.25 * long, 0.33 * long, 6.6):
        for k in range(rows):
            spot = look.pose.moved(float(u) + 3, (k - (rows - 1) / 2) * 1.66 * half / rows)
            rgb = stock[int(rng.integers(len(stock)))]
            canvas.fill(placed(spot, _rect(-3.0, 3.0, 0.78 * half / rows)), _shaded(rgb, rng.uniform(0.9, 1.1)))
    canvas.fill(placed(look.pose, _rect(-0.42 * long, -0.3 * long, 0.9 * half)), _WHITE)
    canvas.fill(placed(look.pose, _rect(-0.315 * long, -0.3 * long, 0.8 * half)), _GLASS, 0.9)


_SHIP_PARTS = {
    "motorboat": _motorboat,
    "sailing boat": _sailing_boat,
    "fishing boat": _fishing_boat,
    "ferry": _ferry,
    "barge": _barge,
    "cargo ship": _cargo_ship,
}


def paint_wake(canvas: Canvas, thing: Feature) -> None:
    """Foam behind a ship under way, spreading and fading."""
    look = thing.look
    long, half = look.length_m, look.width_m / 2
    step = min(0.45 * long, 10.0)
    for k, strength in enumerate((0.26, 0.18, 0.12, 0.07)):
        start, end = -0.5 * long - step * k, -0.5 * long - step * (k + 1)
        spread = (0.7 + 0.35 * k) * half, (0.7 + 0.35 * (k + 1)) * half
        ring = [(start, -spread[0]), (start, spread[0]), (end, spread[1]), (end, -spread[1])]
        patch = canvas.cover_points(placed(look.pose, ring))
        if patch is not None:
            foam = np.clip(0.6 + 0.5 * canvas.smooth(patch, 0.9, 19), 0, 1.3)
            canvas.blend(patch, (206, 214, 210), strength * foam)


def paint_pool(canvas: Canvas, thing: Feature, sun: Sun) -> None:
    patch = canvas.cover(thing.geometry)
    if patch is None:
        return
    caustics = 7 * canvas.smooth(patch, 0.9, 20) + 2 * canvas.grain(patch)
    canvas.blend(patch, np.asarray(thing.look.rgb, np.float32) + caustics[..., None])


def paint_court(canvas: Canvas, thing: Feature, sun: Sun) -> None:
    """A tennis court: run-off in the colour, a slightly lighter play area, white lines, a net."""
    patch = canvas.cover(thing.geometry)
    if patch is None:
        return
    look, pose = thing.look, thing.look.pose
    tint = 2.5 * canvas.smooth(patch, 3.0, 21) + 1.8 * canvas.grain(patch)
    canvas.blend(patch, np.asarray(look.rgb, np.float32) + tint[..., None])
    canvas.fill(placed(pose, _rect(-11.89, 11.89, 5.49)), _shaded(look.rgb, 1.09), 0.9)
    line = max(0.07, 0.22 * canvas.gsd_m)
    for half in (5.49, 4.115):
        for side in (-1, 1):
            canvas.fill(placed(pose.moved(0, side * half), _rect(-11.89, 11.89, line)), _WHITE, 0.85)
    for u, half in ((-11.89, 5.49), (11.89, 5.49), (-6.4, 4.115), (6.4, 4.115)):
        canvas.fill(placed(pose.moved(u, 0), _rect(-line, line, half)), _WHITE, 0.85)
    canvas.fill(placed(pose, _rect(-6.4, 6.4, line)), _WHITE, 0.85)
    canvas.fill(placed(pose, _rect(-line, line, 6.4)), (70, 74, 70), 0.8)
