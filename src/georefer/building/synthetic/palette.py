"""Colours of a synthetic area: a word for people, a colour for the painter (RGB, 0 to 255, sunlit)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georefer.building.synthetic.features import RGB

ROOF_RGB: dict[str, RGB] = {
    "red": (176, 84, 62),
    "orange": (204, 136, 88),
    "brown": (118, 86, 66),
    "grey": (138, 139, 140),
    "black": (66, 67, 72),
    "white": (208, 208, 203),
    "blue": (72, 108, 160),
    "green": (84, 132, 98),
}
ROOF_BY_MATERIAL: dict[str, dict[str, float]] = {
    "tile": {"red": 5, "orange": 3, "brown": 3, "grey": 2, "black": 1.5},
    "slate": {"black": 4, "grey": 3, "blue": 0.6},
    "metal": {"white": 3, "grey": 3, "blue": 2.5, "green": 2, "red": 1.6, "brown": 1},
    "concrete": {"grey": 4, "white": 3, "brown": 1.2, "black": 1},
    "glass": {"white": 2, "green": 1},
}
VEHICLE_RGB: dict[str, RGB] = {
    "white": (228, 228, 226),
    "silver": (168, 172, 176),
    "black": (40, 41, 44),
    "grey": (104, 107, 111),
    "red": (172, 38, 34),
    "blue": (48, 84, 154),
    "green": (52, 108, 66),
    "yellow": (222, 186, 52),
}
VEHICLE_WEIGHT = (6, 4, 4, 3, 2.2, 2.2, 0.8, 0.8)
TANK_RGB: dict[str, RGB] = {
    "white": (226, 226, 220),
    "grey": (156, 158, 158),
    "green": (112, 142, 112),
    "brown": (142, 96, 70),
    "blue": (88, 122, 164),
}
PLANE_RGB: dict[str, RGB] = {
    "white": (232, 232, 230),
    "grey": (158, 162, 168),
    "blue": (74, 106, 170),
    "red": (190, 66, 58),
    "yellow": (222, 190, 84),
}
SHIP_RGB: dict[str, RGB] = {
    "white": (226, 226, 222),
    "red": (162, 62, 52),
    "blue": (62, 92, 142),
    "green": (74, 116, 92),
    "black": (58, 60, 64),
    "grey": (142, 146, 148),
    "orange": (206, 124, 58),
}
COURT_RGB: dict[str, RGB] = {"red": (166, 92, 68), "green": (72, 122, 86), "blue": (72, 110, 156)}
CROP_RGB: dict[str, tuple[str, RGB]] = {
    "wheat": ("yellow", (196, 172, 112)),
    "maize": ("green", (98, 122, 62)),
    "ploughed soil": ("brown", (146, 116, 88)),
    "rapeseed": ("yellow", (202, 190, 74)),
    "meadow": ("green", (120, 134, 78)),
    "vineyard": ("green", (116, 118, 78)),
    "beet": ("green", (78, 112, 58)),
}


def pick(rng: np.random.Generator, names: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """One of the names, by weight."""
    if weights is None:
        return names[int(rng.integers(len(names)))]
    share = np.asarray(weights, dtype=float)
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def shade(rng: np.random.Generator, rgb: RGB, spread: float = 0.05) -> RGB:
    """The same colour word, another coat of paint: a little lighter or darker, a little warmer or cooler."""
    light = 1.0 + rng.normal(0, spread)
    tint = rng.normal(0, 1.6, 3)
    red, green, blue = (float(np.clip(c * light + t, 4, 250)) for c, t in zip(rgb, tint, strict=True))
    return red, green, blue


def roof_colour(rng: np.random.Generator, material: str) -> tuple[str, RGB]:
    table = ROOF_BY_MATERIAL[material]
    word = pick(rng, list(table), list(table.values()))
    return word, shade(rng, ROOF_RGB[word])
